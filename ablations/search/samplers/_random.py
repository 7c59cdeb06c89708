"""Random search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ablations.search.samplers.base import Sampler
from ablations.spec.search_families import samplers

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("random")
class Random(Sampler):
    """Draws every trial independently and uniformly."""

    source: ClassVar[str] = "Bergstra and Bengio (2012), Random search for hyper-parameter optimization"

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import RandomSampler  # noqa: PLC0415

        return RandomSampler(seed=seed)
