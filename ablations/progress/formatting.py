"""Human-readable text: time spans, percentages, and untrusted text fitted to a given width."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.cells import cell_len

from ablations.spec.durations import duration
from ablations.spec.short_names import clean, clip

CAUTION = "accuracies are on validation images; test accuracies are shown with the verdict"


def pace(seconds: float | None) -> str:
    """Return the duration of an epoch with about three digits, such as 0.52 s, 12.3 s or 4 min 10 s."""
    if seconds is None:
        return "–"
    return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal place, or a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def listed(parts: Iterable[str]) -> str:
    """Return the non-empty parts, separated by commas."""
    return ", ".join(part for part in parts if part)


def clock(at: float) -> str:
    """Return a time in seconds since the epoch as local time, such as 24 Nov 20:45:20."""
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S").lstrip("0")


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return the text, padded or shortened to exactly `width` terminal cells."""
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
    """Return the parts, separated by commas, in as few lines as possible."""
    found: list[str] = []
    for part in parts:
        if found and cell_len(found[-1]) + 2 + cell_len(part) <= width:
            found[-1] += f", {part}"
        else:
            if found and cell_len(found[-1]) < width:
                found[-1] += ","
            found.append(clip(part, width))
    return found
