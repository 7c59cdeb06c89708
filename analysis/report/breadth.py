"""How much of a study with many arms its report shows: which arms, how many rows, and how it names the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimlib.errors import counted
from analysis.findings.study import Findings
from analysis.wording import number_format

MANY_ARMS = 12
"""With more arms than this, the report ranks the arms and folds the details."""
_ROOM, _SHOWN = 24, 16
"""With more than `_ROOM` arms, figures and tables by arm show only `_SHOWN` of them."""
_ALL, _EXTREMES = 15, 5
"""With more than `_ALL` comparisons, the page shows the gates and the `_EXTREMES` comparisons at either extreme."""
LONG, KEPT = 50, 25
"""A table with more than `LONG` rows shows only `KEPT` of them."""


def many_arms(findings: Findings) -> bool:
    """Return whether a study has so many arms that its report ranks them."""
    return len(findings.results.plan.arms) > MANY_ARMS


def shown_arms(findings: Findings) -> list[str]:
    """Return the arms to show in figures with one row or one color per arm, in the plan's order."""
    arms = [arm.name for arm in findings.results.plan.arms]
    if len(arms) <= _ROOM:
        return arms
    kept = set(list(dict.fromkeys([*gated_arms(findings), *_extremes(findings), *arms]))[:_SHOWN])
    return [arm for arm in arms if arm in kept]


def gated_arms(findings: Findings) -> list[str]:
    """Return the baseline, the treatment and the arms of the gates."""
    family = findings.family
    first = [family.baseline, family.treatment]
    first += [arm for c in family.comparisons if c.family == "gate" for arm in (c.treatment, c.control)]
    return list(dict.fromkeys(arm for arm in first if arm is not None))


def shown_comparisons(findings: Findings) -> list[str]:
    """Return the names of the comparisons to show: all, or those of the gates and those with extreme differences."""
    every = findings.family.comparisons
    further = sorted((c for c in every if c.family != "gate" and c.interval.n), key=lambda c: c.interval.mean)
    if not many_arms(findings) or len(every) <= _ALL:
        return [c.name for c in every]
    ends = {c.name for c in (*further[:_EXTREMES], *further[-_EXTREMES:])}
    return [c.name for c in every if c.family == "gate" or c.name in ends]


def _extremes(findings: Findings) -> list[str]:
    """Return the arms of the further comparisons, alternating between the largest and the smallest differences."""
    further = [c for c in findings.family.comparisons if c.family == "variant" and c.interval.n]
    further.sort(key=lambda c: c.interval.mean)
    ranked = [c for ends in zip(reversed(further), further, strict=True) for c in ends]
    return [arm for c in ranked for arm in (c.treatment, c.control)]


def figure_shows(findings: Findings) -> str:
    """Return a sentence on the arms that a figure omits, or an empty string if the figure shows all arms."""
    shown, every = len(shown_arms(findings)), len(findings.results.plan.arms)
    if shown == every:
        return ""
    return (
        f" The figure shows {shown} of {every} arms: the arms in the gates, and the further arms with the largest and "
        "smallest differences. The tables contain all arms."
    )


def named(arms: Sequence[str], most: int = 3) -> str:
    """Return the names of arms; if there are many, only the first few and the number of further arms."""
    if len(arms) > most + 1:
        return f"{joined(arms[:most])} and {counted(len(arms) - most, 'further arm')}"
    return joined(arms) if any("," in arm for arm in arms) else number_format.listing(list(arms))


def joined(arms: Sequence[str]) -> str:
    """Return names separated by commas, or by semicolons if a name contains a comma."""
    return ("; " if any("," in arm for arm in arms) else ", ").join(arms)


def in_order_of_plan(findings: Findings, arms: Iterable[str]) -> tuple[str, ...]:
    """Return arms in the plan's order; arms that the plan does not contain come last."""
    wanted = dict.fromkeys(arms)
    planned = [arm.name for arm in findings.results.plan.arms if arm.name in wanted]
    return (*planned, *sorted(set(wanted) - set(planned)))
