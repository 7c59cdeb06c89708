"""Do training steps and evaluations run without waiting for the device?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from bench.gpu.every_arm import try_every_arm
from bench.gpu.report import Report


@contextlib.contextmanager
def _waits_are_errors(told: Report) -> Iterator[None]:
    if told.rehearsal:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check(told: Report) -> None:
    """Take a step and evaluate a batch for every arm, treating waits as errors."""
    if told.rehearsal:
        told.note("on a CPU, nothing waits: only the logic is tested")
    try_every_arm(told, _waits_are_errors, "nothing waits for the device")
