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
    """Keeps a trial while it is in the best `percentile` percent of the complete trials at the same epoch."""

    class Config(PrunerConfig):
        """The options of optuna.pruners.PercentilePruner."""

        percentile: Annotated[float, Field(ge=0, le=100)] = 25.0
        """Share of the trials to keep, in percent."""
        n_startup_trials: Annotated[int, Field(ge=0)] = 5
        """Number of complete trials before which none is stopped."""
        n_warmup_steps: Annotated[int, Field(ge=0)] = 0
        """Number of epochs before which no trial is stopped."""
        n_min_trials: Annotated[int, Field(ge=1)] = 1
        """Number of trials with an accuracy at the same epoch that the percentile needs."""

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import PercentilePruner  # noqa: PLC0415

        return PercentilePruner(**{"percentile": self.config.percentile, **self.options})
