"""Quasi-Monte Carlo search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ablations.search.samplers.base import Sampler
from ablations.spec.search_families import samplers
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("qmc")
class Qmc(Sampler):
    """Covers numeric ranges with a low-discrepancy sequence, more evenly than a random search."""

    relative_to: ClassVar[tuple[str, ...]] = ("numbers",)
    source: ClassVar[str] = "Bergstra and Bengio (2012), Random search for hyper-parameter optimization"

    class Config(ComponentConfig):
        """The options of optuna.samplers.QMCSampler."""

        qmc_type: Literal["sobol", "halton"] = "sobol"
        """The sequence."""
        scramble: bool = False
        """Randomize the sequence with the sampler's seed."""

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import QMCSampler  # noqa: PLC0415

        return QMCSampler(seed=seed, warn_independent_sampling=False, **self.options)
