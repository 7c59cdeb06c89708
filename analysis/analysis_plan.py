"""The frozen analysis plan: everything that determines the verdict, written down and hashed before the first run.

`ablate run` writes `analysis_plan.json` once, by exclusive creation, before any run of the study begins; the file is
never replaced. `analysis.findings.deviations` compares the file with the study's current state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimlib.errors import StoreError
from aimlib.paths import Place, advice_on, read_file
from aimlib.records import ANALYSIS_PLAN, SCHEMA_VERSION, STUDY_FILE
from analysis.plan import Plan, plan_from, refuse_version
from analysis.procedures import FIRST, KEY
from analysis.statistics.planned import planned_comparisons

GATES = ("baseline", "matched", "frozen", "permuted")


@dataclass(frozen=True)
class Rule:
    """A rule of the procedure, with the texts in which plans freeze it.

    Attributes
    ----------
    number : number of the rule's meaning; it increases when the procedure changes, but not when only the wording
        changes.
    wording : the text that new plans freeze.
    earlier : texts in older plans, each with the number of its meaning.
    """

    number: int
    wording: str
    earlier: tuple[tuple[str, int], ...] = ()

    def number_of(self, wording: object) -> int | None:
        """Return the number of the rule in a frozen text, or None if no version froze this text."""
        return next((number for text, number in (*self.earlier, (self.wording, self.number)) if text == wording), None)


_RULES: Mapping[str, Rule] = {
    "estimand": Rule(
        1,
        "Mean over seeds of the difference between two arms in test accuracy of each run's selected epoch, paired by "
        "seed, in percentage points.",
    ),
    "variants": Rule(1, "Holm's procedure on the sequential p-values of the paired t tests."),
    "failures": Rule(
        1,
        "A run lost to infrastructure is repeated with its seed. Divergence, or an accuracy whose one-sided 99 % bound "
        "does not exceed chance, is an outcome: kept, never re-rolled. A missing pair withholds the verdict of its "
        "look, and so does a baseline that trains in fewer than 4 of 5 seeds.",
    ),
    "further_seeds": Rule(1, "Further seeds are the integers after the largest frozen one, in order."),
}
"""Rules by their key in a frozen plan. A reworded rule keeps its old text in `earlier`, so that old plans stay valid.
"""
_FAILURES = Rule(
    2,
    "A run lost to infrastructure is repeated with its seed. Divergence, or an accuracy whose one-sided 99 % bound "
    "does not exceed that of the best constant answer, is an outcome: kept, never re-rolled. A missing pair withholds "
    "the verdict of its look, and so does a baseline that trains in fewer than 4 of 5 seeds of that look. In the scope "
    "of a claim an arm whose mean accuracy is below three times that of the best constant answer decides nothing.",
)


def rules_of(procedure: int) -> Mapping[str, Rule]:
    """Return a procedure's rules in words, by their keys in a frozen plan."""
    return _RULES if procedure == FIRST else {**_RULES, "failures": _FAILURES}


STATEMENT = "claim_statement"
"""Key in a frozen plan for the claim in words. Plans from earlier versions do not have this key."""


@dataclass(frozen=True)
class Frozen:
    """A frozen analysis plan.

    Attributes
    ----------
    at : time of the freeze (UTC).
    runs_before : number of runs that were settled at that time.
    sha256 : hash that was written with the plan.
    content : what was frozen, with the keys of `content_of`.
    """

    at: pd.Timestamp
    runs_before: int
    sha256: str
    content: Mapping[str, Any]


def content_of(
    document: Mapping[str, Any],
    gains_pp: Mapping[str, float],
    levels: tuple[float, ...],
    claim_scope: Mapping[str, Sequence[str | int]] | None = None,
    claim_statement: str | None = None,
) -> dict[str, Any]:
    """Return the parts of a plan in `study.json` that are frozen.

    Parameters
    ----------
    gains_pp : gains that the claim reports, by source; empty without a claim.
    levels : level of the test at each look; empty if a verdict is allowed after any number of pairs. The levels then
        follow from the mixture width in `looks`.
    claim_scope : what the claim requires of a study; None without a claim.
    claim_statement : the claim in words; later compared with the study's copy of the claim. None without a claim.
    """
    plan = plan_from({"schema_version": SCHEMA_VERSION, **document}, Path(STUDY_FILE))
    rules = rules_of(plan.procedure)
    numbers = {name: rule.number for name, rule in rules.items()}
    return {
        **own_words(plan),
        "name": document["name"],
        "claim": document["claim"],
        "reported_gains_pp": dict(gains_pp),
        "claim_scope": scope_lists(claim_scope),
        **({} if claim_statement is None else {STATEMENT: claim_statement}),
        "scope": dict(document["scope"]),
        **({"delta_pp": plan.delta_pp} if plan.measure.is_accuracy else _of_measure(document)),
        "estimand": estimand(plan),
        **{key: document[key] for key in ("alpha", "looks", "further_block")},
        "levels": list(levels),
        "gates": list(GATES),
        "variants": rules["variants"].wording,
        "failures": rules["failures"].wording,
        "data_fingerprint": document["scope"]["data_fingerprint"],
        "arms": [{key: arm[key] for key in ("name", "role", "of")} for arm in document["arms"]],
        "comparisons": [list(comparison) for comparison in planned_comparisons(plan)],
        "seeds": document["seeds"],
        "further_seeds": rules["further_seeds"].wording,
        **({KEY: numbers} if plan.procedure == FIRST else {KEY: plan.procedure, "rules": numbers}),
        "runs": document["runs"],
        "package_version": document["package_version"],
    }


def estimand(plan: Plan) -> str:
    """Return what is estimated, in words."""
    measure = plan.measure
    if measure.is_accuracy:
        return _RULES["estimand"].wording
    side = ", control minus treatment" if measure.lower_is_better else ""
    unit = "percentage points" if measure.difference == "pp" else measure.difference or "its own scale"
    return (
        f"Mean over seeds of the difference between two arms in the {measure.words} of each run's selected epoch, "
        f"paired by seed, in {unit}{side}."
    )


def _of_measure(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"measure": document["measure"], "delta": document["delta"]}


def own_words(plan: Plan) -> dict[str, Any]:
    """Return the words that a study itself supplies and its plan freezes: its subject, and each control's question.

    Empty for a study without such words, as in plans from earlier versions.
    """
    questions = {arm.name: arm.question for arm in plan.arms if arm.question is not None}
    return ({} if plan.what is None else {"what": plan.what}) | ({"questions": questions} if questions else {})


def digest(at: str, runs_before: int, content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all frozen content, written as JSON with sorted keys and without spaces."""
    frozen = {"frozen_at": at, "runs_before": runs_before, "content": content}
    text = json.dumps(frozen, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read(directory: Place) -> Frozen | None:
    """Return the frozen plan in a study directory, or None if there is none.

    StoreError: the file cannot be read, or does not match the hash stored with it.
    """
    path = directory / ANALYSIS_PLAN
    try:
        document = json.loads(read_file(path).decode("utf-8"))
    except FileNotFoundError:
        return None
    except StoreError:  # raised by object storage, with advice of its own
        raise
    except (OSError, ValueError, RecursionError) as error:
        advice = advice_on(error, "restore it from a copy")
        raise StoreError(f"{path}: not readable as JSON ({error}); {advice}") from None
    try:
        refuse_version(document["schema_version"], path)
        at, before, content = document["frozen_at"], document["runs_before"], document["content"]
        found = Frozen(pd.Timestamp(at), int(before), document["sha256"], content)
        intact = digest(at, before, content) == found.sha256
        if intact:
            _refuse_other_types(found)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise StoreError(f"{path}: not a frozen analysis plan ({error!r}); restore it from a copy") from None
    if not intact:
        raise StoreError(f"{path}: was changed after it was frozen: its content does not match its SHA-256; restore it")
    return found


def _refuse_other_types(frozen: Frozen) -> None:
    """Raise TypeError or KeyError if a plan does not contain the texts, numbers or lists that its readers expect.

    This is possible only if somebody changed both the file and its hash.
    """
    content = frozen.content
    texts = [content.get("name") or "", content.get("claim") or "", content.get(STATEMENT) or ""]
    numbers = [*content["seeds"]]
    for arm in content["arms"]:
        texts += [arm["name"], arm["role"], arm["of"] or ""]
    for run in content["runs"]:
        texts += [run["arm"], run["run_id"]]
        numbers.append(run["seed"])
    for kind, treatment, control in content["comparisons"]:
        texts += [kind, treatment, control]
    for name in ("reported_gains_pp", "scope", "claim_scope", "questions", "rules"):
        texts += (content.get(name) or {}).keys()
    for accepted in (content.get("claim_scope") or {}).values():
        texts += map(str, accepted)
    if frozen.at.tzinfo is None or not content["seeds"]:
        raise TypeError("it lacks a time with a time zone, or seeds")
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("texts or numbers do not have the expected type")


def scope_lists(claim_scope: Mapping[str, Sequence[str | int]] | None) -> dict[str, list[str | int]]:
    """Return what a claim requires of a study, in the form stored as JSON; empty without a claim."""
    return {field: list(allowed) for field, allowed in (claim_scope or {}).items()}
