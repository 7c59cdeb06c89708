"""Gaussian process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ablations.search.samplers.base import Infeasible, Sampler
from ablations.spec.search_families import samplers
from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("gp")
class Gp(Sampler):
    """Maximizes the expected improvement under a Gaussian process; suitable for few, expensive trials."""

    replays: ClassVar[bool] = False  # fitted with L-BFGS, so differences in the last bits of linear algebra matter
    infeasible: ClassVar[Infeasible] = "complete"
    relative_to: ClassVar[tuple[str, ...]] = ("numbers", "choices")
    source: ClassVar[str] = "optuna.samplers.GPSampler; expected improvement by Ament et al. (2023)"

    class Config(ComponentConfig):
        """The options of optuna.samplers.GPSampler."""

        n_startup_trials: Annotated[int, Field(ge=0)] = 10
        """Number of trials that are drawn at random at the start."""
        deterministic_objective: bool = False
        """Whether a repeated trial has the same accuracy; this is not the case with different seeds."""

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        from optuna.samplers import GPSampler  # noqa: PLC0415

        return GPSampler(seed=seed, warn_independent_sampling=False, **self.options)
