"""The frozen analysis plan: what decides, written down and hashed before the first run, and what has changed since.

`ablate run` writes `analysis_plan.json` once, by exclusive creation, before any run of the study begins; nothing
replaces it. The report compares it with the study as it is now: where they agree the verdict is confirmatory, where
they differ, or where runs are older than the plan, it is exploratory and says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import ANALYSIS_PLAN, SCHEMA_VERSION, STUDY_FILE
from analysis import number_format
from analysis.plan import Plan, plan_from, refuse_version
from analysis.statistics.family import planned_comparisons

ESTIMAND = (
    "Mean over seeds of the difference between two arms in test accuracy of each run's selected epoch, paired by seed, "
    "in percentage points."
)
FAILURES = (
    "A run lost to infrastructure is repeated with its seed. Divergence, or an accuracy whose one-sided 99 % bound does"
    " not exceed chance, is an outcome: kept, never re-rolled. A missing pair withholds the verdict of its look, and "
    "so does a baseline that trains in fewer than 4 of 5 seeds."
)
GATES = ("baseline", "matched", "frozen", "permuted")
SEEDS = "Further seeds are the integers after the largest frozen one, in order."
VARIANTS = "Holm's procedure on the sequential p-values of the paired t tests."


_SKEW = pd.Timedelta(minutes=10)


@dataclass(frozen=True)
class Frozen:
    """An analysis plan as it was frozen.

    Attributes
    ----------
    at : when (UTC).
    runs_before : number of runs that were settled by then.
    sha256 : hash that was written with it.
    content : what was frozen; keys as in `content_of`.
    """

    at: pd.Timestamp
    runs_before: int
    sha256: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Deviation:
    """One difference between the frozen plan and the study as it is.

    Attributes
    ----------
    arms : names of the arms whose comparisons it makes exploratory; None: of all.
    """

    text: str
    arms: frozenset[str] | None = None

    def touches(self, *arms: str) -> bool:
        """Tell whether it makes a comparison of these arms exploratory."""
        return self.arms is None or not self.arms.isdisjoint(arms)


def content_of(
    document: Mapping[str, Any],
    gains_pp: Mapping[str, float],
    levels: tuple[float, ...],
    claim_scope: Mapping[str, Sequence[str | int]] | None = None,
) -> dict[str, Any]:
    """Return what is frozen of a plan as it is stored in `study.json`.

    Parameters
    ----------
    gains_pp : gains that the claim reports, by source; empty without a claim.
    levels : level of the test at each look.
    claim_scope : what the claim demands of a study; None without a claim.
    """
    plan = plan_from({"schema_version": SCHEMA_VERSION, **document}, Path(STUDY_FILE))
    return {
        "name": document["name"],
        "claim": document["claim"],
        "reported_gains_pp": dict(gains_pp),
        "claim_scope": _lists(claim_scope),
        "scope": dict(document["scope"]),
        "delta_pp": document["delta_pp"],
        "estimand": ESTIMAND,
        **{key: document[key] for key in ("alpha", "looks", "further_block")},
        "levels": list(levels),
        "gates": list(GATES),
        "variants": VARIANTS,
        "failures": FAILURES,
        "data_fingerprint": document["scope"]["data_fingerprint"],
        "arms": [{key: arm[key] for key in ("name", "role", "of")} for arm in document["arms"]],
        "comparisons": [list(comparison) for comparison in planned_comparisons(plan)],
        "seeds": document["seeds"],
        "further_seeds": SEEDS,
        "runs": document["runs"],
        "package_version": document["package_version"],
    }


def digest(at: str, runs_before: int, content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that is frozen, written as JSON with sorted keys and without spaces."""
    frozen = {"frozen_at": at, "runs_before": runs_before, "content": content}
    text = json.dumps(frozen, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read(directory: Place) -> Frozen | None:
    """Return the frozen plan of a study directory; None where there is none.

    StoreError where the file cannot be read, or does not have the hash that was written with it.
    """
    path = directory / ANALYSIS_PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not readable as JSON ({error}); restore it from a copy") from None
    try:
        refuse_version(document["schema_version"], path)
        at, before, content = document["frozen_at"], document["runs_before"], document["content"]
        found = Frozen(pd.Timestamp(at), int(before), document["sha256"], content)
        intact = digest(at, before, content) == found.sha256
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: no frozen analysis plan ({error!r}); restore it from a copy") from None
    if not intact:
        raise StoreError(f"{path}: was changed after it was frozen: its content does not have its SHA-256; restore it")
    return found


def deviations(
    frozen: Frozen | None,
    plan: Plan,
    gains_pp: Mapping[str, float],
    trials: pd.DataFrame,
    claim_scope: Mapping[str, Sequence[str | int]] | None = None,
) -> list[Deviation]:
    """Return what makes a study exploratory, the most sweeping first; none where it is as frozen.

    Parameters
    ----------
    trials : frame of `Results`: no run may have begun before the freeze.
    """
    if frozen is None:
        return [Deviation("no analysis plan was frozen before the first run")]
    was = frozen.content
    now = {
        "name": plan.name,
        "claim": plan.claim,
        "reported_gains_pp": dict(gains_pp),
        "delta_pp": plan.delta_pp,
        "alpha": plan.looks.alpha,
        "looks": list(plan.looks.pairs),
        "further_block": plan.looks.further_block,
        "data_fingerprint": plan.scope.data_fingerprint,
        "estimand": ESTIMAND,
        "gates": list(GATES),
        "variants": VARIANTS,
        "failures": FAILURES,
    }
    found = [
        Deviation(f"{key} is {value!r} and was frozen as {was.get(key)!r}")
        for key, value in now.items()
        if value != was.get(key)
    ]
    found += _of_the_claim(was, plan, gains_pp, claim_scope)
    # Clocks of nodes differ; what was settled by then was counted where the plan was written.
    early = max(int((trials["started_at"] < frozen.at - _SKEW).sum()), frozen.runs_before)
    if early:
        found.append(Deviation(f"{number_format.count(early, 'run')} came before the freeze"))
    return found + _seeds(was, plan) + _comparisons(was, plan) + _arms(was, plan)


def _of_the_claim(
    was: Mapping[str, Any],
    plan: Plan,
    gains_pp: Mapping[str, float],
    claim_scope: Mapping[str, Sequence[str | int]] | None,
) -> list[Deviation]:
    """Return whether the study was moved into the claim's scope, or the claim was moved, after the freeze.

    Plans that were frozen before their scope was part of them are held to what they have.
    """
    found = []
    frozen = was.get("reported_gains_pp") or {}
    if next(iter(frozen), None) != next(iter(gains_pp), None):
        found.append(Deviation("the reported gain that decides is not the one that came first at the freeze"))
    for name, value in (("scope", asdict(plan.scope)), ("claim_scope", _lists(claim_scope))):
        then = was.get(name, value)
        # The data of the runs have a line of their own.
        keys = [key for key in {**value, **then} if (name, key) != ("scope", "data_fingerprint")]
        whose = "of the study" if name == "scope" else "that the claim demands"
        found += [
            Deviation(f"the {key} {whose} is not the frozen one, {then.get(key)!r}")
            for key in keys
            if value.get(key) != then.get(key)
        ]
    return found


def _lists(claim_scope: Mapping[str, Sequence[str | int]] | None) -> dict[str, list[str | int]]:
    return {field: list(allowed) for field, allowed in (claim_scope or {}).items()}


def _seeds(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    frozen, now = list(was["seeds"]), list(plan.seeds)
    if now[: len(frozen)] != frozen:
        return [Deviation(f"the seeds do not begin with the frozen ones, {_short(frozen)}")]
    after = max(frozen) + 1
    added = now[len(frozen) :]
    if added != list(range(after, after + len(added))):
        return [Deviation(f"the added seeds, {_short(added)}, are not the next ones after the frozen: {after}, ...")]
    return []


def _comparisons(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    """Return whether the comparisons that decide are those frozen: gates in their order, variants all still there.

    A gate that was added can only make the argument harder; its own comparison is exploratory, as its arm is new.
    """
    frozen = [tuple(comparison) for comparison in was["comparisons"]]
    now = planned_comparisons(plan)
    gates_then, gates_now = ([c for c in each if c[0] == "gate"] for each in (frozen, now))
    if [c for c in gates_now if c in gates_then] != gates_then or gates_now[:1] != gates_then[:1]:
        return [Deviation("the gated comparisons are not the frozen ones")]
    lost = [
        f"{treatment} − {control}"
        for _, treatment, control in frozen
        if not any({treatment, control} == set(c[1:]) for c in now)
    ]
    return [Deviation(f"frozen comparisons are gone: {', '.join(lost)}")] if lost else []


def _arms(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    found = []
    before = {arm["name"]: arm for arm in was["arms"]}
    ids = {(run["arm"], run["seed"]): run["run_id"] for run in was["runs"]}
    current = {(arm, seed): run_id for run_id, arm, seed in plan.runs.itertuples(index=False)}
    keys: dict[str, list[tuple[str, int]]] = {}
    for key in ids:
        keys.setdefault(key[0], []).append(key)
    for arm in plan.arms:
        old, own = before.pop(arm.name, None), keys.get(arm.name, [])
        if old is None:
            found.append(Deviation(f"arm {arm.name} was added after the freeze", frozenset([arm.name])))
        elif (old["role"], old["of"]) != (arm.role, arm.of):
            found.append(Deviation(f"arm {arm.name} has another part in the argument than was frozen"))
        elif any(key not in current for key in own):
            found.append(Deviation(f"frozen runs of arm {arm.name} are no longer planned"))
        elif any(ids[key] != current[key] for key in own):
            found.append(Deviation(f"the configuration of arm {arm.name} was changed", frozenset([arm.name])))
    found += [Deviation(f"arm {name} was frozen and is gone") for name in before]
    return sorted(found, key=lambda deviation: deviation.arms is not None)


def _short(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds[:8])) + (", ..." if len(seeds) > 8 else "")
