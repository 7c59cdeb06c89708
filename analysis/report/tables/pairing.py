"""The tables on what pairing saved and on variance by source."""

from __future__ import annotations

from collections.abc import Sequence

from aimlib.errors import counted
from analysis.findings.study import Findings
from analysis.report.tables import Table
from analysis.statistics.pairing_gain import Pairing
from analysis.statistics.variance_sources import WIDEST, SourceVariance, Variances, enough_seeds, source_name
from analysis.wording import number_format


def pairing(findings: Findings) -> Table | None:
    """Return what pairing saved in the primary comparison; None without such a comparison or with too few pairs."""
    found, primary = findings.pairing, findings.primary
    if found is None or primary is None:
        return None
    unit = findings.measure.difference
    squared = f", {unit}²" if unit else ""
    variance = tuple(f"{name}{squared}" for name in ("s² unpaired", "s² paired"))
    columns = ("Comparison", "n", *variance, "Saved", "r", "95 % interval of r", "Seeds, unpaired")
    row = (
        primary.name,
        str(found.n),
        number_format.significant(found.unpaired, 3),
        number_format.significant(found.paired, 3),
        f"{number_format.percent(found.saved, 0)} %",
        number_format.points(found.correlation),
        number_format.interval(found.lower, found.upper),
        _seeds(found),
    )
    note = (
        "s² unpaired: variance of a difference between two runs with different seeds, s_A² + s_B². s² paired: "
        "variance of the paired differences. Saved: share by which pairing reduces the variance. r: correlation "
        "between the arms over seeds, with Fisher’s interval. Seeds, unpaired: number of seeds per arm for a "
        f"{number_format.level(1 - found.level)} interval as short as that of the {found.n} pairs, if the variances "
        "are as estimated."
    )
    return Table("What pairing saved", columns, (row,), frozenset(columns[1:]), note)


def _seeds(found: Pairing) -> str:
    return number_format.NOTHING if found.unpaired_seeds is None else number_format.whole(found.unpaired_seeds)


def by_source(findings: Findings) -> Table | None:
    """Return the variance by source for the arms and their difference; None if the study does not measure it."""
    if not findings.variance_sources:
        return None
    unit = findings.measure.difference
    squared = f"s²{f', {unit}²' if unit else ''}"
    columns = ("Of", "Varied", "n", squared, "95 % interval", "Share, %", "Interval of the share")
    rows = tuple(row for each in findings.variance_sources for row in _rows(each))
    said = " ".join(sentence for each in findings.variance_sources for sentence in seeds_sentences(each))
    note = (
        "s²: variance over seeds with one source varied and the others fixed, with the χ² interval. All: variance "
        "with all sources varied together. Share: fraction of the variance with all sources varied, with the interval "
        "of Pitman and Morgan for two correlated series; the shares need not sum to 100 %. Remainder: the variance "
        "with all sources varied minus the sum over the sources, with a conservative interval that contains 0 if the "
        "sources may be additive. It includes sources that no series varies. All intervals assume normally "
        "distributed values. If the other sources are fixed, the variance depends on their fixed values. The seeds "
        f"determine a share if its interval covers at most {100 * WIDEST:.0f} of the percentage points from 0 to 100 "
        f"%, which is always the case with {enough_seeds()} seeds. {said}"
    )
    return Table("Variance by source", columns, rows, frozenset(columns[2:]), note.strip())


def _rows(found: Variances) -> list[tuple[str, ...]]:
    rows = [_row(found.of, each) for each in found.sources]
    rows.append((found.of, "all", str(found.n), *_variance(found.variance, found.lower, found.upper), "100", ""))
    rest = found.remainder, found.remainder_lower, found.remainder_upper
    if rest[0] == rest[0]:
        rows.append((found.of, "remainder", str(found.n), *_variance(*rest), "", ""))
    return rows


def _row(of: str, each: SourceVariance) -> tuple[str, ...]:
    ends = _ends(100 * each.share_lower, 100 * each.share_upper)
    variance = _variance(each.variance, each.lower, each.upper)
    return (of, source_name(each.source), str(each.n), *variance, number_format.percent(each.share, 0), ends)


def _variance(value: float, lower: float, upper: float) -> tuple[str, str]:
    return number_format.significant(value, 3), _ends(lower, upper)


def _ends(lower: float, upper: float) -> str:
    low, high = (number_format.significant(end, 3) for end in (lower, upper))
    return number_format.NOTHING if number_format.NOTHING in (low, high) else f"{low} to {high}"


def seeds_sentences(found: Variances) -> list[str]:
    """Return what the shares imply for the number of seeds: what more seeds for one source alone never reveal.

    No conclusion is drawn from a share that the seeds do not determine.
    """
    own = [each for each in found.sources if each.source in ("init", "split") and each.share == each.share]
    open_ = [each for each in own if each.variance and not each.determined]
    return [*_undetermined(found, open_), *(_seeds_of(found, each) for each in own if each not in open_)]


def _undetermined(found: Variances, shares: Sequence[SourceVariance]) -> list[str]:
    """Return a sentence on the shares that the seeds do not determine; empty if there are none."""
    if not shares:
        return []
    names = number_format.listing([source_name(each.source) for each in shares])
    seeds = counted(min(each.n for each in shares), "seed")
    word, them = ("share", "it") if len(shares) == 1 else ("shares", "them")
    return [f"{found.of}: {seeds} do not determine the {word} of the {names}, so no conclusion is drawn from {them}."]


def _seeds_of(found: Variances, each: SourceVariance) -> str:
    name = source_name(each.source)
    if not each.variance:
        return f"{found.of}: varying the {name} alone had no effect in {counted(each.n, 'seed')}."
    if each.share >= 1 > each.share_lower:
        ends = _ends(100 * each.share_lower, 100 * each.share_upper) + " %"
        return f"{found.of}: varying the {name} alone produces as much variance as varying everything (share {ends})."
    if each.share >= 1:
        return (
            f"{found.of}: varying the {name} alone produces at least as much variance as varying everything, so the "
            "fixed values of the other sources may be atypical; a different fixed_seed shows whether they are."
        )
    if each.source == "split":
        return (
            f"{found.of}: a study with one fixed {name} never reveals its {_percent(each.share)} of the variance (95 % "
            f"interval {_percents(each.share_lower, each.share_upper)}), however many seeds it has. Its mean is biased "
            "by the effect of that one split."
        )
    return (
        f"{found.of}: more seeds for the {name} alone never reveal {_percent(1 - each.share)} of the variance (95 % "
        f"interval {_percents(1 - each.share_upper, 1 - each.share_lower)}); the mean over any number of such seeds is "
        f"as uncertain as the mean of {each.worth:.1f} runs in which all sources vary."
    )


def _percent(share: float) -> str:
    return f"{number_format.percent(share, 0)} %"


def _percents(lower: float, upper: float) -> str:
    """Return the limits of an interval for a share, as percentages clipped to the range from 0 to 100 %."""
    low, high = (number_format.percent(min(max(end, 0.0), 1.0), 0) for end in (lower, upper))
    return f"{low} to {high} %"
