"""The arms of the shipped studies, data with the same shape, and trainers for the arms. Most steps use this module."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
import torch

import aimlib.models
from ablations.planning.arms import Arm, shape_of
from ablations.planning.plan import arms_of
from ablations.spec.study import read_study, shipped_studies
from aimlib.config import RunConfig, TrainingConfig
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.training.epoch import Epoch
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run
from bench.gpu.report import Report

PEAKS = {"H100": (67.0, 494.0, 989.0), "H200": (67.0, 494.0, 989.0), "A100": (19.5, 156.0, 312.0)}
"""The vendor's peak TFLOP/s in float32, TF32 and bfloat16 (dense), by a part of the card's name."""


@dataclass(frozen=True)
class Named:
    """An arm, and a text that lists all studies that contain it, e.g. "controlled: baseline"."""

    name: str
    arm: Arm


def every_arm(told: Report) -> list[Named]:
    """Return the arms of all full-size studies, each configuration once, starting with one arm from every study.

    In a rehearsal, return the arms of the studies for a CPU.
    """
    lists = [
        [Named(f"{study}: {arm.name}", arm) for arm in arms_of(read_study(study))]
        for study in shipped_studies()
        if study != "demo" and study.endswith("_small") == told.rehearsal
    ]
    in_turn = [each[number] for number in range(max(map(len, lists))) for each in lists if number < len(each)]
    found: dict[str, Named] = {}
    for named in in_turn:
        found.setdefault(named.arm.run(0).model_dump_json(), named)
    return list(found.values())


def arms_of_study(told: Report, study: str) -> dict[str, Arm]:
    """Return the arms of a shipped study; in a rehearsal, return the arms of the study's small version."""
    return {arm.name: arm for arm in arms_of(read_study(f"{study}_small" if told.rehearsal else study))}


def changed(config: RunConfig, **training: Any) -> RunConfig:
    """Return a run without held-out images, early stopping or a schedule, with the given changes."""
    content = config.model_dump(mode="json")
    plain = {"validation_fraction": 0.0, "early_stopping": None, "schedule": None, "monitor": "validation"}
    content["training"] |= plain | {"selection": {"name": "last_epoch"}} | training
    return RunConfig.parse(content)


def has(option: str) -> bool:
    """Return whether runs have the training option ``step``, ``data_on`` or ``memory_format``."""
    return option in TrainingConfig.model_fields


@lru_cache(maxsize=2)
def noise(shape: ImageShape, images: int) -> DataSet:
    """Return random images with a given shape, the same number for training and testing, at least two per class."""
    count = max(images, 2 * shape.classes)
    pixels = np.random.default_rng(0).integers(
        0, 256, (count, shape.height, shape.width, shape.channels), dtype=np.uint8
    )
    split = Images(pixels, np.arange(count, dtype=np.int64) % shape.classes, tuple(map(str, range(count))))
    return DataSet(split, split, tuple(map(str, range(shape.classes))), "0" * 20)


@contextlib.contextmanager
def any_start() -> Iterator[None]:
    """Keep torch's initial values, which saves seconds if results are not compared."""
    with mock.patch.object(aimlib.models, "initialize"):
        yield


def graphs(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context in which graphs can be captured; on a CPU, it provides a stand-in for CUDA graphs."""
    if device.type != "cpu" or not has("step"):
        return contextlib.nullcontext()
    from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu

    return cuda_graphs_on_cpu()


class Trainer:
    """A run whose steps are timed.

    Parameters
    ----------
    config : configuration of the run; see `changed`.
    batches : batches per epoch; images are random.
    threads : CPU threads; None keeps torch's setting.
    """

    def __init__(self, config: RunConfig, device: torch.device, batches: int, threads: int | None = None) -> None:
        self.config, self.device, self.threads = config, device, threads
        self.images = batches * config.training.batch_size
        shape = shape_of(config)
        data = noise(shape, self.images)
        with any_start(), self.conditions():
            self.run = Run(config, data, device)
        self.run.training = self.run.training[: self.images]
        self.epochs = 0

    def conditions(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which a run is trained."""
        return reproducible(threads=self.threads, tf32=self.config.training.tf32)

    def epoch(self) -> float:
        """Train an epoch and return its duration in seconds."""
        with self.conditions():
            self.epochs += 1
            under_way = Epoch(self.epochs, 0, self.device)
            wait_for(self.device)
            began = time.perf_counter()
            self.run._train_epoch(under_way, None)
            wait_for(self.device)
            return time.perf_counter() - began

    def rates(self, rounds: int, warm_up: int = 1) -> list[float]:
        """Return the number of images per second over a number of epochs."""
        for _ in range(warm_up):
            self.epoch()
        return [self.images / self.epoch() for _ in range(rounds)]


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def give_back(device: torch.device) -> None:
    """Release unused device memory."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def limit(told: Report, multiply_adds: int, precision: str, tf32: bool) -> float:
    """Return the number of images per second that the card's arithmetic would allow, or NaN if its peak is unknown."""
    if told.rehearsal:
        return math.nan
    name = torch.cuda.get_device_name(told.device)
    peaks = next((peak for kind, peak in PEAKS.items() if kind in name), None)
    if peaks is None:
        return math.nan
    peak = peaks[2] if precision == "bfloat16" else peaks[1] if tf32 else peaks[0]
    return peak * 1e12 / (6 * multiply_adds)
