"""The frozen analysis plan: what decides, written down and hashed before the first run, and what has changed since.

`ablate run` writes `analysis_plan.json` once, by exclusive creation, before any run of the study begins; nothing
replaces it. The report compares it with the study as it is now: where they agree the verdict is confirmatory, where
they differ, or where runs are older than the plan, it is exploratory and says why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimlib.errors import StoreError
from aimlib.records import ANALYSIS_PLAN
from analysis import numerals
from analysis.plan import Plan, refuse_version

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


def content_of(document: Mapping[str, Any], gains_pp: Mapping[str, float], levels: tuple[float, ...]) -> dict[str, Any]:
    """Return what is frozen of a plan as it is stored in `study.json`.

    Parameters
    ----------
    gains_pp : gains that the claim reports, by source; empty without a claim.
    levels : level of the test at each look.
    """
    return {
        "name": document["name"],
        "claim": document["claim"],
        "reported_gains_pp": dict(gains_pp),
        "delta_pp": document["delta_pp"],
        "estimand": ESTIMAND,
        **{key: document[key] for key in ("alpha", "looks", "further_block")},
        "levels": list(levels),
        "gates": list(GATES),
        "variants": VARIANTS,
        "failures": FAILURES,
        "data_fingerprint": document["scope"]["data_fingerprint"],
        "arms": [{key: arm[key] for key in ("name", "role", "of")} for arm in document["arms"]],
        "seeds": document["seeds"],
        "runs": document["runs"],
        "package_version": document["package_version"],
    }


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a content, written as JSON with sorted keys and without spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read(directory: Path) -> Frozen | None:
    """Return the frozen plan of a study directory; None where there is none.

    StoreError where the file cannot be read, or does not have the hash that was written with it.
    """
    path = directory / ANALYSIS_PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable as JSON ({error}); restore it from a copy") from None
    try:
        refuse_version(document["schema_version"], path)
        found = Frozen(
            pd.Timestamp(document["frozen_at"]), int(document["runs_before"]), document["sha256"], document["content"]
        )
        intact = digest(found.content) == found.sha256
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: no frozen analysis plan ({error!r}); restore it from a copy") from None
    if not intact:
        raise StoreError(f"{path}: was changed after it was frozen: its content does not have its SHA-256; restore it")
    return found


def deviations(
    frozen: Frozen | None, plan: Plan, gains_pp: Mapping[str, float], trials: pd.DataFrame
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
    }
    found = [
        Deviation(f"{key} is {value!r} and was frozen as {was[key]!r}")
        for key, value in now.items()
        if value != was[key]
    ]
    # Clocks of nodes differ; what was settled by then was counted where the plan was written.
    early = max(int((trials["started_at"] < frozen.at - _SKEW).sum()), frozen.runs_before)
    if early:
        found.append(Deviation(f"{numerals.count(early, 'run')} came before the freeze"))
    if list(plan.seeds)[: len(was["seeds"])] != list(was["seeds"]):
        found.append(Deviation(f"the seeds do not begin with the frozen ones, {_short(was['seeds'])}"))
    return found + _arms(was, plan)


def _arms(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    found = []
    before = {arm["name"]: arm for arm in was["arms"]}
    ids = {(run["arm"], run["seed"]): run["run_id"] for run in was["runs"]}
    current = {(arm, seed): run_id for run_id, arm, seed in plan.runs.itertuples(index=False)}
    for arm in plan.arms:
        old = before.pop(arm.name, None)
        if old is None:
            found.append(Deviation(f"arm {arm.name} was added after the freeze", frozenset([arm.name])))
        elif (old["role"], old["of"]) != (arm.role, arm.of):
            found.append(Deviation(f"arm {arm.name} has another part in the argument than was frozen"))
        elif any(ids[key] != current.get(key, ids[key]) for key in ids if key[0] == arm.name):
            found.append(Deviation(f"the configuration of arm {arm.name} was changed", frozenset([arm.name])))
    found += [Deviation(f"arm {name} was frozen and is gone", frozenset([name])) for name in before]
    return sorted(found, key=lambda deviation: deviation.arms is not None)


def _short(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds[:8])) + (", ..." if len(seeds) > 8 else "")
