"""The view on a terminal: as much as fits its width and height, the same for 4 runs and for 4,000."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from ablations.sight.bars import PLAIN, Signs, bar
from ablations.sight.picture import ArmPicture, FailurePicture, Picture, RunPicture
from ablations.sight.words import abbreviated, clean, clip, counted, duration, pace, padded, percent

CAUTION = "accuracies are of validation images; those of test images wait for the verdict"
_CAUTIONS = (CAUTION, "accuracies: validation images only", "validation accuracies")
_QUIET = 180.0
"""Seconds without an event of a run after which that is worth a word."""


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: Sequence[str | Text]
    right: bool = True
    style: str = ""

    @property
    def width(self) -> int:
        return max(cell_len(self.heading), *(cell_len(str(cell)) for cell in self.cells), 0)


class View:
    """A renderable of a picture that fits whatever console it is printed on.

    Parameters
    ----------
    picture : what is shown.
    height : lines; None takes the console's, less one for the cursor.
    """

    def __init__(self, picture: Picture, height: int | None = None) -> None:
        self.picture, self.height = picture, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = self.height or max(3, console.size.height - 1)
        signs = PLAIN if options.ascii_only else Signs()
        text = Text("\n").join(lines(self.picture, options.max_width, height, signs))
        if options.ascii_only:
            plain = text.plain.translate({0x2026: "~", 0x2013: "-", 0xB7: "|"}).encode("ascii", "replace").decode()
            text.plain = plain
        text.no_wrap, text.overflow = True, "crop"
        yield text


class LiveView:
    """A view that is redrawn in place.

    Parameters
    ----------
    look : returns the picture of this moment.
    """

    def __init__(self, look: Callable[[], Picture], console: Console) -> None:
        self._live = Live(get_renderable=lambda: View(look()), console=console, refresh_per_second=2, transient=False)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Draw the last state and leave it standing."""
        self._live.stop()


def lines(picture: Picture, width: int, height: int, signs: Signs) -> list[Text]:
    """Return at most `height` lines of at most `width` cells each."""
    head = _head(picture, width, signs)
    foot = _foot(picture, width)
    room = height - len(head) - len(foot)
    arms, runs = list(picture.arms), list(picture.running)
    shares = _shares(
        room,
        {"failures": len(picture.failures), "messages": len(picture.messages), "runs": len(runs), "arms": len(arms)},
    )
    body: list[Text] = []
    if shares["arms"]:
        body += [Text(), *_arms(picture, shares["arms"], width, signs)]
    if shares["runs"]:
        body += [Text(), *_runs(runs, picture.count("running"), shares["runs"], width, signs)]
    if shares["failures"]:
        body += [Text(), *_failures(picture.failures, picture.count("failed"), shares["failures"], width)]
    if shares["messages"]:
        body += [Text(), *_messages(picture, shares["messages"], width)]
    return [*head, *body, *foot][:height]


def _shares(room: int, wanted: dict[str, int]) -> dict[str, int]:
    """Return how many rows each section gets, without its heading and the empty line above it.

    The first sections are promised little and get it first; what the last ones leave is shared evenly.
    """
    promised = {"failures": 3, "messages": 2, "runs": 4, "arms": 4}
    given = dict.fromkeys(wanted, 0)
    for name in ("arms", "runs", "failures", "messages"):
        rows = min(wanted[name], promised[name], room - 2)
        if rows > 0:
            given[name] = rows
            room -= rows + 2
    while room > 0:
        short = [name for name in ("arms", "runs") if 0 < given[name] < wanted[name]]
        short = short or [name for name in ("failures", "messages") if 0 < given[name] < wanted[name]]
        if not short:
            break
        least = min(short, key=lambda name: given[name])
        given[least] += 1
        room -= 1
    return given


def _head(picture: Picture, width: int, signs: Signs) -> list[Text]:
    left = ""
    if picture.complete:
        left = "complete"
    elif picture.left is not None and picture.state == "running":
        left = f"about {duration(picture.left)} left"
    name_width = max(8, width - cell_len(left) - 2)
    first = Text(padded(picture.study, min(name_width, width)), style="bold")
    if left and width >= cell_len(left) + 10:
        first = first + Text("  " + left, style="bold green" if picture.complete else "bold")
    share = f" {100 * picture.share:.0f} %" if picture.share in (0, 1) else f" {_between(picture.share)} %"
    done = sum(arm.epochs * arm.settled / arm.runs for arm in picture.arms if arm.runs)
    failed = sum(arm.epochs * arm.failed / arm.runs for arm in picture.arms if arm.runs)
    work = max(0.0, picture.count("epochs_done") - done)
    whole = bar(
        width - cell_len(share), picture.count("epochs"), (("done", done), ("work", work), ("failed", failed)), signs
    )
    told = [Text(line, style="bold yellow") for alert in picture.alerts for line in folded(alert, width)]
    return [first, whole + Text(share), *(Text(line) for line in wrapped(tally(picture), width)), *told]


def _between(share: float) -> str:
    return f"{min(99.9, max(0.1, 100 * share)):.1f}" if share < 0.1 or share > 0.99 else f"{100 * share:.0f}"


def tally(picture: Picture) -> list[str]:
    """Return how many runs are in which state, and since when, as parts of one sentence."""
    parts = [f"{picture.count('settled'):,} of {counted(picture.count('runs'), 'run')} settled"]
    for state, word in (
        ("running", "running"),
        ("waiting", "waiting"),
        ("failed", "failed"),
        ("diverged", "diverged"),
        ("paused", "paused"),
        ("stopped", "stopped"),
        ("held", "elsewhere"),
    ):
        if (number := picture.count(state)) or state in ("running", "failed"):
            parts.append(f"{number:,} {word}")
    if picture.elapsed:
        parts.append(f"{duration(picture.elapsed)} so far")
    if picture.quiet is not None and picture.quiet > _QUIET and picture.running:
        parts.append(f"no news of any run for {duration(picture.quiet)}")
    return parts


def summary(picture: Picture) -> str:
    """Return the state of all runs in one line."""
    parts = tally(picture)
    if picture.left is not None and not picture.complete:
        parts.append(f"about {duration(picture.left)} left")
    return ", ".join(parts)


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


def _foot(picture: Picture, width: int) -> list[Text]:
    parts = [
        f"{use.used:g} of {use.total:g} {name}s in use" if use.total else f"{use.used:g} {name}s in use"
        for name, use in picture.resources.items()
        if use.used or use.total
    ]
    if picture.repeated:
        parts.append(f"{counted(picture.repeated, 'attempt')} repeated")
    text = ", ".join(parts)
    found = [Text(), *(Text(line, style="dim") for line in (wrapped(parts, width) if text else []))]
    if picture.equal_epoch:
        found.append(Text(next((c for c in _CAUTIONS if len(c) <= width), _CAUTIONS[-1][:width]), style="dim"))
    return found if len(found) > 1 else []


def _arms(picture: Picture, rows: int, width: int, signs: Signs) -> list[Text]:
    every = list(picture.arms)
    kept = _most_telling(every, rows) if len(every) > rows else every
    hidden = [arm for arm in every if arm not in kept] if len(kept) < len(every) else []
    numbers = [
        _Column("done", [f"{arm.settled}/{arm.runs}" for arm in kept]),
        *(
            _Column(heading, [_count(getattr(arm, state)) for arm in kept], style=style)
            for heading, state, style, least in _COUNTS
            if width >= least and any(getattr(arm, state) for arm in every)
        ),
    ]
    if picture.equal_epoch and width >= 60:
        heading = f"val. acc., epoch {picture.equal_epoch}" if width >= 100 else f"acc. ep. {picture.equal_epoch}"
        numbers.append(_Column(heading, [percent(arm.accuracy) for arm in kept]))
        if width >= 100:
            numbers.append(_Column("of", [_count(arm.accuracy_runs) for arm in kept]))
    if width >= 120 and any(arm.pace for arm in every):
        numbers.append(_Column("s/epoch", [pace(arm.pace) for arm in kept]))

    def drawn(arm: ArmPicture, cells: int) -> Text:
        each = arm.epochs / arm.runs if arm.runs else 0.0
        done = each * arm.settled
        parts = (("done", done), ("work", max(0.0, arm.epochs_done - done)), ("failed", each * arm.failed))
        return bar(cells, arm.epochs, parts, signs)

    shown = _table("arm", [arm.name for arm in kept], numbers, width, lambda i, cells: drawn(kept[i], cells))
    if hidden:
        settled = sum(arm.settled == arm.runs for arm in hidden)
        rest = f"… and {counted(len(hidden), 'arm')} more, {settled} of them complete"
        shown[-1] = Text(clip(rest, width), style="dim")
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
"""Heading, state, style, and the width from which on a count of an arm is shown, where any arm has it."""


def _most_telling(arms: list[ArmPicture], rows: int) -> list[ArmPicture]:
    """Return so many arms in their order: those with failures, then those at work, then those that wait."""

    def rank(arm: ArmPicture) -> int:
        return 0 if arm.failed else 1 if arm.running else 2 if arm.settled < arm.runs else 3

    chosen = {arm.name for arm in sorted(arms, key=rank)[:rows]}
    return [arm for arm in arms if arm.name in chosen]


def _count(number: int) -> str:
    return str(number) if number else "–"


def _runs(runs: list[RunPicture], number: int, rows: int, width: int, signs: Signs) -> list[Text]:
    cut = len(runs) > rows
    kept = runs[:rows]
    numbers = [_Column("epochs", [f"{run.epochs_done}/{run.epochs}" for run in kept])]
    if width >= 60:
        numbers.append(_Column("val. acc.", [percent(run.accuracy) for run in kept]))
        numbers.append(_Column("left", [_left(run) for run in kept]))
    if width >= 100 and any(run.attempts > 1 for run in kept):
        numbers.append(_Column("try", [str(run.attempts) for run in kept]))
    if width >= 100:
        numbers.append(_Column("last sign", [duration(run.heard) for run in kept]))
        numbers.append(_Column("where", [clip(run.where, max(12, width // 5)) for run in kept], right=False))
    shown = _table(
        "running",
        [run.arm for run in kept],
        numbers,
        width,
        lambda i, cells: bar(cells, kept[i].epochs, (("work", kept[i].epochs_done),), signs),
        [f" {signs.dot} seed {run.seed}" if width >= 60 else f" {signs.dot} {run.seed}" for run in kept],
    )
    if cut:
        shown[-1] = Text(clip(f"… and {counted(max(number, len(runs)) - rows + 1, 'run')} more", width), style="dim")
    return shown


def _left(run: RunPicture) -> str:
    if run.state == "again":
        return "tried again"
    return "–" if run.left is None else duration(run.left)


def _failures(failures: Sequence[FailurePicture], number: int, rows: int, width: int) -> list[Text]:
    number = max(number, len(failures))
    shown = [Text(clip(f"{counted(number, 'run')} failed", width), style="bold red")]
    for failure in failures[: rows if number <= rows else rows - 1]:
        names = f"{clip(failure.arm, max(10, width // 3))}, seed {failure.seed}: "[:width]
        reason = failure.reason or "ablate results DIR --where status=failed --columns arm,seed,reason"
        shown.append(Text(names) + Text(clip(reason, max(0, width - cell_len(names))), style="red"))
    if number > rows:
        shown.append(Text(clip(f"… and {counted(number - rows + 1, 'run')} more", width), style="dim"))
    return shown


def _messages(picture: Picture, rows: int, width: int) -> list[Text]:
    shown = [Text("messages", style="bold")]
    for message in picture.messages[-rows:]:
        at = datetime.fromtimestamp(message.at).astimezone().strftime("%H:%M ")
        shown.append(Text(at, style="dim") + Text(clip(message.text, max(0, width - len(at)))))
    return shown


def _table(
    heading: str,
    names: list[str],
    columns: list[_Column],
    width: int,
    draw: Callable[[int, int], Text],
    ends: list[str] | None = None,
) -> list[Text]:
    """Return a heading and a row per name: name, bar, numbers. Name and bar share what the numbers leave."""
    ends = ends or [""] * len(names)
    end = max(map(cell_len, ends), default=0)
    widths = [column.width for column in columns]
    left = width - sum(widths) - 2 * len(columns)
    longest = max([cell_len(heading), *(cell_len(name) + end for name in names)])
    least = 8 if left >= 24 else 4
    name_width = max(min(longest, left - least - 2, max(left // 2, left - 42)), min(left, end + 3))
    bar_width = max(0, min(40, left - name_width - 2))
    first = Text(padded(heading, name_width) + " " * (bar_width + 2), style="bold")
    for column, cells in zip(columns, widths, strict=True):
        first.append("  " + padded(column.heading, cells, right=column.right))
    found = [first]
    names = abbreviated(names, name_width - end)
    for i, (name, tail) in enumerate(zip(names, ends, strict=True)):
        row = Text(clip(name, name_width - cell_len(tail)) + tail)
        row.append(" " * (name_width - cell_len(row.plain) + 2))
        row.append_text(draw(i, bar_width))
        for column, cells in zip(columns, widths, strict=True):
            cell = padded(str(column.cells[i]), cells, right=column.right)
            row.append("  " + cell, column.style if column.cells[i] != "–" else "dim")
        found.append(row)
    return found
