"""Hyperband."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.pruners.base import Pruner, geometric_rungs
from ablations.spec.search_families import pruners
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("hyperband")
class Hyperband(Pruner):
    """Successive halving in several brackets, some of which stop trials earlier than others; it needs many trials."""

    source: ClassVar[str] = "Li et al. (2018), Hyperband: a novel bandit-based approach"

    class Config(ComponentConfig):
        """The options of optuna.pruners.HyperbandPruner; the largest resource is the budget."""

        min_resource: Annotated[int, Field(ge=1)] = 1
        """Number of epochs in the first rung of the most aggressive bracket."""
        reduction_factor: Annotated[int, Field(ge=2)] = 3
        """One in this many trials continues, and each rung is this many times as long as the previous rung."""
        bootstrap_count: Annotated[int, Field(ge=0)] = 0
        """Number of trials that a rung needs before any of them continues."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return min_resource times the powers of the factor, followed by the budget."""
        return geometric_rungs(self.config.min_resource, self.config.reduction_factor, budget)

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import HyperbandPruner  # noqa: PLC0415

        return HyperbandPruner(**{"max_resource": budget, **self.options})
