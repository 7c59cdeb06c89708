"""Power analysis of a study: whether the study can reach a verdict, with how many seeds, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import analysis
from ablations.estimation import design, looks_power
from ablations.estimation.estimate import Cost
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from aimlib.errors import UsageError, counted
from analysis.claims import in_scope, read_claim
from analysis.looks import FEWEST_PAIRS, Looks
from analysis.plan import Scope
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.half_width import level_at
from analysis.statistics.interval import IDENTICAL
from analysis.statistics.simulation import normal_studies, pairs_for_power, simulate
from analysis.statistics.spread import Spread
from analysis.statistics.verdict import NEVER_REPORTED, STOPPING

SEED_SDS = (0.5, 1.0, 1.5, 2.5)
"""Standard deviations of an arm's accuracy between seeds, in pp, that are used if none has been observed."""
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
_COLUMNS = [
    *("seed_sd", "effect", "pairs_80", "verdict", "finally", "shown", "pairs", "device_hours", "price"),
    *("finally_averaged", "pairs_averaged"),
]


@dataclass(frozen=True)
class PowerAnalysis:
    """Result of a study's power analysis.

    Attributes
    ----------
    looks : looks at which the verdict is determined.
    table : one row per combination of seed_sd and effect (pp). `pairs_80` is the number of pairs for 80 % power at one
        look (at least 5, the minimum for a verdict; -1 means more than 10,000); `verdict` is the chance of a stopping
        verdict with the planned seeds. `finally` is the chance of such a verdict by the last look if seeds are added;
        `shown` is the chance that the interval is then above 0. `pairs` is the mean number of pairs until the study
        stops; `device_hours` (in `unit`) and `price` are also means. The columns `finally_averaged` and
        `pairs_averaged` are averages over the spreads compatible with the given results, weighted by their probability,
        instead of values at the upper limit; NaN without results. Unknown hours and prices are NaN.
    curves : the columns seed_sd, effect, pairs, and the power of one look.
    seen : SD of the differences used for planning, in pp: the upper limit of the one-sided 80 % interval in the given
        results, or None without results.
    warnings : reasons why the study may not reach a verdict or could not be timed.
    unit : unit of device_hours: ``CPU-hours``, or ``GPU-hours`` of the most common kind of GPU.
    effects : half-widths (pp) of the intervals for the effects of the factors, by kind, seeds and seed_sd; None if the
        study has no factors.
    design : which effects the arms can and cannot distinguish, as sentences.
    measure : measure of the verdict; if its unit is not pp, all numbers are in the unit of its differences.
    spread : SD of the differences in the given results with its degrees of freedom, or the given spread; None if
        neither was given.
    by_look : the cumulative chances at each look; see `looks_power.by_look`.
    prices : what looks at any time cost compared with planned looks; see `looks_power.price_of_any`.
    half_widths : numbers of pairs for the requested half-width (see `looks_power.half_widths`); None if no half-width
        was requested.
    most : number of pairs at which the study ends.
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
    spread: Spread | None = None
    by_look: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=looks_power.BY_LOOK))
    prices: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=looks_power.PRICES))
    half_widths: pd.DataFrame | None = None
    most: int = 0


def analyse(
    plan: Plan,
    costs: Sequence[Cost] = (),
    untimed: Sequence[str] = (),
    *,
    results: str | Path | None = None,
    price: float | None = None,
    seed_sd: float | None = None,
    half_width: float | None = None,
) -> PowerAnalysis:
    """Simulate the looks and the verdict table of a study; the other arguments are those of `ablations.plan`.

    Parameters
    ----------
    costs : costs on every kind of device that was timed, the most common kind first.
    untimed : reasons why something was not timed.

    Raises
    ------
    UsageError: the results have no primary comparison with two pairs.
    """
    spec = plan.study.spec
    looks, most = spec.reading, spec.most_pairs
    pilot, about_pilot = _pilot(results) if results is not None else (None, ())
    seen = pilot.cautious if pilot is not None else None
    gain = _gain(plan)
    against = NEVER_REPORTED if spec.claim is None and planning.subject(plan) is not None else gain
    delta = spec.smallest_effect
    sds = _seed_sds(seen, seed_sd, 1.0 if spec.primary_measure.difference == "pp" else delta)
    spreads = [(sd, pilot if pilot is not None else Spread(float(np.sqrt(2) * sd))) for sd in sds]
    effects = (0.0, delta, *((gain / 2, gain) if gain is not None else (2 * delta, 5 * delta)))
    hours = costs[0].hours / len(spec.seeds) if costs else float("nan")
    table = _table((looks, most), sds, pilot, effects, (delta, against), len(spec.seeds), hours, price)
    warnings = (
        *about_pilot,
        *_warnings(table, looks, plan, against),
        *_kinds(costs),
        *(f"not timed: {reason}" for reason in untimed),
    )
    unit = costs[0].unit if costs else "GPU-hours"
    layout = design.layout(plan)
    numbers = tuple(sorted({len(spec.seeds), *((FEWEST_PAIRS, most) if looks.anytime else looks.numbers)}))
    widths = None if layout is None else design.half_widths(layout, tuple(sds), numbers)
    told = tuple(design.sentences(plan))
    compared = (looks, most, spreads, effects, delta, against)
    return PowerAnalysis(
        looks,
        table,
        _curves(looks, most, sds, effects),
        seen,
        warnings,
        unit,
        widths,
        told,
        spec.primary_measure,
        pilot if pilot is not None else spreads[0][1] if seed_sd is not None else None,
        looks_power.by_look(*compared),
        looks_power.price_of_any(*compared),
        None if half_width is None else looks_power.half_widths(half_width, looks, spreads),
        most,
    )


def _seed_sds(seen: float | None, given: float | None, unit: float) -> tuple[float, ...]:
    """Return the standard deviations between seeds of an arm to use for planning: observed, given or plausible ones."""
    if seen is not None:
        return (seen / float(np.sqrt(2)),)
    return (given,) if given is not None else tuple(unit * sd for sd in SEED_SDS)


def _kinds(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield a note on the device to which the hours refer, if there are several kinds."""
    if len(costs) > 1:
        first, *others = [cost.kind for cost in costs]
        yield f"hours are for {first}; `ablate check` also shows the hours for {', '.join(others)}"


def _pilot(results: str | Path) -> tuple[Spread, tuple[str, ...]]:
    """Return the spread of the differences in a study's primary comparison, and reasons to doubt this spread."""
    found = analysis.examine(analysis.load(Path(results)))
    primary = found.primary
    if primary is None or not primary.interval.sd > 0:
        raise UsageError(
            f"{results}: contains no spread for planning; at least two pairs of the treatment and the baseline are "
            "needed"
        )
    if primary.interval.sd < IDENTICAL:
        raise UsageError(
            f"{results}: contains no spread for planning, because all its differences are equal; check that study, "
            "or give --seed-sd"
        )
    doubts = [primary.verdict.text] if primary.verdict.kind == "withheld" else []
    doubts += [found.failed_runs] if found.failed_runs else []
    return Spread(primary.interval.sd, primary.interval.n - 1), tuple(
        f"the spread comes from doubtful results: {doubt}" for doubt in doubts
    )


def _gain(plan: Plan) -> float | None:
    """Return the reported gain with which a study will be compared; None if the study is outside the claim's scope."""
    spec = plan.study.spec
    if spec.claim is None:
        return None
    claim = read_claim(spec.claim)
    gains = list(claim.gains_pp.values())
    scope = Scope(**planning.document(plan)["scope"])
    return None if in_scope(claim, scope) or min(gains) <= 2 * spec.delta_pp else gains[0]


def _table(
    read: tuple[Looks, int],
    sds: tuple[float, ...],
    pilot: Spread | None,
    effects: tuple[float, ...],
    against: tuple[float, float | None],
    seeds: int,
    hours: float,
    price: float | None,
) -> pd.DataFrame:
    rng, rows, (looks, most) = np.random.default_rng(_SEED), [], read
    for sd in sds:
        for effect in effects:
            spread = np.sqrt(2) * sd
            if looks.anytime:
                drawn = rng.normal(effect, spread, size=(_STUDIES, most))
            else:
                drawn = normal_studies(rng, _STUDIES, looks, effect, spread)
            ended = simulate(drawn, looks, *against)
            needed = _pairs_80(effect, float(spread), looks)
            pairs = float(ended.pairs.mean())
            cost = pairs * hours * (price if price is not None else float("nan"))
            share = (
                float((np.isin(ended.kinds, list(STOPPING)) & (ended.pairs <= seeds)).mean()),
                ended.rate(*STOPPING),
                ended.rate(*_SHOWN),
            )
            averaged = _averaged(read, pilot, effect, against)
            rows.append((sd, effect, needed, *share, pairs, pairs * hours, cost, *averaged))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _pairs_80(effect: float, sd: float, looks: Looks) -> int:
    """Return the number of pairs for 80 % power at one look, but not fewer pairs than a verdict needs.

    -1 means more than 10,000, or no effect.
    """
    level = level_at(looks)
    found = (
        pairs_for_power(effect, sd, lambda pairs: float(level(np.array([pairs], dtype=float))[0])) if effect else None
    )
    return -1 if found is None else max(found, FEWEST_PAIRS)


def _averaged(
    read: tuple[Looks, int], pilot: Spread | None, effect: float, against: tuple[float, float | None]
) -> tuple[float, float]:
    """Return the chance of a stopping verdict and the mean number of pairs.

    Both are averaged over the spreads that are compatible with a pilot study.
    """
    if pilot is None:
        return float("nan"), float("nan")
    looks, most = read
    ended = simulate(looks_power.drawn(np.random.default_rng(_SEED), pilot, effect, most), looks, *against)
    return ended.rate(*STOPPING), float(ended.pairs.mean())


def _curves(looks: Looks, most: int, sds: tuple[float, ...], effects: tuple[float, ...]) -> pd.DataFrame:
    from analysis.figures import power  # noqa: PLC0415 -- matplotlib

    level, most = looks.level_to_plan_with(most), max(40, most + 5)
    parts = [power.summarise(np.sqrt(2) * sd, [e for e in effects if e], level, most).assign(seed_sd=sd) for sd in sds]
    return pd.concat(parts, ignore_index=True)[["seed_sd", "effect", "pairs", "power"]]


def _warnings(table: pd.DataFrame, looks: Looks, plan: Plan, gain: float | None) -> Iterator[str]:
    seeds = len(plan.study.spec.seeds)
    roles = {arm.role for arm in plan.arms}
    for role in ("baseline", "aim"):
        if role not in roles:
            name = "treatment" if role == "aim" else role
            yield f"no arm has the role {name}, so the study cannot reach a verdict"
    if seeds < looks.numbers[0]:
        yield f"{counted(seeds, 'seed')} cannot produce a verdict; the first look is after {looks.numbers[0]} pairs"
    elif seeds not in looks.numbers:
        reached = looks.reached(seeds)[-1]
        yield f"{seeds} seeds end between two looks; the verdict uses the first {reached} and ignores the others"
    if gain is None:
        yield (
            "outside the scope of a claim, a gain above δ has no stopping verdict, because there is no reported gain r"
        )
    delta, measure = plan.study.spec.smallest_effect, plan.study.spec.primary_measure
    for effect in table["effect"].unique().tolist():
        unlikely = table[(table["effect"] == effect) & (table["finally"] < _LIKELY)]
        if len(unlikely) and (gain is not None or effect <= delta):
            spreads = ", ".join(f"{sd:.2g}" for sd in unlikely["seed_sd"])
            yield (
                f"true gain {measure.in_unit(f'{effect:.3g}')}: with a seed SD of {measure.in_unit(spreads)}, at most "
                f"{100 * unlikely['finally'].max():.0f} % of studies reach a stopping verdict by the last look, after "
                f"{plan.study.spec.most_pairs} pairs"
            )
