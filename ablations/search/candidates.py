"""Conversion of the values drawn for an arm into complete run configurations.

The arms that depend on that arm must also be buildable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablations.planning.arms import arm_document, expand, shape_of
from ablations.spec import yaml_documents
from ablations.spec.search import SearchSpec
from ablations.spec.search_conditions import MEASURES
from ablations.spec.study import ArmSpec, StudyFile, StudySpec
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.registry import datasets

Document = Mapping[str, Any]
KEYS = ("model", "data", "training")


@dataclass(frozen=True)
class Candidate:
    """A drawn configuration.

    Attributes
    ----------
    problem : why the configuration cannot be run or confirmed; empty if it can be.
    identity : text that is the same for two configurations whose confirmations would be the same.
    run_ids : ids of its runs in the screening, seed by seed.
    budget : number of epochs per run.
    violations : amount by which the configuration violates each constraint, as a fraction of the bound; at most 0 if it
        does not violate the constraint.
    infeasible : description of the violated constraints; empty if there are none.
    """

    problem: str
    identity: str = ""
    run_ids: tuple[str, ...] = ()
    budget: int = 0
    violations: Mapping[str, float] = field(default_factory=dict)
    infeasible: str = ""


class Candidates:
    """Examines configurations for a study's arms; data is loaded once, for its fingerprint."""

    def __init__(self, study: StudyFile, spec: SearchSpec) -> None:
        self.study, self.spec = study, spec
        self._fingerprints: dict[str, str] = {}
        self._measured: dict[str, dict[str, float]] = {}

    def examine(self, arm: str, document: Document) -> Candidate:
        """Return the candidate that results from a configuration for an arm.

        Parameters
        ----------
        document : the arm's document, with the base and the arm merged.
        """
        found, problem = built(self.study, arm, document)
        if problem:
            return Candidate(problem)
        run = self._screened(arm, document)
        violations, infeasible = self._constrained(found, run)
        if infeasible:
            return Candidate("", found, (), run.training.epochs, violations, infeasible)
        fingerprint = self._fingerprint(run)
        seeds = [run.model_copy(update={"seed": seed}) for seed in self.spec.seeds]
        return Candidate("", found, tuple(each.run_id(fingerprint) for each in seeds), run.training.epochs, violations)

    def violated(self, arm: str, document: Document) -> tuple[float, str]:
        """Return by how much a buildable configuration violates its constraints, and which constraints it violates.

        Returns
        -------
        The largest violation as a fraction of the bound, at most 0 if there is no violation; and a text, empty if there
        is no violation.
        """
        run = self._screened(arm, document)
        violations, said = self._constrained(identity(run), run)
        return max(violations.values(), default=0.0), said

    def _constrained(self, found: str, run: RunConfig) -> tuple[dict[str, float], str]:
        """Return the violation of each constraint, and a description of the violated constraints.

        The network is built on the meta device, once per configuration.
        """
        if not self.spec.constraints:
            return {}, ""
        if found not in self._measured:
            self._measured[found] = measures(run)
        values = self._measured[found]
        violations = {str(each): each.violation(values[each.measure]) for each in self.spec.constraints}
        broken = [each for each in self.spec.constraints if violations[str(each)] > 0]
        return violations, "; ".join(f"{each.measure} {values[each.measure]:,.0f} violates {each}" for each in broken)

    def _screened(self, arm: str, document: Document) -> RunConfig:
        """Return the run for a configuration's first seed, as in the screening's study file."""
        own = screening_document(self.study, self.spec, {arm: document})["arms"][arm]
        said = self.study.spec.model_copy(update={"arms": {arm: ArmSpec.parse(own)}, "search": None})
        return RunConfig.parse({**arm_document(StudyFile(said, self.study.path), arm), "seed": self.spec.seeds[0]})

    def _fingerprint(self, run: RunConfig) -> str:
        key = run.data.model_dump_json()
        if key not in self._fingerprints:
            self._fingerprints[key] = datasets.create(run.data).load().fingerprint
        return self._fingerprints[key]


def measures(run: RunConfig) -> dict[str, float]:
    """Return the properties of a run's network to which constraints can apply, computed on the meta device."""
    from aimlib.models import summarize  # noqa: PLC0415 -- torch

    summary = summarize(run.model, shape_of(run), run.training.batch_size)
    return {name: float(getattr(summary, name)) for name in MEASURES}


def built(study: StudyFile, arm: str, document: Document) -> tuple[str, str]:
    """Return the identity of an arm with a different configuration, or the reason why it cannot be confirmed.

    All arms that start from this arm are also built, because a configuration cannot be judged if its controls cannot be
    built.
    """
    spec = study.spec
    arms = {name: spec.arms[name] for name in kin(spec, arm)}
    arms[arm] = replaced(spec.arms[arm], document)
    try:
        found = expand(StudyFile(spec.model_copy(update={"arms": arms, "search": None}), study.path))
    except UsageError as error:
        return "", " ".join(str(error).replace(f"{study.where}: ", "").split())
    return identity(next(each.config for each in found if each.name == arm)), ""


def kin(spec: StudySpec, arm: str) -> list[str]:
    """Return an arm and the arms that start from it, in study order."""
    found = {arm}
    while more := {name for name, each in spec.arms.items() if each.of in found} - found:
        found |= more
    return [name for name in spec.arms if name in found]


def replaced(arm: ArmSpec, document: Document) -> ArmSpec:
    """Return an arm with a different, complete configuration.

    The arm starts from the base, and keeps its role and question.
    """
    return ArmSpec.parse({**_own(document), "role": arm.role, "question": arm.question})


def identity(config: RunConfig) -> str:
    """Return text that is equal for equal configurations, regardless of their seed."""
    return json.dumps({**config.identity(), "seed": 0}, sort_keys=True)


def screening_document(study: StudyFile, spec: SearchSpec, arms: Mapping[str, Document]) -> dict[str, Any]:
    """Return the study file of a screening.

    Parameters
    ----------
    arms : each trial's document, by trial name.
    """
    content: dict[str, Any] = {
        "name": screening_name(study),
        "base": study.spec.base,
        "resources": study.spec.resources.model_dump(mode="json"),
        "arms": {name: {**_trained(spec, document), "role": "other"} for name, document in arms.items()},
        "seeds": list(spec.seeds),
    }
    return {**content, **({"protocol": study.spec.protocol} if study.spec.protocol else {})}


def screening_name(study: StudyFile) -> str:
    """Return the name of a study's screening, which is also the name of a folder."""
    return f"{study.spec.name[:54]}-screening"


def _trained(spec: SearchSpec, document: Document) -> dict[str, Any]:
    return {**_own(document), "training": yaml_documents.merge(document.get("training", {}), spec.training)}


def _own(document: Document) -> dict[str, Any]:
    return {key: document[key] for key in KEYS if key in document}


def role_of(study: StudyFile, arm: str) -> str:
    """Return the role of an arm that states its own options, without building a network."""
    given = study.spec.arms[arm]
    if given.role is not None or given.question is not None:
        return given.role or "control"
    run = RunConfig.parse({**arm_document(study, arm), "seed": study.spec.seeds[0]})
    return "baseline" if run.model.memory is None else "aim"


def own_arms(spec: StudySpec) -> Iterable[str]:
    """Return the arms that state their own options and are not derived from others."""
    return (name for name, arm in spec.arms.items() if arm.control is None and arm.levels is None)
