"""Covariance matrix adaptation evolution strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.samplers.base import Sampler
from ablations.spec.search_families import samplers
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("cmaes")
class Cmaes(Sampler):
    """Adapts a normal distribution over the ranges; suitable only for numbers and for many trials."""

    relative_to: ClassVar[tuple[str, ...]] = ("numbers",)
    requires: ClassVar[str] = "cmaes"
    extra: ClassVar[str] = "cmaes"
    source: ClassVar[str] = "Hansen (2016), The CMA evolution strategy: a tutorial"

    class Config(ComponentConfig):
        """The options of optuna.samplers.CmaEsSampler."""

        n_startup_trials: Annotated[int, Field(ge=0)] = 1
        """Number of trials that are drawn at random at the start."""
        sigma0: Annotated[float, Field(gt=0)] | None = None
        """Initial standard deviation; by default a sixth of the smallest range."""
        popsize: Annotated[int, Field(ge=2)] | None = None
        """Number of trials in a generation; by default 4 + 3 ln(number of ranges)."""
        use_separable_cma: bool = False
        """Restrict the covariance to its diagonal."""
        with_margin: bool = False
        """Keep a minimum probability for every integer value."""
        lr_adapt: bool = False
        """Adapt the learning rate, for noisy or multimodal objectives."""
        consider_pruned_trials: bool = False
        """Also learn from trials that were stopped early."""

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import CmaEsSampler  # noqa: PLC0415

        return CmaEsSampler(seed=seed, warn_independent_sampling=False, **self.options)
