"""Files with trained networks: safetensors files, which contain tensors and text and execute nothing when read.

safetensors supports neither tied tensors nor the channels-last layout. A tied tensor is therefore stored once, and
layouts are stored by name; both are restored. The file's metadata contains the run's configuration, from which the
network is built.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from aimlib.config import RunConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import StoreError
from aimlib.models import build
from aimlib.training.inputs import Scaling
from aimlib.training.kept_networks import KeptNetwork, memory_of
from aimlib.training.steps.base import MEMORY_FORMATS
from aimlib.weights.reading import KEPT, SCALING

FORMAT = 1


@dataclass(frozen=True)
class StoredNetwork:
    """The content of a network file.

    Attributes
    ----------
    run_id, epoch : the run, and the epoch after which the network had this state; 0 is the start.
    config : the run's `RunConfig` as JSON.
    shape : shape of the images, with the number of classes.
    classes : names of the classes, in the order of the network's outputs.
    state : parameters and buffers by name.
    scaling : mean and standard deviation with which pixels are scaled, [2, channels].
    memory : `aimlib.memory.measures.memory_measures` with the `epoch`, at the start (0) and after every epoch; empty if
        there is no memory.
    """

    run_id: str
    epoch: int
    config: dict[str, Any]
    shape: ImageShape
    classes: tuple[str, ...]
    state: dict[str, Tensor]
    scaling: Tensor
    memory: list[dict[str, Any]]

    def module(self) -> nn.Module:
        """Return the network in evaluation mode, on the CPU; its plugins must be installed.

        Raises
        ------
        UsageError: one of the run's plugins is not installed.
        StoreError: the state does not fit the network built from the configuration.
        """
        config = RunConfig.parse(self.config)
        network = build(config.model.model_copy(update={"weights": None}), self.shape, config.seed_of("init"))
        layout = MEMORY_FORMATS[config.training.memory_format]
        network = network.to(memory_format=layout)
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise StoreError(
                f"run {self.run_id}: the stored parameters do not fit the network that its configuration builds on "
                f"this machine: "
                f"{error}; install the plugin versions listed in the run's row"
            ) from error
        return network.eval()

    def input_scaling(self) -> Scaling:
        """Return how pixels from 0 to 255 are scaled before they enter the network."""
        mean, sd = (each.view(1, -1, 1, 1) for each in self.scaling)
        identity = bool((mean == 0).all() and (sd == 1).all())
        return Scaling(mean, sd, identity)


def content_of(kept: KeptNetwork, config: RunConfig, run_id: str, shape: ImageShape, classes: tuple[str, ...]) -> bytes:
    """Return the content of a network file; equal networks produce equal bytes.

    Raises
    ------
    TypeError: a tensor has a type that safetensors does not support.
    """
    assert kept.state is not None
    assert kept.scaling is not None
    stored: dict[str, Tensor] = {SCALING: kept.scaling.contiguous()}
    first: dict[Hashable, str] = {}
    same: dict[str, str] = {}
    channels_last: list[str] = []
    for name, value in kept.state.items():
        if name != (owner := first.setdefault(memory_of(value), name)):
            same[name] = owner
            continue
        if value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last):
            channels_last.append(name)
        stored[name] = value.contiguous()
    description = {
        "format": FORMAT,
        "run_id": run_id,
        "epoch": kept.epoch,
        "config": config.model_dump(mode="json"),
        "shape": asdict(shape),
        "classes": classes,
        "same": same,
        "channels_last": channels_last,
        "memory": kept.memory,
    }
    try:
        return safetensors.torch.save(stored, {KEPT: json.dumps(description, sort_keys=True)})
    except (SafetensorError, KeyError, ValueError) as error:
        raise TypeError(f"a tensor in the network cannot be stored: {error}") from error


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits, as in the run's row."""
    return hashlib.sha256(content).hexdigest()


def read(content: bytes, where: object) -> StoredNetwork:
    """Read a network from the content of a file.

    Parameters
    ----------
    where : description of the file, for messages.

    Raises
    ------
    StoreError: the content is not that of a network file, or was written by a newer version.
    """
    try:
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length])["__metadata__"][KEPT]
        description = json.loads(metadata)
        tensors = safetensors.torch.load(content)
        version = description["format"]
        if version == FORMAT:
            return _stored(description, tensors)
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,  # including RecursionError, and tensors that cannot have their stored layout
        struct.error,
    ) as error:
        raise StoreError(
            f"{where}: is not a network that a run kept ({type(error).__name__}); restore it from a copy"
        ) from error
    raise StoreError(f"{where}: has format {version}, but this version reads format {FORMAT}; install a newer release")


def _stored(description: dict[str, Any], tensors: dict[str, Tensor]) -> StoredNetwork:
    """Return the network from a description and tensors, as `content_of` stored them."""
    scaling = tensors.pop(SCALING)
    for name in description["channels_last"]:
        tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    state = tensors | {name: tensors[owner] for name, owner in description["same"].items()}
    return StoredNetwork(
        run_id=description["run_id"],
        epoch=description["epoch"],
        config=description["config"],
        shape=ImageShape(**description["shape"]),
        classes=tuple(description["classes"]),
        state=state,
        scaling=scaling,
        memory=description["memory"],
    )
