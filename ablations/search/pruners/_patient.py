"""Patience around another pruner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ablations.search.pruners.base import Pruner, PrunerConfig
from ablations.spec.search_families import pruners
from aimlib.component import ComponentConfig
from aimlib.registry import ComponentOf

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("patient")
class Patient(Pruner):
    """Asks another pruner only if a trial has not improved for some rungs.

    Without another pruner, it stops such a trial.
    """

    class Config(PrunerConfig):
        """The options of optuna.pruners.PatientPruner."""

        patience: Annotated[int, Field(ge=0)] = 1
        """Number of rungs for which a trial may go without an improvement."""
        min_delta: Annotated[float, Field(ge=0, le=1)] = 0.0
        """Difference, as a fraction, by which a trial's accuracy may fall below its best accuracy before the trial is
        stopped."""
        wrapped: Annotated[Any, ComponentOf(pruners, optional=True)] = None
        """The other pruner, which decides at its own rungs if it has any, and otherwise at evenly spaced rungs."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return the other pruner's rungs, or evenly spaced rungs."""
        wrapped: ComponentConfig | None = self.config.wrapped
        if wrapped is None or "rungs" in self.config.model_fields_set:
            return super().rungs(budget)
        found: tuple[int, ...] = pruners.create(wrapped).rungs(budget)
        return found

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import PatientPruner  # noqa: PLC0415

        wrapped = None if self.config.wrapped is None else pruners.create(self.config.wrapped).build(budget)
        return PatientPruner(wrapped, self.config.patience, self.config.min_delta)
