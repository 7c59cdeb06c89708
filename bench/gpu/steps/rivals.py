"""Is the training loop as fast as those of timm and torchvision and as a plain loop, in images per second?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.datasets.base import Images
from aimlib.models import build
from aimlib.training.devices import autocast
from aimlib.training.reproducibility import reproducible
from bench.gpu.arms import Trainer, any_start, arms_of_study, changed, noise, wait_for
from bench.gpu.report import Report
from bench.harness import Goal, ratios, rounds_of, row
from bench.rivals.training_loops import DECAY, LOOPS, RATE

OURS, PLAIN = "aim", "plain loop"
_ROUNDS, _BATCHES = 3, 12
_RESERVE_S = 5.0


def check(told: Report) -> None:
    """Run the loops in turn on the baseline of `controlled`, in float32 and bfloat16."""
    arm = arms_of_study(told, "controlled")["baseline"]
    for precision in ("float32", "bfloat16"):
        if told.left() < told.choose(20, 5):
            told.unmeasured(precision, "no time was left")
            continue
        flips = {"horizontal_flip": 0.5}
        optimizer = {"name": "adamw", "learning_rate": RATE, "weight_decay": DECAY}
        batch = told.choose(64, 8)
        given = changed(arm.run(0), precision=precision, augmentation=flips, optimizer=optimizer, batch_size=batch)
        _compare(told, given, precision)


def _compare(told: Report, config: RunConfig, precision: str) -> None:
    batches, rounds = told.choose((_BATCHES, _ROUNDS), (2, 1))
    batch = config.training.batch_size
    images = noise(shape_of(config), batches * batch).train
    case = f"controlled baseline, {precision}, batch {batch}"
    trainer = Trainer(config, told.device, batches)
    subjects: dict[str, Callable[[], float]] = {OURS: trainer.epoch}
    for name, loop in {**LOOPS, PLAIN: plain_epoch}.items():
        epoch = _rival(told, config, images, loop, precision)
        subjects[name] = _under(epoch, lambda: reproducible(threads=None, tf32=False))
        subjects[f"{name}, its default"] = _under(epoch, _their_default)
    subjects = _in_time(told, subjects)
    found = rounds_of(subjects, rounds, warm_up=told.choose(1, 0))
    rates = {
        name: [trainer.images / value if name == OURS else len(images.labels) / value for value in values]
        for name, values in found.items()
    }
    for name, values in rates.items():
        told.row(case, name, values, "images/s")
    _goal(told, case, rates)


def _in_time(told: Report, subjects: dict[str, Callable[[], float]]) -> dict[str, Callable[[], float]]:
    """Return the loops that work, after trying each of them once. Failing loops are reported."""
    working = {}
    for name, epoch in subjects.items():
        try:
            epoch()
        except Exception as error:
            text = next(iter(str(error).strip().splitlines()), "")
            if name == OURS:
                raise
            told.unmeasured(name, f"{type(error).__name__}: {text[:200]}")
        else:
            working[name] = epoch
    return working


def _goal(told: Report, case: str, rates: Mapping[str, Sequence[float]]) -> None:
    """Compare our speed with that of the best rival that has the same determinism settings.

    The ratio to the rivals with their default settings is also reported.
    """
    alike = [name for name in rates if name != OURS and "default" not in name]
    if not alike:
        told.unmeasured(f"the ratio to rivals, {case}", "none of the rivals works here")
        return
    best = max(alike, key=lambda name: row("", "", rates[name], "").figure)
    ratio = row("", "", ratios(rates[OURS], rates[best]), "×").figure
    told.goal(
        Goal(f"images/s of {OURS} / the best rival ({best}) under the same determinism, {case}", ratio, 1.0, "least")
    )
    for name in rates:
        if "default" in name:
            told.row(case, f"{OURS} / {name}", ratios(rates[OURS], rates[name]), "×")


def _rival(told: Report, config: RunConfig, images: Images, loop: Any, precision: str) -> Callable[[], float]:
    scaled = images.pixels[:256].reshape(-1, 3) / 255
    statistics = (tuple(scaled.mean(axis=0).tolist()), tuple(scaled.std(axis=0).tolist()))
    with any_start():
        network = build(config.model, shape_of(config), seed=0)
    network = network.to(told.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    workers = told.choose(8, 0)
    epoch: Callable[[], float] = loop(
        network, images, statistics, config.training.batch_size, workers, precision, told.device
    )

    def waited() -> float:
        seconds = epoch()
        began = time.perf_counter()
        wait_for(told.device)
        return seconds + time.perf_counter() - began

    return waited


def plain_epoch(
    network: nn.Module,
    images: Images,
    statistics: tuple[Any, Any],
    batch: int,
    _workers: int,
    precision: str,
    device: torch.device,
) -> Callable[[], float]:
    """Return an epoch with all images on the device, as in a loop that was written by hand for speed."""
    pixels = torch.from_numpy(images.pixels).to(device).permute(0, 3, 1, 2)
    labels = torch.from_numpy(images.labels).to(device)
    mean, sd = (255 * torch.tensor(values, device=device).view(1, 3, 1, 1) for values in statistics)
    fused = device.type == "cuda"
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=fused)

    def epoch() -> float:
        began = time.perf_counter()
        network.train()
        order = torch.randperm(len(labels), device=device)
        for first in range(0, len(labels), batch):
            chosen = order[first : first + batch]
            x_BCHW = (pixels[chosen].float() - mean) / sd
            flip = torch.rand(len(chosen), 1, 1, 1, device=device) < 0.5
            x_BCHW = torch.where(flip, x_BCHW.flip(3), x_BCHW).contiguous(memory_format=torch.channels_last)
            with autocast(device, precision):
                loss = functional.cross_entropy(network(x_BCHW).float(), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        wait_for(device)
        return time.perf_counter() - began

    return epoch


def _under(epoch: Callable[[], float], conditions: Any) -> Callable[[], float]:
    def call() -> float:
        with conditions():
            return epoch()

    return call


@contextlib.contextmanager
def _their_default() -> Iterator[None]:
    """Use torch's default settings, and the search for fast convolutions that timm and torchvision's recipe enable."""
    with reproducible(threads=None, tf32=False):
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
        yield
