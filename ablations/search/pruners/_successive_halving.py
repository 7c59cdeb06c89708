"""Asynchronous successive halving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.pruners.base import Pruner, geometric_rungs
from ablations.spec.search_families import pruners
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("successive_halving")
class SuccessiveHalving(Pruner):
    """Keeps the best fraction of all trials at each rung; the first trials are compared with few other trials.

    In contrast, `search.halving` compares only the trials within a batch with each other, and therefore treats them
    equally.
    """

    source: ClassVar[str] = "Li et al. (2020), A system for massively parallel hyperparameter tuning"

    class Config(ComponentConfig):
        """The options of optuna.pruners.SuccessiveHalvingPruner, which determine the rungs."""

        min_resource: Annotated[int, Field(ge=1)] = 1
        """Number of epochs in the first rung."""
        reduction_factor: Annotated[int, Field(ge=2)] = 4
        """One in this many trials continues, and each rung is this many times as long as the previous rung."""
        min_early_stopping_rate: Annotated[int, Field(ge=0)] = 0
        """Number of rungs to omit at the start."""
        bootstrap_count: Annotated[int, Field(ge=0)] = 0
        """Number of trials that a rung needs before any of them continues."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return min_resource times the powers of the factor, followed by the budget."""
        factor = self.config.reduction_factor
        first = self.config.min_resource * factor**self.config.min_early_stopping_rate
        return geometric_rungs(first, factor, budget)

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import SuccessiveHalvingPruner  # noqa: PLC0415

        return SuccessiveHalvingPruner(**{"min_resource": self.config.min_resource, **self.options})
