"""Wilcoxon's test, which is not applicable here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from ablations.search.pruners.base import Pruner
from ablations.spec.search_families import pruners
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("wilcoxon")
class Wilcoxon(Pruner):
    """Optuna's pruner for objectives that are a mean over problem instances.

    A search rejects this pruner with a reason.
    """

    class Config(ComponentConfig):
        """No configuration is valid."""

        p_threshold: float = 0.1
        """Significance level of the test."""
        n_startup_steps: int = 2
        """Number of initial steps in which no trial is stopped."""

        @model_validator(mode="after")
        def _refused(self) -> Self:
            raise ValueError(
                "name: wilcoxon compares trials seed by seed, but the seeds of a trial are trained together and "
                "count as one mean, so nothing is left to stop; use median, percentile, or search.halving"
            )

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import WilcoxonPruner  # noqa: PLC0415

        return WilcoxonPruner(**self.options)
