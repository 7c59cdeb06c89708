"""The interface of a pruner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


class PrunerConfig(ComponentConfig):
    """Options of a pruner that decides at evenly spaced epochs."""

    rungs: Annotated[int, Field(ge=2, le=50)] = 4
    """Number of equal parts into which the budget is divided; after each part but the last, trials may be stopped. With
    4 parts and 20 epochs, they may be stopped after epochs 5, 10 and 15. All trials in a batch pause at each rung, so
    each rung costs one restart of their runs."""


class Pruner(ABC):
    """Builds an Optuna pruner. A step is an epoch, and the value is the mean validation accuracy over the seeds.

    All trials in a batch are trained up to a rung before Optuna is asked about each trial in numerical order. The
    order in which runs end therefore does not matter.
    """

    Config: ClassVar[type[ComponentConfig]] = PrunerConfig
    source: ClassVar[str] = ""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def build(self, budget: int) -> BasePruner:
        """Return Optuna's pruner for trials with this number of epochs."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return the epochs after which trials may be stopped, and the budget as the last one."""
        count = min(self.config.rungs, budget)
        return tuple(dict.fromkeys(-(-budget * part // count) for part in range(1, count + 1)))

    @property
    def options(self) -> dict[str, Any]:
        """The options set in the study; all other options have Optuna's defaults."""
        return {name: getattr(self.config, name) for name in sorted(self.config.model_fields_set - {"rungs"})}


def geometric_rungs(first: int, factor: int, budget: int) -> tuple[int, ...]:
    """Return first, first x factor, ... below the budget, followed by the budget."""
    found = []
    while first < budget:
        found.append(first)
        first *= factor
    return (*found, budget)
