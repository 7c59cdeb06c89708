"""Does a run take as much memory as `ablate check` states, and how much does its worker keep afterwards?"""

from __future__ import annotations

import gc

import torch

from ablations.planning.arms import Arm, shape_of
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.training.loop import train
from aimlib.training.timing import StepTimer
from bench.gpu.arms import any_start, arms_of_study, changed, give_back, noise
from bench.gpu.report import Report
from bench.harness import Goal

_MIB = 2**20
_LEFT_MIB = 100
_ABOVE = 1.1
"""Memory that a run may reserve, as a multiple of the estimate by `ablate check`."""


def check(told: Report) -> None:
    """Compare the memory of two arms with the estimates; measure what is in use after a finished and a failed run."""
    arms = arms_of_study(told, "controlled")
    for name in ("baseline", "aim"):
        _compare(told, name, arms[name])
    config = _short(arms["aim"])
    data = noise(shape_of(config), 2 * config.training.batch_size)
    _left_after_success(told, config, data)
    _left_after_failure(told, config, data)


def _short(arm: Arm) -> RunConfig:
    return changed(arm.run(0), epochs=1)


def _compare(told: Report, name: str, arm: Arm) -> None:
    config = _short(arm)
    data = noise(shape_of(config), 2 * config.training.batch_size)
    with any_start():
        timer = StepTimer(config, data, told.device, threads=None)
        foreseen = timer.memory()
        del timer
        give_back(told.device)
        _reset(told)
        train(config, data, device=told.device)
    if told.rehearsal or foreseen is None or foreseen.reserved is None:
        told.note(f"{name}: on a CPU, torch does not report how much memory is reserved")
        return
    reserved, allocated = torch.cuda.max_memory_reserved(told.device), torch.cuda.max_memory_allocated(told.device)
    told.row(name, "reserved by a run", [reserved / _MIB], "MiB")
    told.row(name, "reserved, according to `ablate check`", [foreseen.reserved / _MIB], "MiB")
    told.row(name, "allocated by a run", [allocated / _MIB], "MiB")
    told.row(name, "allocated, according to `ablate check`", [foreseen.allocated / _MIB], "MiB")
    text = f"memory that a run of `{name}` reserves / what `ablate check` says"
    told.goal(Goal(text, reserved / foreseen.reserved, _ABOVE, "most"))


def _reset(told: Report) -> None:
    if not told.rehearsal:
        torch.cuda.reset_peak_memory_stats(told.device)


def _left_after_success(told: Report, config: RunConfig, data: DataSet) -> None:
    give_back(told.device)
    train(config, data, device=told.device)
    _expect_little_left(told, "after a run")


class _Wanted(Exception):
    """Error of the run that fails in this step."""


def _left_after_failure(told: Report, config: RunConfig, data: DataSet) -> None:
    """Measure the memory in use after a failed run, while its error and traceback still exist."""

    def fail(_row: object) -> None:
        raise _Wanted

    gc.disable()  # a worker may keep garbage in reference cycles indefinitely
    try:
        train(config, data, device=told.device, on_epoch=fail)
    except _Wanted as error:
        _expect_little_left(told, f"after a run that failed with {type(error).__name__}")
    finally:
        gc.enable()


def _expect_little_left(told: Report, when: str) -> None:
    left = 0.0 if told.rehearsal else torch.cuda.memory_reserved(told.device) / _MIB
    told.row(when, "still reserved", [left], "MiB")
    told.expect(left <= _LEFT_MIB, f"{when} at most {_LEFT_MIB} MiB stay reserved", f"{left:.0f} MiB")
