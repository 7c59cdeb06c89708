"""The confirmation: the study itself, with the best trials in place of their arms or next to them, on fresh seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.planning.arms import expand
from ablations.search.candidates import identity, kin, replaced
from ablations.search.trials import Trial
from ablations.spec.search import SearchSpec
from ablations.spec.study import ArmSpec, StudyFile, StudySpec
from aimlib.errors import UsageError


@dataclass(frozen=True)
class Confirmation:
    """The study that confirms trials.

    Attributes
    ----------
    document : content of the study file, which is the original study without its search.
    places : name of the arm in which a trial is confirmed, by trial name.
    """

    document: Mapping[str, Any]
    places: Mapping[str, str]


def ranked(trials: Iterable[Trial], arm: str) -> list[Trial]:
    """Return an arm's complete trials, the best first and ties in their original order.

    Each configuration occurs once.
    """
    own = [trial for trial in trials if trial.arm == arm and trial.value is not None and not trial.repeats]
    return sorted(own, key=lambda trial: (-(trial.value or 0.0), trial.number))


def confirmation(study: StudyFile, spec: SearchSpec, trials: Sequence[Trial]) -> Confirmation:
    """Return the confirmation of the trials.

    A trial that equals another arm in the study is skipped, because its runs would be the same.

    Raises
    ------
    UsageError: an arm has no trial that could be confirmed.
    """
    arms, places = dict(study.spec.arms), {}
    best = {arm: ranked(trials, arm) for arm in spec.arms}
    if spec.confirm == "in_place":
        taken = _fixed(study, spec)
        for arm in spec.arms:
            winner = _first(best[arm], taken, arm, study, trials)
            taken.add(winner.identity)
            arms[arm] = replaced(study.spec.arms[arm], winner.document)
            places[winner.name] = arm
    else:
        for arm in spec.arms:
            _first(best[arm], set(), arm, study, trials)
    taken = _identities(study, arms)
    for arm in spec.arms:
        others = [trial for trial in best[arm] if trial.identity not in taken][: spec.top]
        for trial in others:
            taken.add(trial.identity)
            arms[trial.name] = replaced(ArmSpec(), trial.document)
            places[trial.name] = trial.name
    return Confirmation(_document(study.spec, arms), places)


def _first(best: Sequence[Trial], taken: set[str], arm: str, study: StudyFile, trials: Sequence[Trial]) -> Trial:
    for trial in best:
        if trial.identity not in taken:
            return trial
    if best:
        raise UsageError(
            f"{study.where}: search: every configuration found for arm {arm!r} equals another arm in the study; widen "
            "the search, or remove that arm"
        )
    states = {trial.outcome.state for trial in trials if trial.arm == arm}
    why = "the screening's directory shows why its runs failed"
    if states == {"pruned"}:
        why = "the pruner stopped all of its trials; make search.pruner stop fewer, and set a different --out"
    raise UsageError(f"{study.where}: search: arm {arm!r} has no trial with a result; {why}")


def _fixed(study: StudyFile, spec: SearchSpec) -> set[str]:
    """Return the identities of the arms that the search does not change."""
    moving = {name for arm in spec.arms for name in kin(study.spec, arm)}
    return _identities(study, {name: arm for name, arm in study.spec.arms.items() if name not in moving})


def _identities(study: StudyFile, arms: Mapping[str, ArmSpec]) -> set[str]:
    if not arms:
        return set()
    spec = study.spec.model_copy(update={"arms": dict(arms), "search": None})
    return {identity(arm.config) for arm in expand(StudyFile(spec, study.path))}


def _document(spec: StudySpec, arms: Mapping[str, ArmSpec]) -> dict[str, Any]:
    """Return a study file with everything in the study except its arms, its search and the user's own code files.

    The searching session has already registered the content of these files.
    """
    without = {"arms", "search", "plugins", *(("delta_pp",) if spec.delta is not None else ())}
    said = spec.model_dump(mode="json", exclude=without)
    return said | {"arms": {name: arm.model_dump(mode="json", exclude_defaults=True) for name, arm in arms.items()}}
