"""Grid search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ablations.search.samplers.base import Sampler
from ablations.spec.search_families import samplers

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("grid")
class Grid(Sampler):
    """Proposes every point of a finite space once, in random order; `search.levels` makes ranges finite.

    The points come from `ablations.search.grids`, because Optuna's grid is the product of all parameters, including
    those that a configuration does not have.
    """

    finite: ClassVar[bool] = True

    def build(self, seed: int) -> BaseSampler:
        """Return a sampler that is never used, because all points are enqueued."""
        from optuna.samplers import RandomSampler  # noqa: PLC0415

        return RandomSampler(seed=seed)
