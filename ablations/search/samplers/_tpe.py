"""Tree-structured Parzen estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.samplers.base import Infeasible, Sampler
from ablations.spec.search_families import samplers
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("tpe")
class Tpe(Sampler):
    """Draws where good trials are dense compared with other trials; supports conditional parameters."""

    infeasible: ClassVar[Infeasible] = "pruned"
    source: ClassVar[str] = "Bergstra et al. (2011), Algorithms for hyper-parameter optimization"

    class Config(ComponentConfig):
        """The options of optuna.samplers.TPESampler."""

        n_startup_trials: Annotated[int, Field(ge=0)] = 10
        """Number of trials that are drawn at random at the start."""
        n_ei_candidates: Annotated[int, Field(ge=1)] = 24
        """Number of draws from which the most promising draw is proposed."""
        multivariate: bool = False
        """Model parameters jointly instead of one by one."""
        group: bool = False
        """With multivariate, model each group of parameters that occur together in a conditional space."""
        constant_liar: bool = True
        """Avoid values near trials of the same batch, which have no result yet."""
        prior_weight: Annotated[float, Field(gt=0)] = 1.0
        """Weight of the prior, which covers the whole range."""

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import TPESampler  # noqa: PLC0415

        return TPESampler(seed=seed, **self.options)
