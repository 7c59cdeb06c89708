"""Names of arms in figures: of arms that factors make, the levels in which they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aimlib.errors import counted
from analysis.figures.canvas import labels
from analysis.wording import number_format

_ROOM = 26
"""Names are shortened if one has more characters than this."""
_LINE = 70
"""Characters that fit below an axis."""
_MADE = re.compile(r"(?P<base>[^\[\]]*)\[(?P<levels>.*)\]", re.DOTALL)
_COMMA = re.compile(r",\s*(?=[^\s,=()\[\]{}]+=)")
"""Between two levels: a comma before the next factor."""


def arm_labels(names: Sequence[str], width: int = 24, lines: int = 2) -> dict[str, str]:
    """Return every name of an arm in a form fit for a figure; see `canvas.labels` and, for omissions, `short_names`."""
    short = short_names(names)
    fit = labels([short[name] for name in names], width, lines)
    return {name: fit[short[name]] for name in names}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return names of arms without the parts that all arms made by factors share.

    ``aim[learning_rate=0.01,batch_size=32,loss=hinge]`` is ``0.01, 32`` if all have that loss. All
    names stay unchanged if none is long, if fewer than two are made by factors, or if two would look alike.
    """
    made = {name: parts for name in names if (parts := _parts(name)) is not None}
    if len(made) < 2 or max(map(len, names)) <= _ROOM:
        return {name: name for name in names}
    bases = {base for base, _ in made.values()}
    differing = _differing([levels for _, levels in made.values()])
    short = {name: _short(made[name], differing, bases) if name in made else name for name in names}
    return short if len(set(short.values())) == len(set(names)) else {name: name for name in names}


def names_explained(names: Sequence[str]) -> str:
    """Return a sentence on what `short_names` leaves of the names of arms; empty if they are whole."""
    short = short_names(names)
    if all(text == name for name, text in short.items()):
        return ""
    factors = _differing([parts[1] for name in names if (parts := _parts(name)) is not None])
    if len(factors) == 1:
        return " Arms are named by what they differ in; the CSV has the full names."
    what = number_format.listing(factors) if len(factors) <= 6 else counted(len(factors), "factor")
    return f" Arms are named by their levels of {what}, in this order; the CSV has the full names."


def names_note(names: Sequence[str]) -> str:
    """Return the factors whose levels `short_names` keeps, as a further line of the label of an axis."""
    short = short_names(names)
    factors = _differing([parts[1] for name in names if (parts := _parts(name)) is not None])
    if len(factors) < 2 or all(text == name for name, text in short.items()):
        return ""
    line = f"Arms: {', '.join(factors)}"
    return f"\n{line}" if len(line) <= _LINE else ""


def _parts(name: str) -> tuple[str, dict[str, str]] | None:
    """Return what an arm varies and its level of every factor; None if its name has another form."""
    found = _MADE.fullmatch(name)
    if found is None:
        return None
    pairs = [part.partition("=") for part in _split(found["levels"])]
    if not all(sign and level for _, sign, level in pairs):
        return None
    return found["base"], {factor.strip(): level.strip() for factor, _, level in pairs}


def _split(text: str) -> list[str]:
    """Return the parts of a text between the commas that come before the next factor, outside all brackets."""
    parts, start = [], 0
    for comma in _COMMA.finditer(text):
        before = text[start : comma.start()]
        if all(before.count(left) == before.count(right) for left, right in ("()", "[]", "{}")):
            parts.append(before)
            start = comma.end()
    return [*parts, text[start:]]


def _differing(levels: Sequence[dict[str, str]]) -> list[str]:
    """Return the factors in which arms differ, in the order of their names."""
    factors = dict.fromkeys(factor for each in levels for factor in each)
    return [factor for factor in factors if len({each.get(factor) for each in levels}) > 1]


def _short(parts: tuple[str, dict[str, str]], differing: Sequence[str], bases: set[str]) -> str:
    base, levels = parts
    whole = len(differing) > 1 and all(factor in levels for factor in differing)
    said = [levels[f] if whole else f"{f}={levels[f]}" for f in differing if f in levels]
    text = ", ".join(said) or base
    return text if len(bases) == 1 or not said else f"{base}: {text}"
