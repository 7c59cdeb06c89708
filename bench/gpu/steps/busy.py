"""For how much of an epoch is the device busy?"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch

from bench.gpu.arms import Trainer, arms_of_study, changed
from bench.gpu.report import Report
from bench.harness import Goal

_EVERY_S = 0.05
_GOAL = 0.9


def check(told: Report) -> None:
    """Train epochs of `controlled` in bfloat16, with its augmentation; measure for how long any kernel is running."""
    for name in ("baseline", "aim"):
        config = changed(arms_of_study(told, "controlled")[name].run(0), precision="bfloat16")
        trainer = Trainer(config, told.device, told.choose(30, 2))
        trainer.epoch()
        case = f"controlled {name}, bfloat16, batch {config.training.batch_size}"
        share = _by_profiler(told, trainer)
        if share is not None:
            told.row(case, "share of the time during which a kernel runs, according to the profiler", [share], "")
        busy = _by_nvml(told, trainer)
        if busy:
            told.row(case, "share of the time during which a kernel runs, according to NVML", busy, "")
        found = max(filter(None, (share, statistics.median(busy) if busy else None)), default=None)
        if found is None:
            told.unmeasured(f"busy share, {case}", "neither the profiler nor NVML reports anything")
        elif name == "baseline":
            told.goal(Goal(f"busy share of the device in an epoch, {case}", found, _GOAL, "least"))


def _by_profiler(told: Report, trainer: Trainer) -> float | None:
    """Return the share of an epoch during which a kernel or a copy runs; the profiler itself reduces this share."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] if told.rehearsal else [ProfilerActivity.CUDA]
    with profile(activities=activities) as profiler:
        seconds = trainer.epoch()
    events: Any = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    kind = torch.autograd.DeviceType.CPU if told.rehearsal else torch.autograd.DeviceType.CUDA
    spans = sorted((event.start_ns(), event.end_ns()) for event in events if event.device_type() == kind)
    if not spans:
        return None
    return min(1.0, covered(spans) / 1e9 / seconds)


def covered(spans: list[tuple[int, int]]) -> int:
    """Return the length of the union of intervals, which are sorted by their start."""
    total, end = 0, spans[0][0]
    for start, stop in spans:
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def _by_nvml(told: Report, trainer: Trainer) -> list[float]:
    """Return NVML's utilization values during epochs: the share of NVML's last period in which a kernel was running."""
    if told.rehearsal:
        return []
    found: list[float] = []
    with _sampling(found):
        began = time.perf_counter()
        while time.perf_counter() - began < 3.0:
            trainer.epoch()
    return found[len(found) // 3 :]  # the first periods began before the first epoch


@contextlib.contextmanager
def _sampling(found: list[float]) -> Iterator[None]:
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
    except Exception:  # noqa: BLE001 -- no package, no driver, or no such card: nothing is sampled
        yield
        return
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_EVERY_S):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
