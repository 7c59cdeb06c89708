"""One epoch of training with Lightning's Trainer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.datasets.base import Images
from bench.rivals.training_loops import DECAY, RATE, loader_of, reference_transform


class _Module(lightning.LightningModule):
    """The classifier in Lightning's guide."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.began = self.seconds = 0.0

    def training_step(self, batch: tuple[Tensor, Tensor], _number: int) -> Tensor:
        x, labels = batch
        return functional.cross_entropy(self.network(x.contiguous(memory_format=torch.channels_last)), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=DECAY)

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds = time.perf_counter() - self.began


def lightning_epoch(
    network: nn.Module,
    images: Images,
    statistics: tuple[Any, Any],
    batch: int,
    workers: int,
    precision: str,
    device: torch.device,
) -> Callable[[], float]:
    """Return how long an epoch of Lightning's Trainer takes, from first to last hook, without the rest of `fit`."""
    module = _Module(network)
    loader = loader_of(images, batch, workers, reference_transform(statistics))
    warnings.filterwarnings("ignore", module="lightning")
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        max_epochs=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    def epoch() -> float:
        trainer.fit_loop.max_epochs = (trainer.fit_loop.max_epochs or 0) + 1
        trainer.fit(module, loader)
        return module.seconds

    return epoch
