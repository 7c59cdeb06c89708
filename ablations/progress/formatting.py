"""Words for people: time spans, shares, how far a study is, and text of any origin that fits its place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from aimlib.errors import counted

if TYPE_CHECKING:
    from ablations.progress.snapshot import Snapshot

CAUTION = "accuracies are of validation images; those of test images wait for the verdict"
_QUIET_S = 180.0
"""Seconds without an event of a run after which that is worth a word."""


def duration(seconds: float) -> str:
    """Return a time span for people: 8 s, 3 min 20 s, 5 h 10 min, 2 d 3 h."""
    whole = round(seconds)
    for unit, inner, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {inner}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def pace(seconds: float | None) -> str:
    """Return the seconds of an epoch with about three digits: 0.52 s, 12.3 s, 4 min 10 s."""
    if seconds is None:
        return "–"
    return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def listed(parts: Iterable[str]) -> str:
    """Return the parts that say something, separated by commas."""
    return ", ".join(part for part in parts if part)


def clock(at: float) -> str:
    """Return a moment, in seconds since the epoch, in local time: 24 Nov 20:45:20."""
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S").lstrip("0")


def clean(text: str) -> str:
    """Return text on one line, without anything that a terminal would obey or that turns the direction of text."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))


def clip(text: str, width: int) -> str:
    """Return text of at most so many terminal cells; what is cut goes from the middle, as names differ at both ends.

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
    """Return names of which those that are too wide are without the beginning that they share, which tells nothing."""
    names = [clean(name) for name in names]
    wide = [name for name in names if cell_len(name) > width]
    prefix = _shared(wide) if len(set(wide)) > 1 else ""
    longest = max(wide, key=cell_len, default="")
    cut = 0
    for sign in _JOINTS:  # from the strongest; the first place from which on all fits, or else the last there is
        places = [i + len(sign) for i in range(1, len(prefix)) if prefix.startswith(sign, i)]
        fitting = [place for place in places if cell_len(longest[place:]) < width]
        cut = max([cut, *places])
        if fitting:
            cut = fitting[0]
            break
    return [f"…{name[cut:]}" if cut > 1 and cell_len(name) > width else name for name in names]


def _shared(names: list[str]) -> str:
    """Return the beginning that all names share: that of the first and the last in the alphabet."""
    first, last = min(names), max(names)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


_JOINTS = (", ", "=", " ", "-", "_")


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return text of exactly so many terminal cells."""
    text = clip(text, width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def folded(text: str, width: int) -> list[str]:
    """Return a sentence on lines of at most so many cells, broken between words."""
    found: list[str] = []
    for word in clean(text).split(" "):
        if found and cell_len(found[-1]) + 1 + cell_len(word) <= width:
            found[-1] += f" {word}"
        else:
            found.append(clip(word, width))
    return found


def wrapped(parts: Iterable[str], width: int) -> list[str]:
    """Return parts, separated by commas, on as few lines as hold them."""
    found: list[str] = []
    for part in parts:
        if found and cell_len(found[-1]) + 2 + cell_len(part) <= width:
            found[-1] += f", {part}"
        else:
            if found and cell_len(found[-1]) < width:
                found[-1] += ","
            found.append(clip(part, width))
    return found


def tally(snapshot: Snapshot) -> list[str]:
    """Return how many runs are in which state, and since when, as parts of one sentence."""
    parts = [f"{snapshot.count('settled'):,} of {counted(snapshot.count('runs'), 'run')} settled"]
    for state, word in (
        ("running", "running"),
        ("waiting", "waiting"),
        ("failed", "failed"),
        ("diverged", "diverged"),
        ("paused", "paused"),
        ("stopped", "stopped"),
        ("held", "elsewhere"),
    ):
        if (number := snapshot.count(state)) or state in ("running", "failed"):
            parts.append(f"{number:,} {word}")
    if snapshot.elapsed:
        parts.append(f"{duration(snapshot.elapsed)} so far")
    if snapshot.quiet is not None and snapshot.quiet > _QUIET_S and snapshot.running:
        parts.append(f"no news of any run for {duration(snapshot.quiet)}")
    return parts


def summary(snapshot: Snapshot) -> str:
    """Return the state of all runs in one line."""
    parts = tally(snapshot)
    if snapshot.left is not None and not snapshot.complete:
        parts.append(f"about {duration(snapshot.left)} left")
    return ", ".join(parts)
