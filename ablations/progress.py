"""How far a study is: a plain state that is told of events, and two ways to show it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablations.planning import Plan, PlannedRun


@dataclass
class RunState:
    """What is known of one run.

    Attributes
    ----------
    state : waiting, running, or how it ended: finished, diverged, failed.
    epochs_done : completed epochs.
    accuracy : validation accuracy of the last completed epoch, fraction; None before, or without validation images.
    seconds : of the epochs completed under our eyes, and their number.
    """

    arm: str
    epochs: int
    state: str = "waiting"
    epochs_done: int = 0
    accuracy: float | None = None
    seconds: list[float] = field(default_factory=list)


class Progress:
    """State of a session: what was settled before, what is running, how long it takes.

    Accuracies shown while a study runs are those on validation images: nobody should watch test accuracies of a
    study whose verdict is still open.
    """

    def __init__(self, plan: Plan, settled: set[str]) -> None:
        self.name = plan.study.spec.name
        self.began = time.monotonic()
        self.runs = {run.run_id: RunState(run.arm, run.config.training.epochs) for run in plan.runs}
        self.before = sum(1 for run in plan.runs if run.run_id in settled)
        for run_id, state in self.runs.items():
            if run_id in settled:
                state.state, state.epochs_done = "finished", state.epochs
        self.arms = [arm.name for arm in plan.arms]
        self.parallel = 1

    def began_run(self, run_id: str) -> None:
        """Take note that a worker has a run."""
        self.runs[run_id].state = "running"

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """Take note of a completed epoch."""
        run = self.runs[run_id]
        run.state, run.epochs_done, run.accuracy = (
            "running",
            int(row["epoch"]),
            row.get("validation_accuracy"),
        )
        run.seconds.append(float(row["seconds"]))

    def ended(self, run_id: str, state: str) -> None:
        """Take note of how a run ended."""
        self.runs[run_id].state = state

    def count(self, *states: str, arm: str | None = None) -> int:
        """Return the number of runs in one of the states, of one arm or of all."""
        return sum(run.state in states and arm in (None, run.arm) for run in self.runs.values())

    def accuracy(self, arm: str) -> float | None:
        """Return the mean validation accuracy of an arm's runs so far, as a fraction; None where there is none yet."""
        values = [run.accuracy for run in self.runs.values() if run.arm == arm and run.accuracy is not None]
        return fmean(values) if values else None

    def seconds_left(self) -> float | None:
        """Return the expected time to the end in seconds, from the speed of each arm so far; None before any speed."""
        speeds = {arm: [s for run in self.runs.values() if run.arm == arm for s in run.seconds] for arm in self.arms}
        known = [s for seconds in speeds.values() for s in seconds]
        if not known:
            return None
        left = sum(
            (run.epochs - run.epochs_done) * fmean(speeds[run.arm] or known)
            for run in self.runs.values()
            if run.state in {"waiting", "running"}
        )
        return left / max(1, self.parallel)


class Sight:
    """Takes events into the state and shows it."""

    def __init__(self, state: Progress, console: Console) -> None:
        self.state, self._console, self._view = state, console, view(state, console)
        self.start, self.stop = self._view.start, self._view.stop

    def began(self, run_id: str, where: str) -> None:
        """A worker has a run."""
        self.state.began_run(run_id)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch is complete."""
        self.state.epoch(run_id, row)
        self._view.update(run_id)

    def ended(self, run_id: str, end: str) -> None:
        """Nothing more happens to a run."""
        self.state.ended(run_id, end)
        self._view.update(run_id)

    def again(self, run_id: str, reason: str, seconds: float) -> None:
        """A run goes on later."""
        self.state.ended(run_id, "waiting")
        self.note(f"{run_id}: {reason}; goes on in {seconds:g} s")

    def died(self, run_id: str, reason: str) -> None:
        """A run is given up."""
        self.ended(run_id, "failed")

    def note(self, text: str) -> None:
        """Say something."""
        self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Nothing to do."""


class View(Protocol):
    """What a session tells while it runs."""

    def start(self) -> None:
        """Begin to show."""

    def update(self, run_id: str) -> None:
        """Show what has changed of a run."""

    def stop(self) -> None:
        """End the show."""


class LiveView:
    """A table that is redrawn in place, for a terminal."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress = progress
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=False)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def update(self, run_id: str) -> None:
        """Nothing to do: the table is redrawn by the clock."""

    def stop(self) -> None:
        """Draw the last state and leave it standing."""
        self._live.stop()

    def _render(self) -> RenderableType:
        return Group(_table(self.progress), Text(summary(self.progress), style="dim"))


class LineView:
    """One line per settled run, for logs and pipes."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress, self._console = progress, console

    def start(self) -> None:
        """Nothing is shown before the first run ends."""

    def update(self, run_id: str) -> None:
        """Print a line when a run has ended."""
        run = self.progress.runs[run_id]
        if run.state in {"finished", "diverged", "failed"}:
            self._console.print(
                f"{run_id} {run.arm}: {run.state}; {summary(self.progress)}", highlight=False, markup=False, emoji=False
            )

    def stop(self) -> None:
        """Nothing is left to show."""


def view(progress: Progress, console: Console) -> View:
    """Return the way of showing that suits the console."""
    return LiveView(progress, console) if console.is_terminal else LineView(progress, console)


def _table(progress: Progress) -> Table:
    table = Table(title=f"study {progress.name}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("arm", overflow="fold")
    for heading in ("done", "running", "failed"):
        table.add_column(heading, justify="right")
    table.add_column("validation accuracy", justify="right")
    table.add_column("epochs", min_width=16)
    for arm in progress.arms:
        runs = [run for run in progress.runs.values() if run.arm == arm]
        accuracy = progress.accuracy(arm)
        done = sum(run.epochs if run.state in {"finished", "diverged"} else run.epochs_done for run in runs)
        table.add_row(
            Text(arm),
            f"{progress.count('finished', 'diverged', arm=arm)}/{len(runs)}",
            str(progress.count("running", arm=arm)),
            str(progress.count("failed", arm=arm)),
            "–" if accuracy is None else f"{accuracy:.1%}",
            ProgressBar(total=sum(run.epochs for run in runs), completed=done, width=16),
        )
    return table


def summary(progress: Progress) -> str:
    """Return the state of all runs in one line."""
    done, running, failed = (
        progress.count("finished", "diverged"),
        progress.count("running"),
        progress.count("failed"),
    )
    left = progress.seconds_left()
    parts = [f"{done}/{len(progress.runs)} runs done", f"{running} running", f"{failed} failed"]
    parts.append(f"{duration(time.monotonic() - progress.began)} so far")
    if left is not None and done + failed < len(progress.runs):
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time span for people: 8 s, 3 min 20 s, 5 h 10 min, 2 d 3 h."""
    whole = round(seconds)
    for unit, inner, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {inner}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def labels(runs: list[PlannedRun]) -> dict[str, str]:
    """Return a name for people of every run: arm and seed."""
    return {run.run_id: f"{run.arm}, seed {run.seed}" for run in runs}
