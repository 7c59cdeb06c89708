"""From an interval to a verdict: the first condition that applies decides.

L and U are the ends of the interval for the mean difference in pp, δ the smallest effect of interest, r the
reported gain. If the study is outside the scope of the claim there is no valid r, and the rows that need it are
omitted.
The rows are `RULES`; r > 2δ is required. A study that states what it is about and names no claim has no reported gain
at all; the rows for it are `RULES_WITHOUT_REPORT`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from analysis import number_format
from analysis.looks import FEWEST_PAIRS
from analysis.statistics.interval import IDENTICAL

Kind = Literal[
    "identical",
    "harmful",
    "no material gain",
    "trivial gain",
    "holds",
    "real, smaller than reported",
    "material gain",
    "positive, materiality open",
    "positive, size open",
    "inconclusive",
    "screening only",
    "withheld",
]
STOPPING: frozenset[Kind] = frozenset(
    {"harmful", "no material gain", "trivial gain", "holds", "real, smaller than reported", "material gain"}
)
OPEN: frozenset[Kind] = frozenset({"positive, materiality open", "positive, size open", "inconclusive"})
READ: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind in (STOPPING | OPEN) - {"material gain"})
"""The verdicts for an interval where a gain was reported, in the order of the table."""
NEVER_REPORTED = math.inf
"""In place of a reported gain: none was ever reported, so a gain of at least δ ends the study."""


RULES: tuple[tuple[str, str, str], ...] = (
    ("s_d = 0", "arms identical: check the study", "error"),
    ("U < 0", "harmful", "yes"),
    ("L ≤ 0 and U < δ", "no material gain", "yes"),
    ("L > 0 and U < δ", "trivial gain", "yes"),
    ("L ≥ r/2 and U ≥ r", "holds (L > r: larger than reported)", "yes"),
    ("L ≥ δ and U < r", "real, smaller than reported", "yes"),
    ("0 < L < δ ≤ U < r", "positive, materiality open; the reported size is rejected", "more seeds"),
    ("L > 0 otherwise", "positive, size open", "more seeds"),
    ("otherwise", "inconclusive", "more seeds"),
)
"""Condition, verdict, whether it stops the study."""
RULES_WITHOUT_REPORT: tuple[tuple[str, str, str], ...] = (
    *RULES[:4],
    ("L ≥ δ", "material gain", "yes"),
    ("0 < L < δ ≤ U", "positive, size open", "more seeds"),
    RULES[-1],
)
"""The same where no gain was reported."""

_TEXTS: dict[Kind, str] = {
    "identical": "arms identical: check the study",
    "positive, materiality open": "positive, materiality open; the reported size is rejected",
    "screening only": "screening only, no verdict",
    "withheld": "verdict withheld",
}


@dataclass(frozen=True)
class Verdict:
    """The verdict on one comparison.

    Attributes
    ----------
    kind : the row of the table; ``screening only`` below five pairs, ``withheld`` if `reason` forbids one.
    reason : why a verdict is withheld; for differences without spread that are not 0, their size; otherwise empty.
    larger_than_reported : the whole interval lies above r.
    """

    kind: Kind
    reason: str = ""
    larger_than_reported: bool = False

    @property
    def stops(self) -> bool:
        """Whether further seeds would be of no use."""
        return self.kind in STOPPING

    @property
    def decided(self) -> bool:
        """Whether the table applies: the verdict is neither screening only, nor withheld, nor an error."""
        return self.kind in STOPPING or self.kind in OPEN

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.larger_than_reported:
            return "holds, larger than reported"
        if self.kind == "identical" and self.reason:
            return f"{self.reason}: check the study"
        text = _TEXTS.get(self.kind, self.kind)
        return f"{text} ({self.reason})" if self.reason else text


def decide(
    lower: float,
    upper: float,
    sd: float,
    n: int,
    delta: float,
    reported: float | None = None,
    *,
    withhold: str = "",
    unit: str = "pp",
) -> Verdict:
    """Return the verdict of an interval.

    Parameters
    ----------
    lower, upper : ends of the interval in pp; ignored below five pairs.
    sd : standard deviation of the differences in pp.
    n : complete pairs; if the verdict is withheld, all pairs of the look.
    delta : smallest effect of interest in pp.
    reported : reported gain in pp; None outside the claim's scope; `NEVER_REPORTED` where there is no claim.
    withhold : a reason not to give a verdict, such as missing pairs; empty for none.
    unit : of the differences, for words.

    Raises
    ------
    ValueError: ends that are not ordered numbers, delta <= 0, or reported <= 2 delta.
    """
    if not 0 < delta < math.inf or (reported is not None and not reported > 2 * delta):
        raise ValueError(f"0 < 2 delta < reported is required; got delta {delta!r}, reported {reported!r}")
    if n < FEWEST_PAIRS:
        return Verdict("screening only")
    if withhold:
        return Verdict("withheld", withhold)
    if not lower <= upper or not sd >= 0:
        raise ValueError(f"lower <= upper and sd >= 0 are required; got {lower!r}, {upper!r}, sd {sd!r}")
    if sd < IDENTICAL:
        size = f"{number_format.points((lower + upper) / 2)} {unit}".strip()
        same = f"no seed differs from another, all by {size}"
        return Verdict("identical", same if abs(lower + upper) / 2 >= IDENTICAL else "")
    kind = cast("Kind", str(rows(lower, upper, delta, reported)))
    return Verdict(kind, larger_than_reported=kind == "holds" and reported is not None and lower > reported)


def rows(
    lower: npt.ArrayLike, upper: npt.ArrayLike, delta: float, reported: float | None = None
) -> npt.NDArray[np.str_]:
    """Return the row of the table that applies to each interval, for many at once, as calibration needs.

    Parameters as in `decide`; nothing is checked and nothing is withheld.
    """
    low, high = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    r = math.nan if reported is None else reported  # comparisons with NaN are false: rows with r do not apply
    conditions: list[tuple[Any, Kind]] = [
        (high < 0, "harmful"),
        ((low <= 0) & (high < delta), "no material gain"),
        (high < delta, "trivial gain"),
    ]
    conditions += (
        [(low >= delta, "material gain")]
        if r == NEVER_REPORTED
        else [
            ((low >= r / 2) & (high >= r), "holds"),
            ((low >= delta) & (high < r), "real, smaller than reported"),
            ((low > 0) & (high < r), "positive, materiality open"),
        ]
    )
    conditions.append((low > 0, "positive, size open"))
    return np.select([condition for condition, _ in conditions], [kind for _, kind in conditions], "inconclusive")
