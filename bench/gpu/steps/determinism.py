"""Does every operation of a training step and an evaluation have a deterministic kernel?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from bench.gpu.every_arm import try_every_arm
from bench.gpu.report import Report


@contextlib.contextmanager
def _only_deterministic(_told: Report) -> Iterator[None]:
    before = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=before)


def check(told: Report) -> None:
    """Take a step and evaluate a batch for every arm, treating nondeterministic operations as errors."""
    try_every_arm(told, _only_deterministic, "every operation is deterministic")
