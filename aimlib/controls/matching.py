"""Widen a baseline until it costs as much as an AiM model; the matched controls share this code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import Field

from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.registry import backbones, memories, placements, updates


class Matching(Control):
    """Base class of controls that widen the baseline without memory until it costs as much as the AiM model.

    First, all stages are widened by the same factor; then individual stages are widened unit by unit, as long as this
    reduces the difference. The layers of the widened network differ, so it does not share its initial values with the
    other arms.

    Attributes
    ----------
    unit : name of the matched quantity, for messages.
    """

    unit: ClassVar[str]

    class Config(ComponentConfig):
        """How closely the costs must match."""

        tolerance: Annotated[float, Field(gt=0, lt=0.1)] = 0.005
        """Maximum difference, as a fraction of the AiM model's cost."""

    config: Config

    @abstractmethod
    def target(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the cost of the AiM model."""

    @abstractmethod
    def cost(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the cost of a baseline."""

    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the widened baseline.

        Raises
        ------
        UsageError: the model starts from pretrained weights, the backbone has no widths, or no widths match the cost
            within the tolerance.
        """
        if model.weights is not None:
            raise UsageError(
                f"control {self.config.name!r} widens the network, and {model.weights.source} does not fit a wider "
                f"network; use frozen_memory or permuted_memory as the arm's control, or set `of` to an arm with "
                f"weights: none"
            )
        if "widths" not in type(model.backbone).model_fields:
            raise UsageError(
                f"backbone {model.backbone.name!r} cannot be widened (its options have no 'widths'), so control "
                f"{self.config.name!r} cannot match the cost; remove this arm"
            )
        known = (type(self), self.config.model_dump_json(), _identity(model), shape)
        if known not in _widened:
            _widened[known] = self._nearest(model, shape)
        return _widened[known]

    def _nearest(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        target = self.target(model, shape)

        def count(widths: tuple[int, ...]) -> int:
            return self.cost(baseline_at(model, widths), shape)

        widths = match_widths(tuple(vars(model.backbone)["widths"]), target, count)
        reached = count(widths)
        if abs(reached - target) > self.config.tolerance * target:
            raise UsageError(
                f"no widths of backbone {model.backbone.name!r} come within {self.config.tolerance:.2%} of "
                f"{target:,} {self.unit}; the nearest, {list(widths)}, has {reached:,} ({reached / target - 1:+.2%}); "
                f"raise control.tolerance, or use a larger backbone"
            )
        return baseline_at(model, widths)


_widened: dict[tuple[Any, ...], ModelConfig] = {}
"""The widened models that this process has found; the search takes seconds, and a session expands its study several
times."""


def _identity(model: ModelConfig) -> tuple[Any, ...]:
    """Return a cache key for a model: its options, and the classes that the names of its parts currently refer to."""
    families = {"backbone": backbones, "memory": memories, "placement": placements, "update": updates}
    parts = ((family, getattr(model, part)) for part, family in families.items())
    return (model.model_dump_json(), *(family.get(part.name) for family, part in parts if part is not None))


def baseline_at(model: ModelConfig, widths: tuple[int, ...]) -> ModelConfig:
    """Return the model without memory, with the given backbone widths."""
    backbone = model.backbone.model_copy(update={"widths": widths})
    return ModelConfig(backbone=backbone, conv_init=model.conv_init)


def match_widths(widths: tuple[int, ...], target: int, count: Callable[[tuple[int, ...]], int]) -> tuple[int, ...]:
    """Return widths, none smaller than the given ones, whose cost is the nearest to `target` that the search finds.

    Parameters
    ----------
    widths : the widths to start from.
    target : desired cost, e.g. a number of parameters.
    count : function that returns the cost of given widths; the cost increases with every width.
    """
    count = cache(count)
    best = _widen_evenly(widths, target, count)
    while True:
        nearest = min([best, *_neighbours(best, widths)], key=lambda near: (abs(count(near) - target), near))
        if abs(count(nearest) - target) >= abs(count(best) - target):
            return best
        best = nearest


def _widen_evenly(widths: tuple[int, ...], target: int, count: Callable[[tuple[int, ...]], int]) -> tuple[int, ...]:
    low, high = 1.0, 2.0
    while count(_scaled(widths, high)) <= target:
        low, high = high, high * 2
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if count(_scaled(widths, middle)) <= target else (low, middle)
    return _scaled(widths, low)


def _scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(max(width, int(width * factor)) for width in widths)


def _neighbours(widths: tuple[int, ...], least: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the widths that differ by one unit in one stage, or by +1 in one stage and by -1 in a second stage."""
    stages = range(len(widths))
    moves = [{i: step} for i in stages for step in (1, -1)]
    moves += [{i: 1, j: -1} for i in stages for j in stages if i != j]
    moved = [tuple(width + move.get(i, 0) for i, width in enumerate(widths)) for move in moves]
    return [near for near in moved if all(a >= b for a, b in zip(near, least, strict=True))]
