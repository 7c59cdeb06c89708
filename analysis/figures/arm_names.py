"""Arm names in figures: factorial arms are named by the levels in which they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aimlib.errors import counted
from analysis.figures.canvas import labels
from analysis.wording import number_format

_ROOM = 26
"""Arm names are shortened if any name has more characters than this."""
_LINE = 70
"""Number of characters that fit below an axis."""
_MADE = re.compile(r"(?P<base>[^\[\]]*)\[(?P<levels>.*)\]", re.DOTALL)
_COMMA = re.compile(r",\s*(?=[^\s,=()\[\]{}]+=)")
"""The separator of two levels: a comma before the next factor."""


def arm_labels(names: Sequence[str], width: int = 24, lines: int = 2) -> dict[str, str]:
    """Return arm names as figures show them; see `canvas.labels`, and `short_names` for what is left out."""
    short = short_names(names)
    fit = labels([short[name] for name in names], width, lines)
    return {name: fit[short[name]] for name in names}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return arm names without the parts that all factorial arms share.

    ``aim[learning_rate=0.01,batch_size=32,loss=hinge]`` becomes ``0.01, 32`` if all arms have that loss. All names stay
    unchanged if no name is long, if fewer than two arms are factorial, or if two shortened names would be identical.
    """
    made = {name: parts for name in names if (parts := _parts(name)) is not None}
    if len(made) < 2 or max(map(len, names)) <= _ROOM:
        return {name: name for name in names}
    bases = {base for base, _ in made.values()}
    differing = _differing([levels for _, levels in made.values()])
    short = {name: _short(made[name], differing, bases) if name in made else name for name in names}
    return short if len(set(short.values())) == len(set(names)) else {name: name for name in names}


def names_explained(names: Sequence[str]) -> str:
    """Return a sentence on how `short_names` shortens the arm names; empty if they are unchanged."""
    short = short_names(names)
    if all(text == name for name, text in short.items()):
        return ""
    factors = _differing([parts[1] for name in names if (parts := _parts(name)) is not None])
    if len(factors) == 1:
        return " Arms are named by the options in which they differ; the CSV file contains the full names."
    what = number_format.listing(factors) if len(factors) <= 6 else counted(len(factors), "factor")
    return f" Arms are named by their levels of {what}, in this order; the CSV file contains the full names."


def names_note(names: Sequence[str]) -> str:
    """Return the factors whose levels `short_names` keeps, as an additional line for an axis label."""
    short = short_names(names)
    factors = _differing([parts[1] for name in names if (parts := _parts(name)) is not None])
    if len(factors) < 2 or all(text == name for name, text in short.items()):
        return ""
    line = f"Arms: {', '.join(factors)}"
    return f"\n{line}" if len(line) <= _LINE else ""


def _parts(name: str) -> tuple[str, dict[str, str]] | None:
    """Return the base of an arm and its level of every factor; None if the arm's name has a different form."""
    found = _MADE.fullmatch(name)
    if found is None:
        return None
    pairs = [part.partition("=") for part in _split(found["levels"])]
    if not all(sign and level for _, sign, level in pairs):
        return None
    return found["base"], {factor.strip(): level.strip() for factor, _, level in pairs}


def _split(text: str) -> list[str]:
    """Split a text at the commas that precede a factor and are outside all brackets."""
    parts, start = [], 0
    for comma in _COMMA.finditer(text):
        before = text[start : comma.start()]
        if all(before.count(left) == before.count(right) for left, right in ("()", "[]", "{}")):
            parts.append(before)
            start = comma.end()
    return [*parts, text[start:]]


def _differing(levels: Sequence[dict[str, str]]) -> list[str]:
    """Return the factors in which arms differ, in the order in which arm names list them."""
    factors = dict.fromkeys(factor for each in levels for factor in each)
    return [factor for factor in factors if len({each.get(factor) for each in levels}) > 1]


def _short(parts: tuple[str, dict[str, str]], differing: Sequence[str], bases: set[str]) -> str:
    base, levels = parts
    whole = len(differing) > 1 and all(factor in levels for factor in differing)
    said = [levels[f] if whole else f"{f}={levels[f]}" for f in differing if f in levels]
    text = ", ".join(said) or base
    return text if len(bases) == 1 or not said else f"{base}: {text}"
