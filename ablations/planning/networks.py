"""The networks of arms: each network is built once, and its cost is computed while it exists.

Arms that differ only in training have the same network. This module imports torch only when a function needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from ablations.planning import plugin_errors
from aimlib.config import ModelConfig, RunConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import ConfigError, UsageError
from aimlib.own_code.places import told

if TYPE_CHECKING:
    from torch import nn

    from aimlib.models import ModelSummary
    from aimlib.training.tuning.groups import Tuning

_NETWORKS = 4
"""Number of networks to keep. A few suffice, because arms with the same network follow each other; a large network
takes up megabytes."""
_SUMMARIES = 16_384


def has_network(config: RunConfig) -> bool:
    """Return whether a run's network is known; the user's own training code may build its own network."""
    return config.model is not None


def backbone_of(config: RunConfig) -> str:
    """Return the name of a run's backbone, or of the training code that builds its network."""
    return config.model.backbone.name if has_network(config) else config.train.name  # type: ignore[attr-defined]


def unknown() -> ModelSummary:
    """Return the summary of a network that the user's own training code builds; all numbers in it are 0."""
    from aimlib.models import ModelSummary  # noqa: PLC0415 -- imports torch

    return ModelSummary(0, 0, 0, 0, 0, 0, 0)


def refuse_unbuildable(model: ModelConfig, shape: ImageShape) -> None:
    """Build a network on the meta device, send one image through it, and compare the network with its weight file.

    Raises
    ------
    UsageError: the parts do not fit together, or a weight file does not fit the network.
    PluginError: a plugin's code failed.
    """
    with _explained():
        _kept(model, shape)
        if model.weights is not None:
            _fit(model, shape)


def is_tuned(config: RunConfig) -> bool:
    """Return whether a run fine-tunes a network; always false for the user's own training code."""
    return has_network(config) and getattr(config.training, "fine_tuning", None) is not None


def tuning(config: RunConfig, shape: ImageShape) -> Tuning:
    """Return how a fine-tuning run treats its network.

    Raises
    ------
    ConfigError: a pattern matches nothing, or there is nothing left to train.
    """
    from aimlib.training.tuning.groups import tuning_of  # noqa: PLC0415

    assert config.training.fine_tuning is not None
    with _explained():
        try:
            return tuning_of(_kept(config.model, shape), config.training.fine_tuning, config.model, shape)
        except UsageError as error:
            raise ConfigError([str(error)]) from error


def _fit(model: ModelConfig, shape: ImageShape) -> None:
    from aimlib.models import weights_fit  # noqa: PLC0415

    try:
        weights_fit(model, shape)
    except UsageError as error:
        raise ConfigError([f"model.weights: {error}"]) from error


def summary(model: ModelConfig, shape: ImageShape, batch_size: int) -> ModelSummary:
    """Return `aimlib.models.summarize` of a network; the summary is computed once per process.

    Raises
    ------
    UsageError: the parts do not fit together.
    PluginError: a plugin's code failed.
    """
    with _explained():
        return _summary(model, shape, batch_size) if _is_key(model) else _summarized(model, shape, batch_size)


def network(model: ModelConfig, shape: ImageShape) -> nn.Module:
    """Return a network on the meta device for inspection; all callers share it.

    Raises
    ------
    UsageError: the parts do not fit together.
    PluginError: a plugin's code failed.
    """
    with _explained():
        return _kept(model, shape)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        with plugin_errors.explained():
            yield
    except (RuntimeError, OverflowError) as error:
        raise UsageError(f"this network cannot be built: {told(error, 'change its sizes')}") from error


def _is_key(model: ModelConfig) -> bool:
    try:
        hash(model)
    except TypeError:  # an option of a plugin may be a mapping
        return False
    return True


def _kept(model: ModelConfig, shape: ImageShape) -> nn.Module:
    return _network(model, shape) if _is_key(model) else _built(model, shape)


def _built(model: ModelConfig, shape: ImageShape) -> nn.Module:
    from aimlib.memory.attach import AimNetwork  # noqa: PLC0415 -- import torch only after the document has been checked
    from aimlib.memory.checks import refuse_wrong_memory  # noqa: PLC0415
    from aimlib.memory.structure import trace  # noqa: PLC0415
    from aimlib.models import controlled_skeleton  # noqa: PLC0415

    network, size = controlled_skeleton(model, shape), (shape.channels, shape.height, shape.width)
    if model.memory is None:  # attaching a memory has already traced the network
        trace(network, size)
    if isinstance(network, AimNetwork):
        refuse_wrong_memory(network, size)
    return network


def _summarized(model: ModelConfig, shape: ImageShape, batch_size: int) -> ModelSummary:
    from aimlib.models import summary_of  # noqa: PLC0415

    return summary_of(_kept(model, shape), shape, batch_size)


_network = lru_cache(maxsize=_NETWORKS)(_built)
_summary = lru_cache(maxsize=_SUMMARIES)(_summarized)
