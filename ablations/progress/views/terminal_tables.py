"""Parts of the terminal view: bars, tables and sections, each as lines of a given width.

The done, active, failed and remaining parts of a bar are drawn with different characters, not only in different colors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from ablations.progress.formatting import (
    CAUTION,
    folded,
    pace,
    padded,
    percent,
    wrapped,
)
from ablations.progress.snapshot import ArmSnapshot, FailureSnapshot, RunSnapshot, Snapshot
from ablations.progress.summary import tally
from ablations.spec.durations import duration
from ablations.spec.short_names import clip, shortened
from aimlib.errors import counted

_CAUTIONS = (CAUTION, "accuracies: validation images only", "validation accuracies")


@dataclass(frozen=True)
class Signs:
    """Characters for bars and separators."""

    done: str = "━"
    work: str = "╍"
    failed: str = "×"
    left: str = "─"
    dot: str = "·"


PLAIN = Signs("#", "=", "x", "-", "|")
"""For terminals with an ASCII encoding."""

STYLES = {"done": "green", "work": "yellow", "failed": "red", "left": "bright_black"}


def bar(width: int, total: float, parts: Iterable[tuple[str, float]], signs: Signs) -> Text:
    """Return a bar that is `width` cells wide.

    Parameters
    ----------
    total : amount that fills the bar.
    parts : kind (done, work, failed) and amount of each part, from left to right. A part greater than 0 gets at least
        one cell, and a part fills the bar only if it is the whole amount.
    """
    drawn = Text()
    left = width
    for kind, amount in parts:
        cells = round(width * amount / total) if total else 0
        if amount > 0:
            cells = max(1, cells)
        if amount < total:
            cells = min(cells, width - 1)
        cells = max(0, min(cells, left))
        drawn.append(getattr(signs, kind) * cells, STYLES[kind])
        left -= cells
    return drawn.append(signs.left * left, STYLES["left"])


@dataclass(frozen=True)
class Column:
    """A column of numbers or short words."""

    heading: str
    cells: Sequence[str | Text]
    right: bool = True
    style: str = ""

    @property
    def width(self) -> int:
        """Width in cells."""
        return max(cell_len(self.heading), *(cell_len(str(cell)) for cell in self.cells), 0)


def table(
    heading: str,
    names: list[str],
    columns: list[Column],
    width: int,
    draw: Callable[[int, int], Text],
    ends: list[str] | None = None,
) -> list[Text]:
    """Return a heading and one row per name, with the name, a bar and numbers.

    Name and bar share the remaining width.
    """
    ends = ends or [""] * len(names)
    end = max(map(cell_len, ends), default=0)
    widths = [column.width for column in columns]
    left = width - sum(widths) - 2 * len(columns)
    least = 14 if left >= 36 else 8 if left >= 24 else 4
    room = max(left - least - 2, min(left, end + 3))
    names = shortened(names, room - end)
    name_width = min(room, max([cell_len(heading), *(cell_len(name) + end for name in names)]))
    bar_width = max(0, min(40, left - name_width - 2))
    first = Text(padded(heading, name_width) + " " * (bar_width + 2), style="bold")
    for column, cells in zip(columns, widths, strict=True):
        first.append("  " + padded(column.heading, cells, right=column.right))
    found = [first]
    for i, (name, tail) in enumerate(zip(names, ends, strict=True)):
        row = Text(clip(name, name_width - cell_len(tail)) + tail)
        row.append(" " * (name_width - cell_len(row.plain) + 2))
        row.append_text(draw(i, bar_width))
        for column, cells in zip(columns, widths, strict=True):
            cell = padded(str(column.cells[i]), cells, right=column.right)
            row.append("  " + cell, column.style if column.cells[i] != "–" else "dim")
        found.append(row)
    return found


def head(snapshot: Snapshot, width: int, signs: Signs) -> list[Text]:
    """Return the study's name, the time left, the overall bar, the counts and the alerts."""
    left = ""
    if snapshot.complete:
        left = "complete"
    elif snapshot.left is not None and snapshot.state == "running":
        left = f"about {duration(snapshot.left)} left"
    name_width = max(8, width - cell_len(left) - 2)
    first = Text(padded(snapshot.study, min(name_width, width)), style="bold")
    if left and width >= cell_len(left) + 10:
        first = first + Text("  " + left, style="bold green" if snapshot.complete else "bold")
    share = f" {100 * snapshot.share:.0f} %" if snapshot.share in (0, 1) else f" {_between(snapshot.share)} %"
    done = sum(arm.epochs * arm.settled / arm.runs for arm in snapshot.arms if arm.runs)
    failed = sum(arm.epochs * arm.failed / arm.runs for arm in snapshot.arms if arm.runs)
    work = max(0.0, snapshot.count("epochs_done") - done)
    whole = bar(
        width - cell_len(share), snapshot.count("epochs"), (("done", done), ("work", work), ("failed", failed)), signs
    )
    told = [Text(line, style="bold yellow") for alert in snapshot.alerts for line in folded(alert, width)]
    return [first, whole + Text(share), *(Text(line) for line in wrapped(tally(snapshot), width)), *told]


def _between(share: float) -> str:
    return f"{min(99.9, max(0.1, 100 * share)):.1f}" if share < 0.1 or share > 0.99 else f"{100 * share:.0f}"


def foot(snapshot: Snapshot, width: int) -> list[Text]:
    """Return the resources in use, and the note on validation accuracies."""
    parts = [
        f"{use.used:g} of {use.total:g} {name}s in use" if use.total else f"{use.used:g} {name}s in use"
        for name, use in snapshot.resources.items()
        if use.used or use.total
    ]
    if snapshot.repeated:
        parts.append(f"{counted(snapshot.repeated, 'attempt')} repeated")
    text = ", ".join(parts)
    found = [Text(), *(Text(line, style="dim") for line in (wrapped(parts, width) if text else []))]
    if snapshot.equal_epoch:
        found.append(Text(next((c for c in _CAUTIONS if len(c) <= width), _CAUTIONS[-1][:width]), style="dim"))
    return found if len(found) > 1 else []


def arms(snapshot: Snapshot, rows: int, width: int, signs: Signs) -> list[Text]:
    """Return the rows for the arms; if not all of them fit, return the rows for the most informative arms."""
    every = list(snapshot.arms)
    kept = _most_informative(every, rows - 1) if len(every) > rows else every
    hidden = [arm for arm in every if arm not in kept] if len(kept) < len(every) else []
    numbers = [
        Column("done", [f"{arm.settled}/{arm.runs}" for arm in kept]),
        *(
            Column(heading, [_count(getattr(arm, state)) for arm in kept], style=style)
            for heading, state, style, least in _COUNTS
            if width >= least and any(getattr(arm, state) for arm in every)
        ),
    ]
    if snapshot.equal_epoch and width >= 60:
        heading = f"val. acc., epoch {snapshot.equal_epoch}" if width >= 100 else f"acc. ep. {snapshot.equal_epoch}"
        numbers.append(Column(heading, [percent(arm.accuracy) for arm in kept]))
        if width >= 100:
            numbers.append(Column("of", [_count(arm.accuracy_runs) for arm in kept]))
    if width >= 120 and any(arm.pace for arm in every):
        numbers.append(Column("s/epoch", [pace(arm.pace) for arm in kept]))

    def drawn(arm: ArmSnapshot, cells: int) -> Text:
        each = arm.epochs / arm.runs if arm.runs else 0.0
        done = each * arm.settled
        parts = (("done", done), ("work", max(0.0, arm.epochs_done - done)), ("failed", each * arm.failed))
        return bar(cells, arm.epochs, parts, signs)

    shown = table("arm", [arm.name for arm in kept], numbers, width, lambda i, cells: drawn(kept[i], cells))
    if hidden:
        settled = sum(arm.settled == arm.runs for arm in hidden)
        rest = f"… and {counted(len(hidden), 'arm')} more, {settled} of them complete"
        shown.append(Text(clip(rest, width), style="dim"))
    return shown


_COUNTS = (
    ("run", "running", "yellow", 60),
    ("wait", "waiting", "", 100),
    ("fail", "failed", "red", 44),
    ("div.", "diverged", "", 80),
    ("paused", "paused", "", 100),
    ("stopped", "stopped", "", 100),
    ("elsewhere", "held", "", 100),
)
"""Heading, state, style and minimum terminal width for each count; a count is shown if it is not 0 in at least one
arm."""


def _most_informative(arms: list[ArmSnapshot], rows: int) -> list[ArmSnapshot]:
    """Return `rows` arms in their order, preferring arms with failures, then running arms, then waiting arms."""

    def rank(arm: ArmSnapshot) -> int:
        return 0 if arm.failed else 1 if arm.running else 2 if arm.settled < arm.runs else 3

    chosen = {arm.name for arm in sorted(arms, key=rank)[:rows]}
    return [arm for arm in arms if arm.name in chosen]


def _count(number: int) -> str:
    return str(number) if number else "–"


def runs(runs: Sequence[RunSnapshot], number: int, rows: int, width: int, signs: Signs) -> list[Text]:
    """Return the rows for as many active runs as fit; `number` is the total number of active runs."""
    total = max(number, len(runs))
    kept = runs[: rows if total <= rows else rows - 1]
    numbers = [Column("epochs", [f"{run.epochs_done}/{run.epochs}" for run in kept])]
    if width >= 60:
        numbers.append(Column("val. acc.", [percent(run.accuracy) for run in kept]))
        numbers.append(Column("left", [_left(run) for run in kept]))
    if width >= 100 and any(run.attempts > 1 for run in kept):
        numbers.append(Column("try", [str(run.attempts) for run in kept]))
    if width >= 100:
        numbers.append(Column("last event", [duration(run.heard) for run in kept]))
        numbers.append(Column("where", [clip(run.where, max(12, width // 5)) for run in kept], right=False))
    shown = table(
        "running",
        [run.arm for run in kept],
        numbers,
        width,
        lambda i, cells: bar(cells, kept[i].epochs, (("work", kept[i].epochs_done),), signs),
        [f" {signs.dot} seed {run.seed}" if width >= 60 else f" {signs.dot} {run.seed}" for run in kept],
    )
    if total > len(kept):
        shown.append(Text(clip(f"… and {counted(total - len(kept), 'run')} more", width), style="dim"))
    return shown


def _left(run: RunSnapshot) -> str:
    if run.state == "retrying":
        return "retrying"
    return "–" if run.left is None else duration(run.left)


def failures(failures: Sequence[FailureSnapshot], number: int, rows: int, width: int) -> list[Text]:
    """Return the rows for failed runs, with the reasons; `number` is the total number of failed runs."""
    number = max(number, len(failures))
    shown = [Text(clip(f"{counted(number, 'run')} failed", width), style="bold red")]
    for failure in failures[: rows if number <= rows else rows - 1]:
        names = f"{clip(failure.arm, max(10, width // 3))}, seed {failure.seed}: "[:width]
        reason = failure.reason or "ablate results DIR --where status=failed --columns arm,seed,reason"
        shown.append(Text(names) + Text(clip(reason, max(0, width - cell_len(names))), style="red"))
    if number > rows:
        shown.append(Text(clip(f"… and {counted(number - rows + 1, 'run')} more", width), style="dim"))
    return shown


def messages(snapshot: Snapshot, rows: int, width: int) -> list[Text]:
    """Return the newest messages in chronological order."""
    shown = [Text("messages", style="bold")]
    for message in snapshot.messages[-rows:]:
        at = datetime.fromtimestamp(message.at).astimezone().strftime("%H:%M ")
        shown.append(Text.assemble((at, "dim"), clip(message.text, max(0, width - len(at)))))
    return shown
