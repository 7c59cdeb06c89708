"""Asks Optuna for configurations for one arm, and reports their outcomes to Optuna.

Optuna's study is kept in memory. Its sampler starts from a seed, and proposals and outcomes have a fixed order. A new
process that reports the same outcomes therefore receives the same proposals, and Optuna's own state is never read back.
If a sampler's proposals depend on the machine (`Sampler.replays`), the sampler is not asked again, because its
proposals are recorded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.search.arm_spaces import Space
from ablations.search.grids import grid
from ablations.search.journal import Rung
from ablations.search.space import Parameter, described, suggest
from ablations.search.trials import Outcome
from ablations.spec.search import SearchSpec
from ablations.spec.search_families import pruners, samplers
from aimlib.errors import ConfigError
from aimlib.seeding import seed_for

if TYPE_CHECKING:
    import optuna

    from ablations.search.samplers import Sampler


@dataclass(frozen=True)
class Question:
    """A proposal from Optuna.

    Attributes
    ----------
    number : number of the proposal, starting from 0.
    drawn : values by parameter name.
    document : these values as a document, to be merged over the arm.
    """

    number: int
    drawn: Mapping[str, Any]
    document: Mapping[str, Any]


class Proposals:
    """The search of one arm, as Optuna sees it.

    Parameters
    ----------
    name : name of Optuna's study, which Hyperband uses to assign trials to its brackets.
    budget : number of epochs per trial.

    Attributes
    ----------
    points : number of possible proposals; None if the number is unlimited.
    replays : see `ablations.search.samplers.Sampler`.
    search : text that identifies the sampler and the space.
    """

    def __init__(self, space: Space, spec: SearchSpec, name: str = "search", budget: int = 1) -> None:
        import optuna  # noqa: PLC0415 -- takes a second, and only a search needs it

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler, self._seed = sampler_of(spec), spec.seed_of_sampler
        self.replays = getattr(self._sampler, "replays", False)
        self._infeasible = getattr(self._sampler, "infeasible", "failed")
        pruner = None if spec.pruner is None else pruners.create(spec.pruner)
        with _quiet():
            self._study = optuna.create_study(
                study_name=name,
                direction="maximize",
                sampler=self._sampler.build(self._seed),
                pruner=optuna.pruners.NopPruner() if pruner is None else pruner.build(budget),
            )
            self._recorded = optuna.samplers.RandomSampler(seed=self._seed)
        self._states = optuna.trial.TrialState
        self._parameters = space.parameters
        self._asked: dict[int, Any] = {}
        self._reported: set[tuple[int, int]] = set()
        self._decided: dict[int, tuple[int, bool]] = {}
        self.search = _digest(spec, space.parameters)
        points = points_of(space, spec)
        self.points = None if points is None else len(points)
        if points is not None and spec.sampler.name == "grid":
            for point in points:
                self._study.enqueue_trial(point)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All proposed trials as Optuna objects."""
        asked: list[optuna.trial.FrozenTrial] = [
            trial for trial in self._study.trials if trial.state != self._states.WAITING
        ]
        return asked

    def ask(self, recorded: Mapping[str, Any] | None = None) -> Question | None:
        """Return the next proposal; None if a finite space has no further points.

        Parameters
        ----------
        recorded : values proposed before a restart, which are used instead of asking the sampler.
        """
        if self.points is not None and len(self._asked) >= self.points:
            return None
        with _quiet():
            if recorded is not None:
                self._study.sampler = self._recorded  # the sampler does not draw anything, because every value is given
                self._study.enqueue_trial(dict(recorded))
            elif not self.replays:
                self._study.sampler = self._sampler.build(seed_for(self._seed, "proposal", len(self._asked)) % 2**31)
            trial = self._study.ask()
            document = suggest(trial, self._parameters)
        self._asked[trial.number] = trial
        return Question(trial.number, dict(trial.params), document)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a trial that has been proposed but not reported, for the dashboard."""
        for name, value in attributes.items():
            self._asked[number].set_user_attr(name, value)

    def constrain(self, number: int, violations: Mapping[str, float]) -> None:
        """Report the amount by which a trial violates each constraint; at most 0 if there is no violation."""
        with _quiet():  # CMA-ES warns that it does not use the constraints
            for name, value in violations.items():
                self._asked[number].set_constraint(name, value)

    def reached(self, number: int, epochs: int, value: float) -> None:
        """Report a trial's accuracy after `epochs` epochs."""
        if (number, epochs) not in self._reported:
            self._asked[number].report(value, epochs)
            self._reported.add((number, epochs))

    def stopped(self, rung: Rung) -> tuple[int, ...]:
        """Report the accuracies at a rung; then return the numbers of the trials that the pruner stops, in order."""
        for number, value in sorted(rung.values.items()):
            self.reached(number, rung.epochs, value)
        found = []
        for number in sorted(rung.values):
            if self._decided.get(number, (0, False))[0] < rung.epochs:  # some pruners count how often they are asked
                self._decided[number] = (rung.epochs, bool(self._asked[number].should_prune()))
            if self._decided[number][1]:
                found.append(number)
        return tuple(found)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Report the outcome of a trial once, as a single value for all its seeds."""
        for epochs, value in outcome.rungs:
            self.reached(number, epochs, value)
        with _quiet():
            self._tell(number, outcome)

    def _tell(self, number: int, outcome: Outcome) -> None:
        if outcome.state == "complete":
            self._study.tell(number, outcome.value)
        elif outcome.state == "pruned" or (outcome.state == "infeasible" and self._infeasible == "pruned"):
            self._study.tell(number, state=self._states.PRUNED)
        elif outcome.state == "infeasible" and self._infeasible == "complete":
            self._study.tell(number, self._worst())
        else:
            self._study.tell(number, state=self._states.FAIL)

    def _worst(self) -> float:
        """Return the lowest accuracy so far, for samplers that learn about violations only from complete trials."""
        complete = self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE,))
        return min((float(trial.value) for trial in complete), default=0.0)


class _quiet(warnings.catch_warnings):  # noqa: N801 -- reads like a function
    """Hide Optuna's warnings about experimental features and about parameters that are drawn independently."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def sampler_of(spec: SearchSpec) -> Sampler:
    """Return a search's sampler.

    Raises
    ------
    ConfigError: a package that the sampler needs is not installed.
    """
    sampler: Sampler = samplers.create(spec.sampler)
    needed = getattr(sampler, "requires", "")
    if needed and importlib.util.find_spec(needed) is None:
        extra = getattr(sampler, "extra", "")
        how = f"pip install 'aim-ablations[{extra}]'" if extra else f"pip install {needed}"
        raise ConfigError([f"search.sampler: {spec.sampler.name} needs the package {needed}: {how}"])
    return sampler


def samples(space: Space, spec: SearchSpec) -> Iterator[Mapping[str, Any]]:
    """Yield documents from an arm's space in random order: all points of a finite space, or otherwise endless draws."""
    import optuna  # noqa: PLC0415

    points = points_of(space, spec)
    with _quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.seed_of_sampler))
    for number in itertools.count():
        if points is not None and number == len(points):
            return
        with _quiet():
            if points is not None:
                study.enqueue_trial(points[number])
            yield suggest(study.ask(), space.parameters)


def points_of(space: Space, spec: SearchSpec) -> list[dict[str, Any]] | None:
    """Return the points in an arm's space in random order, so that they cover the space even if the search stops early.

    Returns
    -------
    None if the sampler can draw endlessly.

    Raises
    ------
    ConfigError: the space is not finite.
    """
    if not getattr(samplers.get(spec.sampler.name), "finite", False):
        return None
    own = {name: levels for name, levels in spec.levels.items() if name in {p.name for p in space.parameters}}
    points = grid(space.parameters, own)
    random.Random(spec.seed_of_sampler).shuffle(points)  # noqa: S311 -- used for an order, not for a secret
    return points


def _digest(spec: SearchSpec, parameters: Sequence[Parameter]) -> str:
    content = [
        spec.sampler.identity(),
        spec.seed_of_sampler,
        [described(parameter) for parameter in parameters],
        [str(each) for each in spec.constraints],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
