"""A study's primary measure: its column, its unit, which direction is better, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.wording import number_format


@dataclass(frozen=True)
class PrimaryMeasure:
    """The measure by which a study's runs are compared.

    Attributes
    ----------
    name : name in a study file: accuracy, balanced_accuracy, macro_f1, loss, or the name of a reported scalar.
    column : column in the frames of runs and epochs; see `analysis.reading.measured`.
    words : wording for use within a sentence.
    unit, difference : units of a value and of a difference, as in "72.1 %" and "0.8 pp"; empty for numbers without a
        unit.
    scale : factor by which stored values are multiplied.
    lower_is_better : whether lower values are better; gains are then control minus treatment.
    digits : number of decimals of a difference.
    """

    name: str
    column: str
    words: str
    unit: str = "%"
    difference: str = "pp"
    scale: float = 100.0
    lower_is_better: bool = False
    digits: int = 2

    @property
    def is_accuracy(self) -> bool:
        """Whether the measure is the accuracy, to which claims, photos and the chance level refer."""
        return self.name == "accuracy"

    @property
    def better(self) -> str:
        """Which values of the measure are better: ``higher`` or ``lower``."""
        return "lower" if self.lower_is_better else "higher"

    @property
    def gain_words(self) -> str:
        """The label of an axis with differences, which are positive if the treatment is better."""
        what = "Reduction of the" if self.lower_is_better else "Difference in"
        return f"{what} {self.words}"

    def with_digits_for(self, delta: float) -> PrimaryMeasure:
        """Return the measure with as many decimals as differences of size `delta` need."""
        if self.difference == "pp":
            return self
        return replace(self, digits=2 + max(0, -math.floor(math.log10(delta))))

    def values(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Return every row's measure in its unit; NaN where it is missing."""
        found: npt.NDArray[np.float64] = self.scale * frame[self.column].to_numpy(dtype="float64", na_value=np.nan)
        return found

    def gains(self, treated: Any, control: Any) -> Any:
        """Return how much better the treatment's stored values are than the control's, in the unit of differences."""
        return self.scale * (control - treated if self.lower_is_better else treated - control)

    def difference_name(self, treatment: str, control: str) -> str:
        """Return a comparison's name, ordered so that the difference is positive if the treatment is better."""
        first, second = (control, treatment) if self.lower_is_better else (treatment, control)
        return f"{first} {number_format.MINUS} {second}"

    def decimal(self, value: float | None) -> str:
        """Return a number in the measure's unit with the decimals of a difference, without a plus sign or the unit."""
        return number_format.decimal(value, self.digits)

    def margin(self, delta: float) -> str:
        """Return the smallest effect of interest with its unit and as many decimals as needed."""
        return self.in_unit(number_format.exact(delta, self.digits))

    def value(self, stored: float | None) -> str:
        """Return a stored value in its unit, without writing the unit."""
        return number_format.decimal(None if stored is None else self.scale * stored, self.digits)

    @property
    def in_units(self) -> str:
        """The unit of differences for use in a sentence, after a comma; empty without a unit."""
        return {"": "", "pp": ", in percentage points"}.get(self.difference, f", in {self.difference}")

    def points(self, value: float | None) -> str:
        """Return a difference with its sign, without the unit."""
        return number_format.decimal(value, self.digits, sign=True)

    def interval(self, lower: float | None, upper: float | None, beside: Sequence[float] = ()) -> str:
        """Return an interval for a difference, with enough decimals to tell its limits from the values in `beside`."""
        if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
            return number_format.NOTHING
        digits = number_format.digits_beside((lower, upper), beside, self.digits)
        return " to ".join(number_format.decimal(end, digits, sign=True) for end in (lower, upper))

    def in_unit(self, number: str) -> str:
        """Return a formatted difference with its unit."""
        return f"{number} {self.difference}" if self.difference else number

    @property
    def name_of_axis(self) -> str:
        """The words with a capital letter, for the start of a title."""
        return self.words[:1].upper() + self.words[1:]

    def axis(self, of: str = "") -> str:
        """Return the label of an axis with values: the measure, the epoch, and the unit."""
        name = self.name_of_axis + (f" {of}" if of else "")
        return f"{name}, {self.unit}" if self.unit else name

    def heading(self, name: str, *, of_values: bool = False) -> str:
        """Return the heading of a column with differences or values, with its unit."""
        unit = self.unit if of_values else self.difference
        return f"{name}, {unit}" if unit else name


ACCURACY = PrimaryMeasure("accuracy", "test_accuracy", "test accuracy")
_KNOWN = {
    each.name: each
    for each in (
        ACCURACY,
        PrimaryMeasure("balanced_accuracy", "test_balanced_accuracy", "balanced test accuracy"),
        PrimaryMeasure("macro_f1", "test_macro_f1", "macro-averaged F1 score on test images"),
        PrimaryMeasure("loss", "test_loss", "test loss", "nats", "nats", 1.0, lower_is_better=True),
    )
}
KNOWN = tuple(_KNOWN)
"""Names of the measures that every study can use."""
FROM_PREDICTIONS = ("balanced_accuracy", "macro_f1")
"""Measures that are computed from the stored predictions."""
_LONGEST = 80
SCALAR = "scalar:"
"""Prefix of the columns with scalars that runs report."""


def primary_measure(stored: str | Mapping[str, Any] | None, delta: float = 1.0) -> PrimaryMeasure:
    """Return the measure that a plan names; None means the accuracy.

    Parameters
    ----------
    stored : one of `KNOWN`, or a mapping with `scalar` (the name that runs report), `better` (higher or lower) and
        `unit`.

    Raises
    ------
    ValueError: `stored` is neither of these.
    """
    if stored is None:
        return ACCURACY
    if isinstance(stored, str) and stored in _KNOWN:
        return _KNOWN[stored].with_digits_for(delta)
    if isinstance(stored, Mapping) and {"scalar", "better"} <= stored.keys() <= {"scalar", "better", "unit"}:
        name, better, unit = stored["scalar"], stored["better"], stored.get("unit", "")
        if _is_word(name) and better in ("higher", "lower") and (unit == "" or _is_word(unit)):
            lower = better == "lower"
            return PrimaryMeasure(name, SCALAR + name, name, unit, unit, 1.0, lower).with_digits_for(delta)
    raise ValueError(f"measure must be one of {', '.join(KNOWN)}, or a scalar and whether higher or lower is better")


def _is_word(text: object) -> bool:
    """Return whether a name or a unit can be used in a sentence without changes."""
    return isinstance(text, str) and 0 < len(text.strip()) <= _LONGEST and text.isprintable()
