"""Genetic algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.samplers.base import Infeasible, Sampler
from ablations.spec.search_families import samplers
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("nsgaii")
class Nsgaii(Sampler):
    """Crosses and mutates the best trials of a generation.

    A search has one objective, so trials are selected by accuracy.
    """

    infeasible: ClassVar[Infeasible] = "complete"
    source: ClassVar[str] = "Deb et al. (2002), A fast and elitist multiobjective genetic algorithm: NSGA-II"

    class Config(ComponentConfig):
        """The options of optuna.samplers.NSGAIISampler."""

        population_size: Annotated[int, Field(ge=2)] = 50
        """Number of complete trials in a generation; with fewer trials, this is a random search."""
        mutation_prob: Annotated[float, Field(ge=0, le=1)] | None = None
        """Probability of mutating a parameter; by default 1 divided by the number of parameters."""
        crossover_prob: Annotated[float, Field(ge=0, le=1)] = 0.9
        """Probability of a crossover."""
        swapping_prob: Annotated[float, Field(ge=0, le=1)] = 0.5
        """Probability of swapping each parameter in a crossover."""

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import NSGAIISampler  # noqa: PLC0415

        return NSGAIISampler(seed=seed, **self.options)
