"""How many images per second does the training loop process?

Question: How many images per second does this package's training loop process, from images in memory to updated
    weights, without evaluation?

Rivals: timm's `train_one_epoch` (reassembled from its package's loader, optimizer and meters, because train.py is not
    in the package), torchvision's reference recipe, and Lightning's Trainer. All use the same baseline network, images,
    flips, precision and threads, channels last, no logs and no checkpoints. Their DataLoader workers are persistent,
    and each rival has as many (0 or 1) as are best in an initial epoch. The measured time covers loading, flips,
    standardization, forward pass, backward pass, AdamW, loss and accuracy. All of them take turns in one process, whose
    heap `aimlib.training.heap` configures as for a run. This package's epochs use deterministic algorithms, as its runs
    do; the rivals' epochs do not.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2, timm 1.0.31, lightning 2.6.6; medians of 5 to 9 rounds, 270 s in all.

Reached: NOT MET: images per second of aim / the best rival (torchvision reference), resnet50, 128 px, float32, batch
    16: 1 (≥ 1); NOT MET: images per second of aim / the best rival (timm), resnet50, 128 px, bfloat16, batch 16:
    0.993 (≥ 1); NOT MET: images per second of aim / the best rival (timm), small_resnet, 64 px, float32, batch 32:
    0.985 (≥ 1); images per second of aim / the best rival (timm), small_resnet, 64 px, bfloat16, batch 32: 1.01 (≥
    1).
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images
from aimlib.models import build
from aimlib.training.epoch import Epoch
from aimlib.training.heap import kept_heap
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run
from bench.harness import Answer, Asked, Goal, Row, main, ratios, rounds_of, row
from bench.networks import BASELINE, Case, cases
from bench.rivals.lightning_loop import lightning_epoch
from bench.rivals.training_loops import DECAY, LOOPS, RATE

OURS = "aim"
RIVALS = {**LOOPS, "Lightning": lightning_epoch}


def measure(asked: Asked) -> Answer:
    """Time training epochs, case by case."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    device = torch.device(asked.device)
    rows: list[Row] = []
    goals: list[Goal] = []
    notes: list[str] = []
    for case in cases(asked.quick):
        batches, rounds = (2, 1) if asked.quick else (2, 5) if case.name == "resnet50" else (16, 9)
        images = _images(case, batches * case.batch)
        subjects: dict[str, Callable[[], float]] = {OURS: _ours(case, images, device)}
        for name in RIVALS:
            workers, subjects[name] = _best(name, case, images, device, (0,) if asked.quick else (0, 1))
            notes.append(f"{case}, {name}: best with {workers} DataLoader workers")
        with kept_heap(device):
            found = rounds_of(subjects, rounds, warm_up=0 if asked.quick else 1)
        rates = {name: [len(images.labels) / value for value in values] for name, values in found.items()}
        rows += [row(str(case), name, values, "images/s") for name, values in rates.items()]
        goals.append(_goal(case, rates))
    versions = {name: importlib.metadata.version(name) for name in ("timm", "lightning")}
    return Answer(rows, goals, notes, versions)


_WHY = (
    "The network and the optimizer are the same for all; the differences between the loops are smaller than those "
    "between the rounds."
)


def _goal(case: Case, rates: Mapping[str, Sequence[float]]) -> Goal:
    best = max(RIVALS, key=lambda name: row("", "", rates[name], "").figure)
    ratio = row("", "", ratios(rates[OURS], rates[best]), "×").figure
    text = f"images per second of {OURS} / the best rival ({best}), {case}"
    return Goal(text, ratio, 1.0, "least", "" if ratio >= 1 else _WHY)


def _images(case: Case, count: int) -> Images:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, case.size, case.size, 3), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % case.classes, tuple(map(str, range(count))))


def _ours(case: Case, images: Images, device: torch.device) -> Callable[[], float]:
    config = RunConfig.parse(
        {
            "model": {"backbone": case.backbone},
            "data": "digits",  # only the name is used, because the images are passed in
            "training": {
                "epochs": 1,
                "batch_size": case.batch,
                "optimizer": {"name": "adamw", "learning_rate": RATE, "weight_decay": DECAY},
                "selection": "last_epoch",
                "validation_fraction": 0.0,
                "augmentation": {"horizontal_flip": 0.5},
                "precision": case.precision,
            },
            "seed": 0,
        }
    )
    run = Run(config, DataSet(images, images, tuple(map(str, range(case.classes))), "0" * 20), device)

    def epoch() -> float:
        with reproducible(threads=None, tf32=False):
            under_way = Epoch(1, 0, device)
            run._train_epoch(under_way, None)
            return under_way.seconds

    return epoch


def _best(
    name: str, case: Case, images: Images, device: torch.device, choices: Sequence[int]
) -> tuple[int, Callable[[], float]]:
    """Return the best number of workers for a rival, and the rival's epoch with this number."""
    scaled = images.pixels.reshape(-1, 3) / 255
    statistics = (tuple(scaled.mean(axis=0).tolist()), tuple(scaled.std(axis=0).tolist()))
    tried = {}
    for workers in choices:
        epoch = RIVALS[name](_network(case, device), images, statistics, case.batch, workers, case.precision, device)
        if len(choices) > 1:
            epoch()  # starts the workers
        tried[workers] = (epoch(), epoch)
    best = min(tried, key=lambda workers: tried[workers][0])
    return best, tried[best][1]


def _network(case: Case, device: torch.device) -> nn.Module:
    network = build(case.model(BASELINE), case.shape, seed=0)
    return network.to(device, memory_format=torch.channels_last)


if __name__ == "__main__":
    main(__doc__, measure)
