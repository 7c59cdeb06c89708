"""Sections of the terminal view, each as lines of a given width."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from ablations.progress.formatting import clip, duration, folded, pace, padded, percent, wrapped
from ablations.progress.picture import ArmPicture, FailurePicture, Picture, RunPicture
from ablations.progress.sentences import CAUTION, tally
from ablations.progress.views.bars import Signs, bar
from ablations.progress.views.rows import Column, table
from aimlib.errors import counted

_CAUTIONS = (CAUTION, "accuracies: validation images only", "validation accuracies")


def head(picture: Picture, width: int, signs: Signs) -> list[Text]:
    """Return the study's name, the time left, the bar of the whole, the counts, and what is the matter."""
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


def foot(picture: Picture, width: int) -> list[Text]:
    """Return what is in use, and the caution that goes with every accuracy."""
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


def arms(picture: Picture, rows: int, width: int, signs: Signs) -> list[Text]:
    """Return the arms: as many rows as given, those that tell most where that is not all."""
    every = list(picture.arms)
    kept = _most_telling(every, rows - 1) if len(every) > rows else every
    hidden = [arm for arm in every if arm not in kept] if len(kept) < len(every) else []
    numbers = [
        Column("done", [f"{arm.settled}/{arm.runs}" for arm in kept]),
        *(
            Column(heading, [_count(getattr(arm, state)) for arm in kept], style=style)
            for heading, state, style, least in _COUNTS
            if width >= least and any(getattr(arm, state) for arm in every)
        ),
    ]
    if picture.equal_epoch and width >= 60:
        heading = f"val. acc., epoch {picture.equal_epoch}" if width >= 100 else f"acc. ep. {picture.equal_epoch}"
        numbers.append(Column(heading, [percent(arm.accuracy) for arm in kept]))
        if width >= 100:
            numbers.append(Column("of", [_count(arm.accuracy_runs) for arm in kept]))
    if width >= 120 and any(arm.pace for arm in every):
        numbers.append(Column("s/epoch", [pace(arm.pace) for arm in kept]))

    def drawn(arm: ArmPicture, cells: int) -> Text:
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
"""Heading, state, style, and the width from which on a count of an arm is shown, where any arm has it."""


def _most_telling(arms: list[ArmPicture], rows: int) -> list[ArmPicture]:
    """Return so many arms in their order: those with failures, then those at work, then those that wait."""

    def rank(arm: ArmPicture) -> int:
        return 0 if arm.failed else 1 if arm.running else 2 if arm.settled < arm.runs else 3

    chosen = {arm.name for arm in sorted(arms, key=rank)[:rows]}
    return [arm for arm in arms if arm.name in chosen]


def _count(number: int) -> str:
    return str(number) if number else "–"


def runs(runs: Sequence[RunPicture], number: int, rows: int, width: int, signs: Signs) -> list[Text]:
    """Return running runs: as many rows as given; `number` run in all."""
    total = max(number, len(runs))
    kept = runs[: rows if total <= rows else rows - 1]
    numbers = [Column("epochs", [f"{run.epochs_done}/{run.epochs}" for run in kept])]
    if width >= 60:
        numbers.append(Column("val. acc.", [percent(run.accuracy) for run in kept]))
        numbers.append(Column("left", [_left(run) for run in kept]))
    if width >= 100 and any(run.attempts > 1 for run in kept):
        numbers.append(Column("try", [str(run.attempts) for run in kept]))
    if width >= 100:
        numbers.append(Column("last sign", [duration(run.heard) for run in kept]))
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


def _left(run: RunPicture) -> str:
    if run.state == "retrying":
        return "tried again"
    return "–" if run.left is None else duration(run.left)


def failures(failures: Sequence[FailurePicture], number: int, rows: int, width: int) -> list[Text]:
    """Return failed runs with their reasons; `number` failed in all."""
    number = max(number, len(failures))
    shown = [Text(clip(f"{counted(number, 'run')} failed", width), style="bold red")]
    for failure in failures[: rows if number <= rows else rows - 1]:
        names = f"{clip(failure.arm, max(10, width // 3))}, seed {failure.seed}: "[:width]
        reason = failure.reason or "ablate results DIR --where status=failed --columns arm,seed,reason"
        shown.append(Text(names) + Text(clip(reason, max(0, width - cell_len(names))), style="red"))
    if number > rows:
        shown.append(Text(clip(f"… and {counted(number - rows + 1, 'run')} more", width), style="dim"))
    return shown


def messages(picture: Picture, rows: int, width: int) -> list[Text]:
    """Return the newest messages, the newest last."""
    shown = [Text("messages", style="bold")]
    for message in picture.messages[-rows:]:
        at = datetime.fromtimestamp(message.at).astimezone().strftime("%H:%M ")
        shown.append(Text.assemble((at, "dim"), clip(message.text, max(0, width - len(at)))))
    return shown
