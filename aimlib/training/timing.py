"""Measure the time and the peak memory use of a training step before a study is launched."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from aimlib.config import RunConfig, TrainingConfig
from aimlib.datasets.base import DataSet
from aimlib.training import splits
from aimlib.training.evaluation import evaluate
from aimlib.training.footprint import Footprint, begin_on_gpu, on_cpu, on_gpu
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run


class StepTimer:
    """Measures the time and peak memory use of training and evaluation with one configuration; discards the network.

    Parameters
    ----------
    data : the data set; it must contain at least one batch of training images.
    """

    def __init__(self, config: RunConfig, data: DataSet, device: torch.device, threads: int | None) -> None:
        self._threads, self._tf32 = threads, config.training.tf32
        if device.type == "cuda":
            begin_on_gpu(device)
        with reproducible(threads=threads, tf32=self._tf32):
            self._run = Run(config.model_copy(update={"training": _timed(config.training)}), data, device)

    def measure(self, seconds: float, most: int = 8) -> tuple[float, float]:
        """Return the median time, in seconds, of a training step and of evaluating a batch of the same size.

        The first step is a warm-up and is not counted. At least one and at most `most` steps are timed, and no step
        starts after `seconds`.
        """
        run = self._run
        batch = run.training[: run.options.batch_size]
        with reproducible(threads=self._threads, tf32=self._tf32):
            train_seconds = _timed_calls(lambda: self._train(batch), run.device, seconds, most)
            evaluate_seconds = _timed_calls(lambda: self._evaluate(batch), run.device, seconds / 3, most)
        return train_seconds, evaluate_seconds

    def memory(self) -> Footprint | None:
        """Return the peak memory of a training step or of an evaluation, whichever is larger.

        On a GPU, this is the peak since this object was created. It includes the steps that, as in a run, verify and
        capture a CUDA graph. This method takes two training steps, in the first of which the optimizer allocates its
        state, and one evaluation. The result is None on a CPU if torch cannot measure memory; see `Footprint` for what
        is counted.
        """
        run = self._run
        size = run.options.batch_size
        batch, twice = run.training[:size], run.training[: 2 * size]  # runs evaluate batches twice as large
        with reproducible(threads=self._threads, tf32=self._tf32):
            self._train(batch)
            calls = [lambda: self._train(batch), lambda: self._evaluate(twice)]
            if run.device.type == "cuda":
                return on_gpu(calls, run.device)
            return on_cpu(calls, run.network, run.optimizer)

    def _train(self, batch: splits.Indices) -> None:
        self._run.network.train()
        self._run.step(batch, 1)

    def _evaluate(self, batch: splits.Indices) -> None:
        run = self._run
        evaluate(
            run.network,
            run.data.train,
            batch,
            run.scaling,
            batch_size=len(batch),
            precision=run.options.precision,
            memory_format=run.options.memory_format,
            loss=run.loss,
        )


def _timed(training: TrainingConfig) -> TrainingConfig:
    return training.model_copy(update={"validation_fraction": 0.0, "early_stopping": None})


def _timed_calls(call: Callable[[], None], device: torch.device, seconds: float, most: int) -> float:
    def timed() -> float:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    began = time.perf_counter()
    timed()
    times = [timed()]
    while len(times) < most and time.perf_counter() - began < seconds:
        times.append(timed())
    return float(np.median(times))
