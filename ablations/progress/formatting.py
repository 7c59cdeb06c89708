"""Text for people: time spans, shares, and untrusted text that fits a given width."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.cells import cell_len, set_cell_size

CAUTION = "accuracies are on validation images; test accuracies are shown with the verdict"


def duration(seconds: float) -> str:
    """Return a time span as readable text, such as 8 s, 3 min 20 s, 5 h 10 min or 2 d 3 h."""
    whole = round(seconds)
    for unit, inner, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {inner}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def pace(seconds: float | None) -> str:
    """Return the seconds of an epoch with about three digits, such as 0.52 s, 12.3 s or 4 min 10 s."""
    if seconds is None:
        return "–"
    return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal, or a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def listed(parts: Iterable[str]) -> str:
    """Return the non-empty parts, separated by commas."""
    return ", ".join(part for part in parts if part)


def clock(at: float) -> str:
    """Return a time in seconds since the epoch as local time, such as 24 Nov 20:45:20."""
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S").lstrip("0")


def clean(text: str) -> str:
    """Return text on one line, without control characters or marks of text direction."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))


def clip(text: str, width: int) -> str:
    """Return text of at most `width` terminal cells, cut in the middle because names differ at both ends.

    Wide characters (CJK) take two cells.
    """
    text = clean(text)
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = _last(text, (width - 1) // 2)
    head = set_cell_size(text, width - 1 - cell_len(tail)).rstrip()
    return f"{head}…{tail}"


def _last(text: str, width: int) -> str:
    kept = ""
    for sign in reversed(text):
        if cell_len(sign) + cell_len(kept) > width:
            break
        kept = sign + kept
    return kept


def abbreviated(names: list[str], width: int) -> list[str]:
    """Return the names, with the common prefix removed from those that are too wide."""
    names = [clean(name) for name in names]
    wide = [name for name in names if cell_len(name) > width]
    prefix = _shared(wide) if len(set(wide)) > 1 else ""
    longest = max(wide, key=cell_len, default="")
    cut = 0
    for sign in _JOINTS:  # strongest first; the first position from which all names fit, or else the last one
        places = [i + len(sign) for i in range(1, len(prefix)) if prefix.startswith(sign, i)]
        fitting = [place for place in places if cell_len(longest[place:]) < width]
        cut = max([cut, *places])
        if fitting:
            cut = fitting[0]
            break
    return [f"…{name[cut:]}" if cut > 1 and cell_len(name) > width else name for name in names]


def _shared(names: list[str]) -> str:
    """Return the common prefix of all names, which is that of the first and the last in sorted order."""
    first, last = min(names), max(names)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


_JOINTS = (", ", "=", " ", "-", "_")


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return text of exactly `width` terminal cells."""
    text = clip(text, width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def folded(text: str, width: int) -> list[str]:
    """Return a sentence wrapped into lines of at most `width` cells."""
    found: list[str] = []
    for word in clean(text).split(" "):
        if found and cell_len(found[-1]) + 1 + cell_len(word) <= width:
            found[-1] += f" {word}"
        else:
            found.append(clip(word, width))
    return found


def wrapped(parts: Iterable[str], width: int) -> list[str]:
    """Return the parts, separated by commas, on as few lines as possible."""
    found: list[str] = []
    for part in parts:
        if found and cell_len(found[-1]) + 2 + cell_len(part) <= width:
            found[-1] += f", {part}"
        else:
            if found and cell_len(found[-1]) < width:
                found[-1] += ","
            found.append(clip(part, width))
    return found
