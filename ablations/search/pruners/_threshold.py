"""Thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from ablations.search.pruners.base import Pruner, PrunerConfig
from ablations.spec.search_families import pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("threshold")
class Threshold(Pruner):
    """Stops a trial whose accuracy is below a lower threshold or above an upper threshold."""

    class Config(PrunerConfig):
        """The options of optuna.pruners.ThresholdPruner."""

        lower: Annotated[float, Field(ge=0, le=1)] | None = None
        """Lowest accuracy, as a fraction, at which a trial continues."""
        upper: Annotated[float, Field(ge=0, le=1)] | None = None
        """Highest accuracy, as a fraction, at which a trial continues."""
        n_warmup_steps: Annotated[int, Field(ge=0)] = 0
        """Number of initial epochs in which no trial is stopped."""

        @model_validator(mode="after")
        def _one_of_both(self) -> Self:
            if self.lower is None and self.upper is None:
                raise ValueError("lower: set this threshold (a fraction, e.g. 0.2), upper, or both")
            if self.lower is not None and self.upper is not None and self.lower > self.upper:
                raise ValueError(f"lower: {self.lower:g} is above upper, {self.upper:g}")
            return self

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import ThresholdPruner  # noqa: PLC0415

        return ThresholdPruner(**self.options)
