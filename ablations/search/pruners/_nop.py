"""No pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.search.pruners.base import Pruner
from ablations.spec.search_families import pruners
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners.register("nop")
class Nop(Pruner):
    """Trains every trial to its end."""

    class Config(ComponentConfig):
        """No options."""

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return only the final epoch."""
        return (budget,)

    def build(self, budget: int) -> BasePruner:
        """Return the pruner."""
        from optuna.pruners import NopPruner  # noqa: PLC0415

        return NopPruner()
