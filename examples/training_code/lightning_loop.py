"""Existing training code: a LightningModule and its Trainer, with three added calls of `run`."""

import tempfile

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(lightning.LightningModule):
    """A small network, as you would write it without this package."""

    def __init__(self, classes, dropout, learning_rate):
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, classes)
        )

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self):
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


class Report(lightning.Callback):
    """Reports every epoch to the study, and saves a checkpoint with which the run can continue."""

    def __init__(self, run):
        self.run = run

    def on_train_epoch_end(self, trainer, module):
        """Predict the test images, report, save."""
        module.eval()
        with torch.no_grad():
            self.run.predictions("test", None, module.network(tensors(self.run.split("test"))[0]).argmax(1))
        module.train()
        self.run.report(trainer.current_epoch + 1, train_loss=trainer.callback_metrics.get("loss"))
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(f"{folder}/last.ckpt")
            self.run.checkpoint(folder)


def tensors(images):
    """Return images [N, C, H, W] from 0 to 1, and labels [N]."""
    return torch.from_numpy(images.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(images.labels)


def train(config, run):
    """Train with Lightning's own Trainer."""
    options = config.options
    torch.manual_seed(run.seed("init"))  # the arms of a seed start alike
    module = Classifier(len(run.classes), options.dropout, options.learning_rate)
    images, labels = tensors(run.split("train"))
    module.network(images[:2])  # the lazy layer gets its size
    folder = run.restore()
    trainer = lightning.Trainer(
        max_epochs=config.training.epochs,
        accelerator="gpu" if run.device.type == "cuda" else "cpu",
        devices=1,
        callbacks=[Report(run)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(images, labels), batch_size=32, shuffle=True)
    trainer.fit(module, loader, ckpt_path=folder and folder / "last.ckpt", weights_only=False)
