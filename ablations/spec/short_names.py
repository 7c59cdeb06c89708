"""Arm names for narrow columns, shortened in the middle so that they remain distinguishable."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from aimlib.records.escaping import on_one_line

_SEPARATORS = (r"([\[\](){},;+=:/| ]+)", r"([_.\-\s]+)")
"""Separators between the parts of a name (factors and levels) and the words of a part, from coarse to fine."""
_LEAST = 3
"""Number of cells that a shared part keeps as long as the differing parts fit."""


clean = on_one_line


def clip(text: str, width: int) -> str:
    """Shorten text to at most `width` terminal cells, by cutting the middle because names differ at both ends.

    Wide characters (CJK) take two cells.
    """
    text = clean(text)
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    return _cut(text, width, (width - 1) // 2)


def shortened(names: Iterable[str], width: int) -> list[str]:
    """Shorten each name to at most `width` terminal cells; different names stay different.

    A name that fits stays unchanged. Names of the same form, such as ``aim[placement=stage_only,channels=8]``, first
    lose the parts that they share: ``aim[…=stage_only,…=8]``. If several names would become equal, each ends in a
    number, such as ``aim…#3``: its position among the different names. Short forms are equal only if `width` is too
    small for this number.
    """
    names = [clean(name) for name in names]
    different = list(dict.fromkeys(names))
    wide = [name for name in different if cell_len(name) > width]
    if not wide:
        return names
    short = _distinct(_short_forms(wide, width, 0), width, taken=set(different), places=different)
    return [short.get(name, name) for name in names]


def _short_forms(names: Sequence[str], width: int, depth: int) -> dict[str, str]:
    """Return the names shortened to `width`, split at the separators of level `depth`; short forms may be equal."""
    clipped = {name: clip(name, width) for name in names}
    if depth and len(set(clipped.values())) == len(names):
        return clipped
    if depth == len(_SEPARATORS):
        return _with_short_ends(names, width)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        groups[tuple(re.split(_SEPARATORS[depth], name)[1::2])].append(name)
    found: dict[str, str] = {}
    for separators, group in groups.items():
        if len(group) == 1:
            found[group[0]] = clipped[group[0]]
        elif separators:
            found |= _without_shared(group, width, depth)
        else:
            found |= _short_forms(group, width, depth + 1)
    return found


def _without_shared(names: Sequence[str], width: int, depth: int) -> dict[str, str]:
    """Shorten names with the same separators: first the sequences of parts that all names share, then the others."""
    split = [re.split(_SEPARATORS[depth], name) for name in names]
    runs = _runs(split)
    shared = {at: split[0][run.start : run.stop] for at, (run, same) in enumerate(runs) if same}
    own = {at: [parts[run.start] for parts in split] for at, (run, same) in enumerate(runs) if not same}
    rooms = {at: cell_len("".join(parts)) for at, parts in shared.items()}
    caps = {at: max(map(cell_len, parts)) for at, parts in own.items()}

    sizes_of_rows: set[tuple[int, ...]] = set(zip(*(map(cell_len, parts) for parts in own.values()), strict=True))

    def widest() -> int:
        limits = list(caps.values())
        own_parts = max(sum(min(pair) for pair in zip(sizes, limits, strict=True)) for sizes in sizes_of_rows)
        return sum(rooms.values()) + own_parts

    for sizes, least in ((rooms, _LEAST), (caps, _LEAST + 1), (rooms, 1), (caps, 1)):
        while (excess := widest() - width) > 0 and max(sizes.values(), default=0) > least:
            largest = max(sizes, key=lambda at: sizes[at])
            sizes[largest] -= 1 if sizes is caps else min(excess, _step(sizes, largest, least))
    pieces = {at: dict.fromkeys(range(len(names)), _run("".join(parts), rooms[at])) for at, parts in shared.items()}
    for at, parts in own.items():
        short = _unique_forms(parts, caps[at], depth + 1)
        pieces[at] = {row: short[part] for row, part in enumerate(parts)}
    whole = {
        name: re.sub("…+", "…", "".join(pieces[at][row] for at in range(len(runs)))) for row, name in enumerate(names)
    }
    return {name: form if cell_len(form) <= width else clip(name, width) for name, form in whole.items()}


def _step(sizes: dict[int, int], largest: int, least: int) -> int:
    """Return by how much the largest size can shrink before another size is the largest."""
    others = [size for at, size in sizes.items() if at != largest]
    return max(1, sizes[largest] - max(least, *others)) if others else sizes[largest] - least


def _runs(split: Sequence[Sequence[str]]) -> list[tuple[range, bool]]:
    """Return the ranges of parts, and whether all names share each range; a part that differs is a range of its own."""
    found: list[tuple[range, bool]] = []
    for at, parts in enumerate(zip(*split, strict=True)):
        same = len(set(parts)) == 1
        if found and same and found[-1][1]:
            found[-1] = (range(found[-1][0].start, at + 1), True)
        else:
            found.append((range(at, at + 1), same))
    return found


def _run(text: str, width: int) -> str:
    """Return a shared sequence of parts, cut before its last separator: ``aim[…=``."""
    if cell_len(text) <= width:
        return text
    last = re.search(r"[^\w\s]$", text)
    return _cut(text, width, cell_len(last.group()) if last and width >= _LEAST else 0)


def _unique_forms(parts: Iterable[str], width: int, depth: int) -> dict[str, str]:
    different = list(dict.fromkeys(parts))
    wide = [part for part in different if cell_len(part) > width]
    short = _distinct(_short_forms(wide, width, depth), width, set(different), different) if wide else {}
    return {part: short.get(part, part) for part in different}


def _with_short_ends(names: Sequence[str], width: int) -> dict[str, str]:
    """Shorten words by cutting the shared beginning and the shared end next to the part in which the words differ."""
    first, last = min(names), max(names)
    start = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, names)))
    if len(names) == 1 or start < _LEAST:
        return {name: clip(name, width) for name in names}
    head = _cut(first[:start], _LEAST - 1, 0)
    return {name: head + clip(name[start:], width - cell_len(head)) for name in names}


def _cut(text: str, width: int, tail: int) -> str:
    """Shorten text to `width` cells, keeping its beginning and its last `tail` cells."""
    kept = _last(text, tail)
    head = set_cell_size(text, max(0, width - 1 - cell_len(kept))).rstrip()
    return f"{head}…{kept}"


def _last(text: str, width: int) -> str:
    kept = ""
    for sign in reversed(text):
        if cell_len(sign) + cell_len(kept) > width:
            break
        kept = sign + kept
    return kept


def _distinct(short: dict[str, str], width: int, taken: set[str], places: Sequence[str]) -> dict[str, str]:
    """Return unique short forms; if a form equals another form or a name, the position of its name is appended."""
    counts: dict[str, int] = defaultdict(int)
    for form in short.values():
        counts[form] += 1
    numbers = {name: number for number, name in enumerate(places, 1)}
    used = taken | {form for form in short.values() if counts[form] == 1}
    found: dict[str, str] = {}
    for name, form in short.items():
        chosen = form
        if counts[form] > 1 or form in taken:
            chosen = next((other for other in _other_forms(name, width, numbers[name]) if other not in used), form)
            used.add(chosen)
        found[name] = chosen
    return found


def _other_forms(name: str, width: int, place: int) -> Iterable[str]:
    number = f"#{place}"
    if width > len(number):
        yield _cut(name, width - len(number), 0) + number
    middle = (width - 1) // 2
    for tail in sorted(range(width), key=lambda cells: abs(cells - middle)):
        yield _cut(name, width, tail)
