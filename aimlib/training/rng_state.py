"""The global random generators from which a run may draw: torch's and, for plugins, NumPy's and Python's.

This package's own draws are addressed by name (`aimlib.seeding`), except those that torch's layers make in a forward
pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from aimlib.seeding import seed_for


def seed(run_seed: int, epoch: int) -> None:
    """Set all global generators to their state at the start of `epoch`; 0 means before the first epoch."""
    torch.manual_seed(seed_for(run_seed, "layers", epoch))  # the generators of the CPU and of all GPUs
    np.random.seed(seed_for(run_seed, "numpy", epoch) % 2**32)
    random.seed(seed_for(run_seed, "python", epoch))


def seed_stream(number: int) -> None:
    """Set all global generators to the start of a stream, given its seed (`aimlib.seeding.seed_for`)."""
    torch.default_generator.manual_seed(number)  # before CUDA is used, torch.manual_seed takes half a millisecond
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextmanager
def restored(device: torch.device) -> Iterator[None]:
    """Restore all global generators at the end."""
    before = state(device)
    try:
        yield
    finally:
        restore(before, device)


def state(device: torch.device) -> dict[str, Any]:
    """Return the state of all global generators, as tensors and plain values."""
    numpy = np.random.get_state(legacy=False)
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": {**numpy, "state": {**numpy["state"], "key": key}},
        "python": random.getstate(),
    }


def restore(before: dict[str, Any], device: torch.device) -> None:
    """Restore all global generators to a state that `state` returned."""
    torch.set_rng_state(before["cpu"])
    if device.type == "cuda" and before["cuda"] is not None:
        torch.cuda.set_rng_state(before["cuda"], device)
    key = before["numpy"]["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**before["numpy"], "state": {**before["numpy"]["state"], "key": key}})
    random.setstate(before["python"])
