"""What a sweep's report says in addition to the verdict: which arms are best, and what effect each factor has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from aimlib.errors import UsageError, counted
from analysis.figures.measured import Measure, measure_of, measured_runs
from analysis.findings.study import Findings
from analysis.report.breadth import many_arms
from analysis.statistics.effects import alias_words
from analysis.statistics.ranking import ranking
from analysis.wording import number_format


@dataclass(frozen=True)
class Sweep:
    """The ranking and effects in a study, by the measure that may be shown.

    Attributes
    ----------
    measure : test accuracy once the pairs for the verdict are settled; validation accuracy before that.
    ranking : frame from `statistics.ranking` with `role`; empty unless the study has many arms.
    effects : frame from `Results.effects`; empty if the study has no factors or its report attributes a gap to them.
    alpha : joint error rate of all intervals in a frame.
    """

    measure: Measure
    ranking: pd.DataFrame
    effects: pd.DataFrame
    alpha: float

    @property
    def main(self) -> pd.DataFrame:
        """Main effects with an interval or at least a mean, the most significant first."""
        return _ordered(self.effects, "main")

    @property
    def interactions(self) -> pd.DataFrame:
        """Two-way interactions, the most significant first."""
        return _ordered(self.effects, "interaction")


def sweep(findings: Findings) -> Sweep:
    """Return the ranking and effects in a study."""
    measure = _measure(findings)
    return Sweep(measure, _ranking(findings, measure), _effects(findings, measure), findings.alpha)


def _measure(findings: Findings) -> Measure:
    """Return the measure that may be shown: the study's own, or validation accuracy before the verdict is due."""
    found, own = measure_of(findings.results), findings.measure
    if own.is_accuracy or found.blinded:
        return found
    short = f"{own.words} at the selected epoch"
    return Measure(own.column, own.axis(), short, own.unit, own.scale, own.lower_is_better)


def _ranking(findings: Findings, measure: Measure) -> pd.DataFrame:
    runs = measured_runs(findings.results.runs, measure)
    if not many_arms(findings):
        runs = runs[:0]
    table = runs.pivot(index="seed", columns="arm", values="measured")
    arms = [arm for arm in findings.results.plan.arms if arm.name in table.columns]
    side = -1 if measure.lower_is_better else 1
    found = ranking(side * table[[arm.name for arm in arms]], findings.alpha)
    found = found.assign(mean=side * found["mean"])
    roles = {arm.name: arm.role for arm in arms}
    found.insert(2, "role", found["arm"].map(roles).astype("str"))
    return found.assign(value=measure.column).astype({"value": "str"})


def _effects(findings: Findings, measure: Measure) -> pd.DataFrame:
    """Return the effects of the factors; in a study with few arms, the attribution to switches replaces them."""
    if findings.attributions and not many_arms(findings):
        return pd.DataFrame({"kind": []})
    try:
        own = not findings.measure.is_accuracy and not measure.blinded
        return findings.results.effects(measure.column if own else None, alpha=findings.alpha)
    except UsageError:  # the study has no factors
        return pd.DataFrame({"kind": []})


def _ordered(effects: pd.DataFrame, kind: str) -> pd.DataFrame:
    found = effects[effects["kind"] == kind]
    if found.empty:
        return found
    found = found[found["n"] > 0]
    order = found.assign(size=-found["effect"].abs()).sort_values(["p", "size"], kind="stable", na_position="last")
    return found.loc[order.index].reset_index(drop=True)


def answers(found: Sweep) -> Iterator[tuple[str, str]]:
    """Yield (section, sentence) pairs for the top of a report: what the ranking and the effects show."""
    if len(found.ranking) > 1:
        yield "ranking", _best(found)
    if len(found.main):
        yield "factors", _strongest(found)
    if found.measure.blinded and (len(found.ranking) > 1 or len(found.main)):
        yield (
            "ranking" if len(found.ranking) > 1 else "factors",
            "Both use the validation accuracy, because the pairs for the verdict are not settled yet."
            if len(found.ranking) > 1 and len(found.main)
            else "This is the validation accuracy, because the pairs for the verdict are not settled yet.",
        )


def _best(found: Sweep) -> str:
    first = found.ranking.iloc[0]
    tied = int(found.ranking["tied"].sum()) - 1
    rest = (
        "the paired differences separate it from all other arms"
        if not tied
        else f"the paired differences do not separate it from {counted(tied, 'further arm')}"
    )
    best, side = (found.measure.best, "downwards" if found.measure.lower_is_better else "upwards")
    return (
        f"Of {counted(len(found.ranking), 'arm')}, {first['arm']} has the {best} mean {found.measure.short} "
        f"({_value(first['mean'], found.measure)}, {counted(int(first['n']), 'run')}); {rest}. "
        f"As the {best} of many means, it is biased {side}."
    )


def _value(mean: float, measure: Measure) -> str:
    return number_format.decimal(mean) + (f" {measure.unit}" if measure.unit else "")


def _strongest(found: Sweep) -> str:
    main = found.main
    clear = int(((main["lower"] > 0) | (main["upper"] < 0)).sum())
    row = main.iloc[0]
    unit = f" {found.measure.difference}" if found.measure.difference else ""
    interval = (
        f" (interval {number_format.interval(row['lower'], row['upper'])}{unit}, {counted(int(row['n']), 'seed')})"
        if row["n"] > 1
        else f" ({counted(int(row['n']), 'seed')}, so no interval)"
    )
    return (
        f"{clear} of {counted(len(main), 'main effect')} of the factors {'has' if clear == 1 else 'have'} an interval "
        f"that excludes 0. The clearest effect is that of {row['factor']}{_alias(row)}: {row['level']} instead of "
        f"{row['reference']} changes the {found.measure.short} by "
        f"{number_format.points(row['effect'])}{unit}{interval}."
    )


def _alias(row: pd.Series) -> str:
    """Return a clause on the effects from which the design cannot distinguish a row's effect; empty if none."""
    return f", which this design cannot distinguish from {alias_words(row['aliased'])}" if row["aliased"] else ""
