"""Training code with a network, an optimizer and a schedule from timm, and a plain torch loop."""

import tempfile
from pathlib import Path

import timm
import timm.optim
import timm.scheduler
import torch
from torch.nn.functional import cross_entropy


def tensors(images):
    """Return images [N, 3, H, W] from -1 to 1, and labels [N]."""
    pixels = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    return pixels / 127.5 - 1, torch.from_numpy(images.labels)


def train(config, run):
    """Train a timm network by its name."""
    options = config.options
    torch.manual_seed(run.seed("init"))
    model = timm.create_model(options.architecture, num_classes=len(run.classes), drop_path_rate=options.drop_path)
    model = model.to(run.device)
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=options.learning_rate)
    schedule = timm.scheduler.CosineLRScheduler(optimizer, t_initial=config.training.epochs)
    if folder := run.restore():
        state = torch.load(folder / "state.pt", weights_only=True, map_location=run.device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    images, labels = tensors(run.split("train"))
    tests, _ = tensors(run.split("test"))
    for epoch in range(run.epochs_done, config.training.epochs):
        schedule.step(epoch)
        model.train()
        total = 0.0
        for batch in torch.randperm(len(labels), generator=run.torch_generator("order", epoch)).split(32):
            loss = cross_entropy(model(images[batch].to(run.device)), labels[batch].to(run.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()
        with torch.no_grad():
            predicted = torch.cat([model(part.to(run.device)).argmax(1) for part in tests.split(100)])
        run.predictions("test", None, predicted)
        run.report(train_loss=total / len(labels), learning_rate=optimizer.param_groups[0]["lr"])
        with tempfile.TemporaryDirectory() as name:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, Path(name) / "state.pt")
            run.checkpoint(name)
