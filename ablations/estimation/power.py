"""Power analysis of a study: whether it can reach a verdict, with how many seeds, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import analysis
from ablations.estimation import design
from ablations.estimation.estimate import Cost
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from aimlib.errors import UsageError, counted
from analysis.claims import in_scope, read_claim
from analysis.looks import Looks
from analysis.plan import Scope
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.simulation import normal_studies, pairs_for_power, simulate
from analysis.statistics.verdict import NEVER_REPORTED, STOPPING

SEED_SDS = (0.5, 1.0, 1.5, 2.5)
"""Standard deviations of an arm's accuracy between seeds, in pp, used if none has been observed."""
_STUDIES = 4000
_SEED = 20210301
_LIKELY = 0.5
_SHOWN = (
    "trivial gain",
    "holds",
    "real, smaller than reported",
    "material gain",
    "positive, materiality open",
    "positive, size open",
)
_COLUMNS = ["seed_sd", "effect", "pairs_80", "verdict", "finally", "shown", "pairs", "device_hours", "price"]


@dataclass(frozen=True)
class PowerAnalysis:
    """Result of the power analysis of a study.

    Attributes
    ----------
    looks : looks at which the verdict is read.
    table : one row per combination of seed_sd and effect (pp), with the columns pairs_80 (pairs for 80 % power at one
        look; -1: more than 10,000), verdict (chance of a stopping verdict with the planned seeds), finally (the same
        by the last look, if seeds are added), shown (chance that the interval is then above 0), pairs (mean number
        until the study stops), device_hours (mean, in `unit`) and price (mean). Unknown hours and prices are NaN.
    curves : seed_sd, effect, pairs, and the power of one look.
    seen : SD of the differences used for planning, in pp: the upper limit of the one-sided 80 % interval in the given
        results, or None without results.
    warnings : reasons why the study may not reach a verdict or could not be timed.
    unit : unit of device_hours: ``CPU-hours``, or ``GPU-hours`` of the most common kind of GPU.
    effects : half-widths (pp) of the intervals of the effects of factors, by kind, seeds and seed_sd; None if the study
        has no factors.
    design : which effects its arms can and cannot tell apart, in sentences.
    measure : what the verdict is about; where it is not in pp, all numbers are in the unit of its differences.
    """

    looks: Looks
    table: pd.DataFrame
    curves: pd.DataFrame
    seen: float | None
    warnings: tuple[str, ...]
    unit: str = "GPU-hours"
    effects: pd.DataFrame | None = None
    design: tuple[str, ...] = ()
    measure: PrimaryMeasure = ACCURACY


def analyse(
    plan: Plan,
    costs: Sequence[Cost] = (),
    untimed: Sequence[str] = (),
    *,
    results: str | Path | None = None,
    price: float | None = None,
) -> PowerAnalysis:
    """Simulate the looks and the verdict table of a study; the arguments are those of `ablations.plan`.

    Parameters
    ----------
    costs : costs on every timed kind of device, the most common kind first.
    untimed : reasons why something was not timed.

    Raises
    ------
    UsageError: the results have no primary comparison with two pairs.
    """
    spec = plan.study.spec
    looks = Looks(spec.looks, planning.ALPHA, spec.further_block)
    seen = _seen(results) if results is not None else None
    gain = _gain(plan)
    against = NEVER_REPORTED if spec.claim is None and planning.subject(plan) is not None else gain
    sds: tuple[float, ...] = (seen / np.sqrt(2),) if seen is not None else SEED_SDS
    delta = spec.smallest_effect
    if spec.primary_measure.difference != "pp" and seen is None:
        sds = tuple(delta * sd for sd in SEED_SDS)
    effects = (0.0, delta, *((gain / 2, gain) if gain is not None else (2 * delta, 5 * delta)))
    hours = costs[0].hours / len(spec.seeds) if costs else float("nan")
    table = _table(looks, sds, effects, delta, against, len(spec.seeds), hours, price)
    warnings = (
        *_warnings(table, looks, plan, against),
        *_kinds(costs),
        *(f"not timed: {reason}" for reason in untimed),
    )
    unit = costs[0].unit if costs else "GPU-hours"
    layout = design.layout(plan)
    numbers = tuple(sorted({len(spec.seeds), *looks.numbers}))
    widths = None if layout is None else design.half_widths(layout, tuple(sds), numbers)
    told = tuple(design.sentences(plan))
    return PowerAnalysis(
        looks, table, _curves(looks, sds, effects), seen, warnings, unit, widths, told, spec.primary_measure
    )


def _kinds(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield a note on the device that hours refer to, if there are several kinds."""
    if len(costs) > 1:
        first, *others = [cost.kind for cost in costs]
        yield f"hours are for {first}; `ablate check` also shows those for {', '.join(others)}"


def _seen(results: str | Path) -> float:
    primary = analysis.examine(analysis.load(Path(results))).primary
    if primary is None or not primary.interval.sd > 0:
        raise UsageError(
            f"{results}: has no spread to plan with; at least two pairs of the treatment and the baseline are needed"
        )
    return primary.interval.cautious_sd


def _gain(plan: Plan) -> float | None:
    """Return the reported gain that the study will be compared with, or None outside the scope of its claim."""
    spec = plan.study.spec
    if spec.claim is None:
        return None
    claim = read_claim(spec.claim)
    gains = list(claim.gains_pp.values())
    scope = Scope(**planning.document(plan)["scope"])
    return None if in_scope(claim, scope) or min(gains) <= 2 * spec.delta_pp else gains[0]


def _table(
    looks: Looks,
    sds: tuple[float, ...],
    effects: tuple[float, ...],
    delta: float,
    gain: float | None,
    seeds: int,
    hours: float,
    price: float | None,
) -> pd.DataFrame:
    rng, rows = np.random.default_rng(_SEED), []
    for sd in sds:
        for effect in effects:
            spread = np.sqrt(2) * sd
            drawn = normal_studies(rng, _STUDIES, looks, effect, spread)
            ended = simulate(drawn, looks, delta, gain)
            now = float((np.isin(ended.kinds, list(STOPPING)) & (ended.pairs <= seeds)).mean())
            needed = pairs_for_power(effect, spread, looks.levels[0]) if effect else None
            pairs = float(ended.pairs.mean())
            cost = pairs * hours * (price if price is not None else float("nan"))
            share = now, ended.rate(*STOPPING), ended.rate(*_SHOWN)
            rows.append((sd, effect, -1 if needed is None else needed, *share, pairs, pairs * hours, cost))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _curves(looks: Looks, sds: tuple[float, ...], effects: tuple[float, ...]) -> pd.DataFrame:
    from analysis.figures import power  # noqa: PLC0415 -- matplotlib

    most = max(40, looks.numbers[-1] + 5)
    parts = [
        power.summarise(np.sqrt(2) * sd, [e for e in effects if e], looks.levels[0], most).assign(seed_sd=sd)
        for sd in sds
    ]
    return pd.concat(parts, ignore_index=True)[["seed_sd", "effect", "pairs", "power"]]


def _warnings(table: pd.DataFrame, looks: Looks, plan: Plan, gain: float | None) -> Iterator[str]:
    seeds = len(plan.study.spec.seeds)
    roles = {arm.role for arm in plan.arms}
    for role in ("baseline", "aim"):
        if role not in roles:
            name = "treatment" if role == "aim" else role
            yield f"no arm has the role {name}, so the study cannot reach a verdict"
    if seeds < looks.numbers[0]:
        yield f"{counted(seeds, 'seed')} cannot give a verdict; the first look is after {looks.numbers[0]} pairs"
    elif seeds not in looks.numbers:
        reached = looks.reached(seeds)[-1]
        yield f"{seeds} seeds end between two looks; the verdict uses the first {reached} and ignores the others"
    if gain is None:
        yield "outside the scope of a claim, a gain above δ has no stopping verdict, as there is no reported gain r"
    delta, measure = plan.study.spec.smallest_effect, plan.study.spec.primary_measure
    for effect in table["effect"].unique().tolist():
        unlikely = table[(table["effect"] == effect) & (table["finally"] < _LIKELY)]
        if len(unlikely) and (gain is not None or effect <= delta):
            spreads = ", ".join(f"{sd:.2g}" for sd in unlikely["seed_sd"])
            yield (
                f"true gain {measure.in_unit(f'{effect:.3g}')}: with a seed SD of {measure.in_unit(spreads)}, at most "
                f"{100 * unlikely['finally'].max():.0f} % of studies reach a stopping verdict by the last look, after "
                f"{looks.numbers[-1]} pairs"
            )
