"""Median rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ablations.search.pruners.base import Pruner, PrunerConfig
from ablations.spec.search_families import pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("median")
class Median(Pruner):
    """Stops a trial whose best accuracy so far is below the median of the complete trials at the same epoch."""

    class Config(PrunerConfig):
        """The options of optuna.pruners.MedianPruner."""

        n_startup_trials: Annotated[int, Field(ge=0)] = 5
        """Number of complete trials that are needed before any trial is stopped."""
        n_warmup_steps: Annotated[int, Field(ge=0)] = 0
        """Number of initial epochs in which no trial is stopped."""
        n_min_trials: Annotated[int, Field(ge=1)] = 1
        """Minimum number of trials with an accuracy at the same epoch for computing the median."""

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import MedianPruner  # noqa: PLC0415

        return MedianPruner(**self.options)
