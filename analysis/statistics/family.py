"""All comparisons in a study: the gates in order, and further arms with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aimlib.errors import renamed, warn_renamed
from analysis.plan import Plan
from analysis.procedures import FIRST
from analysis.statistics.comparison import Comparison, compare_arms, ordered_pairs, sequential_p
from analysis.statistics.gates import Gate, gates
from analysis.statistics.multiplicity import holm, holm_levels
from analysis.statistics.outcomes import outcomes
from analysis.statistics.planned import FamilyName, planned_pairs, primary_arms
from analysis.statistics.sensitivity import readings
from analysis.statistics.withholding import reasons
from analysis.wording import number_format


@dataclass(frozen=True)
class Family:
    """The comparisons in a study, beginning with the primary comparison (treatment − baseline) if there is one."""

    comparisons: tuple[Comparison, ...]
    gates: tuple[Gate, ...]
    baseline: str | None
    treatment: str | None

    @property
    def aim(self) -> str | None:
        """The treatment, by its earlier name."""
        warn_renamed("family.aim", "family.treatment")
        return self.treatment

    @property
    def primary(self) -> Comparison | None:
        """Treatment − baseline; None if the study lacks either."""
        if self.baseline is None or self.treatment is None:
            return None
        return self.comparisons[0]


class _RunsByArm:
    """Finds the rows of any two arms, in order, with an index, because a study may have hundreds of arms."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows
        self._places = rows.groupby("arm", sort=False).indices

    def of(self, pair: tuple[str, str]) -> pd.DataFrame:
        places = [self._places[arm] for arm in dict.fromkeys(pair) if arm in self._places]
        return self._rows.take(np.sort(np.concatenate([*places, np.zeros(0, dtype=np.intp)])))

    def seeds(self, pair: tuple[str, str]) -> list[int]:
        """Return the seeds of a pair of arms in the plan's order, which is the order in which looks count pairs."""
        return list(dict.fromkeys(self.of(pair)["seed"]))


class _Test(NamedTuple):
    """A planned comparison: (treatment, control), with its level and adjusted p-value at every look."""

    pair: tuple[str, str]
    family: FamilyName
    levels: tuple[float, ...]
    p_holm: Mapping[int, float] | None = None


@renamed(trials="runs")
def compare_all(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    plan: Plan,
    rng: np.random.Generator,
    *,
    reported: dict[str, float] | None = None,
    otherwise: float | None = None,
    further: bool = True,
    images: pd.DataFrame | None = None,
    contradicted: Mapping[str, str] | None = None,
) -> Family:
    """Return every comparison that the roles in the plan require.

    The gates compare the first treatment arm with its baseline and its controls; see `planned.CONTROLS`. The variants,
    for which Holm's correction is made, compare every further arm with the arm named in its `of`, or with the baseline
    if there is none. If the further arm is a control of a treatment, the difference is treatment minus control.

    Parameters
    ----------
    reported : reported gains in pp by source; given only within the claim's scope. Only the verdict on treatment −
        baseline uses one of them, the first.
    otherwise : what replaces the reported gain if none applies; see `compare_arms`.
    further : whether to also compare the arms outside the gates. If not, a study with many arms takes a fraction of the
        time; the gates are the same.
    images : test images; see `outcomes`.
    contradicted : by arm, how its stored rows contradict themselves or others; verdicts on these arms are withheld.
    """
    baseline, treatment = primary_arms(plan)
    judged = outcomes(runs, images)
    gated, variants = planned_pairs(plan)
    if not further:
        variants = []
        runs = runs[runs["arm"].isin({arm for pair in gated for arm in pair})]
        epochs = epochs[epochs["run_id"].isin(runs["run_id"])]
    looks = plan.looks
    by_arm = _RunsByArm(readings(runs, epochs, plan.measure, plan.procedure).assign(outcome=judged["outcome"]))
    planned = _RunsByArm(plan.runs)
    own = {pair: by_arm.of(pair) for pair in (*gated, *variants)}
    pairs = {pair: ordered_pairs(rows, *pair, planned.seeds(pair), plan.measure) for pair, rows in own.items()}
    tests = [_Test(pair, "gate", looks.levels) for pair in gated]
    tests += _variant_tests([pairs[pair] for pair in variants], variants, plan)
    comparisons = tuple(
        compare_arms(
            own[test.pair],
            pairs[test.pair],
            *test.pair,
            rng,
            looks=looks,
            levels=test.levels,
            delta=plan.delta_pp,
            reported=reported if test.pair == (treatment, baseline) else None,
            otherwise=otherwise,
            measure=plan.measure,
            p_holm=test.p_holm,
            family=test.family,
            withhold=reasons(
                judged,
                baseline,
                test.pair,
                list(pairs[test.pair]["seed"]),
                plan.procedure,
                in_scope=bool(reported),
                contradicted=contradicted,
            ),
            procedure=plan.procedure,
        )
        for test in tests
    )
    return Family(comparisons, gates(comparisons, plan, baseline, treatment), baseline, treatment)


def _variant_tests(pairs: list[pd.DataFrame], variants: list[tuple[str, str]], plan: Plan) -> list[_Test]:
    """Return the variants' tests, with Holm's correction.

    Procedure 2 makes the correction at every look, with only the pairs of that look, so later pairs do not change an
    earlier look. Sequential p-values only decrease, and a hypothesis that Holm's procedure has rejected stays rejected.
    Procedure 1 makes the correction once, with all pairs.
    """
    looks = plan.looks
    whole = max((len(each) for each in pairs), default=0)
    numbers = looks.numbers if plan.procedure != FIRST else ()
    if looks.anytime:  # the pairs for later looks do not exist yet
        numbers = looks.reached(whole)
    adjusted: list[dict[int, float]] = [{} for _ in variants]
    alphas: list[dict[int, float]] = [{} for _ in variants]
    for number in dict.fromkeys((*numbers, whole)):
        p_values = [sequential_p(each[:number], looks) for each in pairs]
        at = holm_levels(p_values, looks.alpha), holm(p_values)
        for i in range(len(variants)):
            alphas[i][number], adjusted[i][number] = float(at[0][i]), float(at[1][i])
    level = looks.levels_of([alpha for each in alphas for alpha in each.values()])
    return [
        _Test(
            pair,
            "variant",
            tuple(level[alphas[i].get(number, alphas[i][whole])][place] for place, number in enumerate(looks.numbers)),
            adjusted[i],
        )
        for i, pair in enumerate(variants)
    ]


def comparison_table(comparisons: tuple[Comparison, ...]) -> pd.DataFrame:
    """Return one row per comparison with all its numbers; differences are in pp."""
    frame = pd.DataFrame([_row(c) for c in comparisons], columns=list(_TYPES))
    return frame.astype(_TYPES)


_TYPES: dict[str, Any] = (
    dict.fromkeys(("comparison", "treatment", "control", "family"), "str")
    | dict.fromkeys(("pairs_planned", "n"), "int64")
    | dict.fromkeys(("mean", "sd", "lower", "upper", "alpha", "prediction_lower", "prediction_upper"), "float64")
    | dict.fromkeys(("p", "p_looks", "p_holm", "p_positive", "p_negligible"), "float64")
    | {"verdict": "str", "stops": "bool", "seeds_needed": "str", "survivors_n": "int64"}
    | dict.fromkeys(("survivors_mean", "survivors_lower", "survivors_upper"), "float64")
    | {"survivors_verdict": "str", "unstable": "bool", "compatible_with_reported": "boolean"}
)


def _row(c: Comparison) -> dict[str, Any]:
    found, low_high = c.interval, c.interval.prediction
    gain = next(iter(c.reported.values()), None)
    return {
        "comparison": c.name,
        "treatment": c.treatment,
        "control": c.control,
        "family": c.family,
        "pairs_planned": len(c.pairs),
        **{name: getattr(found, name) for name in ("n", "mean", "sd", "lower", "upper", "alpha")},
        "prediction_lower": low_high[0],
        "prediction_upper": low_high[1],
        "p": c.p,
        "p_looks": c.p_looks,
        "p_holm": c.p_holm,
        "p_positive": found.probability_above(0.0),
        "p_negligible": found.probability_above(-c.delta) - found.probability_above(c.delta),
        "verdict": c.verdict.text,
        "stops": c.verdict.stops,
        "seeds_needed": c.needed.text if c.needed else number_format.NOTHING,
        "survivors_n": c.survivors.n,
        "survivors_mean": c.survivors.mean,
        "survivors_lower": c.survivors.lower,
        "survivors_upper": c.survivors.upper,
        "survivors_verdict": c.survivors_verdict.text,
        "unstable": c.unstable,
        "compatible_with_reported": None
        if gain is None or found.n < 2
        else bool(c.further_pair[0] <= gain <= c.further_pair[1]),
    }
