"""Asks Optuna for configurations of one arm, and reports their outcomes to it.

Optuna's study is in memory. Its sampler starts from a seed, and proposals and outcomes follow in a fixed order, so a
new process that reports the same outcomes receives the same proposals; Optuna's own state is never read back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.search.arm_spaces import Space
from ablations.search.grids import grid
from ablations.search.space import suggest
from ablations.search.trials import Outcome
from ablations.spec.search import SearchSpec

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Question:
    """A proposal of Optuna.

    Attributes
    ----------
    number : from 0.
    drawn : values by the parameters' names.
    document : the same, to be merged over the arm.
    """

    number: int
    drawn: Mapping[str, Any]
    document: Mapping[str, Any]


class Proposals:
    """The search of one arm, as Optuna sees it.

    Attributes
    ----------
    points : number of possible proposals; None if they are endless.
    """

    def __init__(self, space: Space, spec: SearchSpec) -> None:
        import optuna  # noqa: PLC0415 -- takes a second, and only a search needs it

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = spec.seeds[0] if spec.sampler_seed is None else spec.sampler_seed
        kind = optuna.samplers.TPESampler if spec.sampler == "tpe" else optuna.samplers.RandomSampler
        self._study = optuna.create_study(direction="maximize", sampler=kind(seed=seed))
        self._states = optuna.trial.TrialState
        self._parameters = space.parameters
        self._asked: dict[int, Any] = {}
        self._reported: set[tuple[int, int]] = set()
        self.points: int | None = None
        if spec.sampler == "grid":
            points = shuffled_grid(space, spec)
            self.points = len(points)
            for point in points:
                self._study.enqueue_trial(point)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All proposed trials, as Optuna has them."""
        asked: list[optuna.trial.FrozenTrial] = [
            trial for trial in self._study.trials if trial.state != self._states.WAITING
        ]
        return asked

    def ask(self) -> Question | None:
        """Return the next proposal; None if a grid has no further point."""
        if self.points is not None and len(self._asked) >= self.points:
            return None
        trial = self._study.ask()
        document = suggest(trial, self._parameters)
        self._asked[trial.number] = trial
        return Question(trial.number, dict(trial.params), document)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a trial that has been proposed but not reported, for the dashboard."""
        for name, value in attributes.items():
            self._asked[number].set_user_attr(name, value)

    def reached(self, number: int, epochs: int, value: float) -> None:
        """Report the accuracy of a trial after this many epochs."""
        if (number, epochs) not in self._reported:
            self._asked[number].report(value, epochs)
            self._reported.add((number, epochs))

    def tell(self, number: int, outcome: Outcome) -> None:
        """Report the outcome of a trial: once, with one value, however many seeds it has."""
        for epochs, value in outcome.rungs:
            self.reached(number, epochs, value)
        if outcome.state == "complete":
            self._study.tell(number, outcome.value)
        elif outcome.state == "pruned":
            self._study.tell(number, state=self._states.PRUNED)
        else:
            self._study.tell(number, state=self._states.FAIL)


def shuffled_grid(space: Space, spec: SearchSpec) -> list[dict[str, Any]]:
    """Return the points of an arm's grid in random order, so that an early stop has covered all of it."""
    own = {name: levels for name, levels in spec.levels.items() if name in {p.name for p in space.parameters}}
    points = grid(space.parameters, own)
    seed = spec.seeds[0] if spec.sampler_seed is None else spec.sampler_seed
    random.Random(seed).shuffle(points)  # noqa: S311 -- an order, no secret
    return points
