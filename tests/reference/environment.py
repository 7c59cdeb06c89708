"""The conditions that determine the last bits of a run on a CPU, and comparisons of arrays if the conditions differ."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.training import checkpointing
from aimlib.training.checkpointing import Checkpoint
from aimlib.training.devices import device_name
from aimlib.training.loop import Paused, train

DATA = Path(__file__).resolve().parents[1] / "data" / "reference"
THREADS = 1
SAMPLE = 8
"""Number of evenly spaced values that are kept from a tensor."""
RELATIVE, ABSOLUTE = 2e-3, 2e-4
"""Tolerance for a recorded value outside the environment of the recording; the tests list the observed differences."""


def environment() -> dict[str, str]:
    """Return the properties that must be equal for results to be bitwise identical."""
    return {
        "processor": device_name(torch.device("cpu")),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "torch": torch.__version__.partition("+")[0],
        "threads": str(THREADS),
    }


def is_that_of(recorded: Mapping[str, Any]) -> bool:
    """Return whether this is the environment in which a recording was made."""
    return environment() == recorded["environment"]


def digest(tensor: Tensor) -> str:
    """Return the first 20 hexadecimal digits of the SHA-256 of a tensor's shape, type and bytes."""
    values = tensor.detach().cpu()
    head = f"{tuple(values.shape)} {values.dtype}".encode()
    return hashlib.sha256(head + values.numpy().tobytes()).hexdigest()[:20]


def digest_of(tensors: Iterable[Tensor]) -> str:
    """Return a single digest for several tensors, in this order."""
    return hashlib.sha256(" ".join(map(digest, tensors)).encode()).hexdigest()[:20]


def sample(tensor: Tensor) -> npt.NDArray[np.float64]:
    """Return a tensor's mean, standard deviation and `SAMPLE` evenly spaced values: [2 + SAMPLE]."""
    values = tensor.detach().cpu().double().contiguous().flatten().numpy()
    chosen = values[np.linspace(0, len(values) - 1, SAMPLE).astype(int)]
    return np.concatenate([[values.mean(), values.std()], chosen])


def read(name: str) -> Any:
    """Return a recorded JSON document."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def images(count: int, side: int, seed: int) -> Images:
    """Return images [count, side, side, 3] in three classes: noise with a bright column that depends on the class."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    pixels = draw.integers(0, 100, (count, side, side, 3), dtype=np.uint8)
    pixels[np.arange(count), :, labels % side] += 100
    return Images(pixels, labels, tuple(f"{seed}/{number:04d}" for number in range(count)))


def data_set(count: int, side: int) -> DataSet:
    """Return `count` training images and half as many test images."""
    return with_fingerprint(images(count, side, 0), images(count // 2, side, 1), ("one", "two", "three"))


def after_steps(config: RunConfig, data: DataSet, steps: int, folder: Path) -> Checkpoint:
    """Return the state of a run that was paused after a number of training steps."""
    asked = iter(range(1, steps + 1))
    with pytest.raises(Paused):
        train(
            config,
            data,
            threads=THREADS,
            checkpoint_directory=folder,
            pause=lambda: next(asked) == steps,
        )
    state = checkpointing.load(folder, "")
    assert state is not None
    assert state.under_way is not None
    assert state.under_way["step"] == steps
    return state


def tensors_of(state: Checkpoint) -> dict[str, Tensor]:
    """Return all tensors in a state, by name: those of the network, of the optimizer, and of the current epoch."""
    found = {f"network {name}": value for name, value in state.network.items()}
    for number, values in state.optimizer["state"].items():
        found |= {f"optimizer {number} {name}": v for name, v in values.items() if isinstance(v, Tensor)}
    assert state.under_way is not None
    for name in ("loss", "hits"):
        found[name] = state.under_way[name]
    found["generator cpu"] = state.under_way["generators"]["cpu"]
    found["generator numpy"] = state.under_way["generators"]["numpy"]["state"]["key"]
    return found
