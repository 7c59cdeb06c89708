"""From an interval to a verdict: the first condition that applies decides.

L and U are the limits of the interval for the mean difference in pp, δ is the smallest effect of interest, and r the
reported gain. If the study is outside the claim's scope, there is no valid r, and the rows that need it are omitted.
`rules_of` returns the rows; r > 2δ is required. A study that declares its subject but does not name a claim has no
reported gain at all; it uses rows of its own. Procedure 1 has one row for harm, without a margin; see `procedures`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from analysis.looks import FEWEST_PAIRS
from analysis.procedures import FIRST, LATEST
from analysis.statistics.interval import IDENTICAL
from analysis.wording import number_format

Kind = Literal[
    "identical",
    "harmful",
    "trivially lower",
    "negative, materiality open",
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
    {
        "harmful",
        "trivially lower",
        "no material gain",
        "trivial gain",
        "holds",
        "real, smaller than reported",
        "material gain",
    }
)
OPEN: frozenset[Kind] = frozenset(
    {"negative, materiality open", "positive, materiality open", "positive, size open", "inconclusive"}
)
READ: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind in (STOPPING | OPEN) - {"material gain"})
"""The verdicts for an interval if a gain was reported, in the table's order."""
NEVER_REPORTED = math.inf
"""Used in place of a reported gain if none was ever reported: a gain of at least δ then ends the study."""


Row = tuple[str, str, str]
"""Condition, verdict, whether it stops the study."""
_IDENTICAL: Row = ("s_d = 0", "arms identical: check the study", "error")
_HARM: dict[int, tuple[Row, ...]] = {
    FIRST: (("U < 0", "harmful", "yes"),),
    LATEST: (
        ("U < −δ", "harmful", "yes"),
        ("−δ ≤ L and U < 0", "trivially lower", "yes"),
        ("L < −δ ≤ U < 0", "negative, materiality open", "more seeds"),
    ),
}
_SMALL: tuple[Row, ...] = (
    ("L ≤ 0 and U < δ", "no material gain", "yes"),
    ("L > 0 and U < δ", "trivial gain", "yes"),
)
_AGAINST_REPORTED: tuple[Row, ...] = (
    ("L ≥ r/2 and U ≥ r", "holds (L > r: larger than reported)", "yes"),
    ("L ≥ δ and U < r", "real, smaller than reported", "yes"),
    ("0 < L < δ ≤ U < r", "positive, materiality open; the reported size is rejected", "more seeds"),
    ("L > 0 otherwise", "positive, size open", "more seeds"),
)
_NEVER_REPORTED: tuple[Row, ...] = (
    ("L ≥ δ", "material gain", "yes"),
    ("0 < L < δ ≤ U", "positive, size open", "more seeds"),
)
_OTHERWISE: Row = ("otherwise", "inconclusive", "more seeds")


def rules_of(procedure: int = LATEST, *, against_reported: bool = True) -> tuple[Row, ...]:
    """Return the table's rows: condition, verdict, whether it stops the study; the first row that applies decides."""
    gains = _AGAINST_REPORTED if against_reported else _NEVER_REPORTED
    return (_IDENTICAL, *_HARM[procedure], *_SMALL, *gains, _OTHERWISE)


_TEXTS: dict[Kind, str] = {
    "identical": "arms identical: check the study",
    "positive, materiality open": "positive, materiality open; the reported size is rejected",
    "screening only": "screening only, no verdict",
    "withheld": "verdict withheld",
}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a comparison.

    Attributes
    ----------
    kind : the table's row; ``screening only`` with fewer than five pairs, ``withheld`` if there is a `reason` for
        withholding it.
    reason : why a verdict is withheld; for differences without spread that are not 0, their size; otherwise empty.
    larger_than_reported : whether the entire interval lies above r.
    lower_is_better : whether lower values of the measure are better; “trivially lower” is then worded “trivially
        worse”.
    """

    kind: Kind
    reason: str = ""
    larger_than_reported: bool = False
    lower_is_better: bool = False

    @property
    def stops(self) -> bool:
        """Whether the study can stop because further seeds would not help."""
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
        text = text.replace("lower", "worse") if self.lower_is_better else text
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
    lower_is_better: bool = False,
    procedure: int = LATEST,
) -> Verdict:
    """Return the verdict for an interval.

    Parameters
    ----------
    lower, upper : limits of the interval in pp; ignored with fewer than five pairs.
    sd : standard deviation of the differences in pp.
    n : number of complete pairs; if the verdict is withheld, of all pairs in the look.
    delta : smallest effect of interest in pp.
    reported : reported gain in pp; None outside the claim's scope; `NEVER_REPORTED` if there is no claim.
    withhold : a reason for withholding the verdict, such as missing pairs; empty if there is none.
    unit : unit of the differences, for the wording.
    lower_is_better : whether lower values of the measure are better, for the wording; the interval is always for gains.
    procedure : number of the procedure whose table is used; see `procedures`.

    Raises
    ------
    ValueError: the limits are not numbers in order, delta <= 0, or reported <= 2 delta.
    """
    if not 0 < delta < math.inf or (reported is not None and not reported > 2 * delta):
        raise ValueError(f"0 < 2 delta < reported is required; got delta {delta!r}, reported {reported!r}")
    if n < FEWEST_PAIRS:
        return Verdict("screening only")
    if withhold:
        return Verdict("withheld", withhold)
    if not lower <= upper or not sd >= 0:
        raise ValueError(f"lower <= upper and sd >= 0 are required; got {lower!r}, {upper!r}, sd {sd!r}")
    least = IDENTICAL * min(1.0, delta)
    if sd < least:
        middle = (lower + upper) / 2
        size = number_format.decimal(middle, number_format.digits_beside((middle,), (0.0,)), sign=True)
        same = f"all seeds have the same difference, {size} {unit}".rstrip()
        return Verdict("identical", same if abs(lower + upper) / 2 >= least else "")
    kind = cast("Kind", str(rows(lower, upper, delta, reported, procedure)))
    larger = kind == "holds" and reported is not None and lower > reported
    return Verdict(kind, larger_than_reported=larger, lower_is_better=lower_is_better)


def rows(
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    delta: float,
    reported: float | None = None,
    procedure: int = LATEST,
) -> npt.NDArray[np.str_]:
    """Return the table row that applies to each of many intervals.

    The parameters are those of `decide`; they are not checked, and no verdict is withheld.
    """
    low, high = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    r = math.nan if reported is None else reported  # comparisons with NaN are false, so the rows with r do not apply
    conditions: list[tuple[Any, Kind]] = [
        *_harm(low, high, delta if procedure != FIRST else 0.0),
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


def _harm(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], margin: float) -> Iterator[tuple[Any, Kind]]:
    """Yield the rows for an interval below 0; without a margin, every such interval is harm."""
    yield high < -margin, "harmful"
    if margin:
        yield (low >= -margin) & (high < 0), "trivially lower"
        yield high < 0, "negative, materiality open"
