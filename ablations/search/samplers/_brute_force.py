"""Enumeration of a finite space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ablations.search.samplers.base import Sampler
from ablations.spec.search_families import samplers

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers.register("brute_force")
class BruteForce(Sampler):
    """Draws every combination of choices and integers once; ranges of real numbers need a grid."""

    finite: ClassVar[bool] = True

    def build(self, seed: int) -> BaseSampler:
        """Return the sampler; the search itself counts the points and ends after the last one."""
        from optuna.samplers import BruteForceSampler  # noqa: PLC0415

        class Enumeration(BruteForceSampler):  # type: ignore[misc]  # Optuna has no types here
            """The sampler without its call to `Study.stop`, which raises an error outside `Study.optimize`."""

            def after_trial(self, *_: Any) -> None:
                pass

        return Enumeration(seed=seed)
