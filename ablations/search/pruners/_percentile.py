"""Percentile rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ablations.search.pruners.base import Pruner, PrunerConfig
from ablations.spec.search_families import pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("percentile")
class Percentile(Pruner):
    """Keeps a trial as long as it is in the best `percentile` percent of the complete trials at the same epoch."""

    class Config(PrunerConfig):
        """The options of optuna.pruners.PercentilePruner."""

        percentile: Annotated[float, Field(ge=0, le=100)] = 25.0
        """Percentage of the trials to keep."""
        n_startup_trials: Annotated[int, Field(ge=0)] = 5
        """Number of complete trials that are needed before any trial is stopped."""
        n_warmup_steps: Annotated[int, Field(ge=0)] = 0
        """Number of initial epochs in which no trial is stopped."""
        n_min_trials: Annotated[int, Field(ge=1)] = 1
        """Minimum number of trials with an accuracy at the same epoch for computing the percentile."""

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import PercentilePruner  # noqa: PLC0415

        return PercentilePruner(**{"percentile": self.config.percentile, **self.options})
