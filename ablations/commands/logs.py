"""`ablate logs`: show what a run wrote, and what happened to it. In Python: `ablations.logs`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory

if TYPE_CHECKING:
    from ablations.store.run_logs import RunLog
    from aimlib.paths import Place


def command(
    directory: Directory,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run id or its beginning, or ARM/SEED.", show_default=False)
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Also show new output until the run has a result.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two updates.")] = 2.0,
) -> None:
    """Show the log of a run: its output, warnings and tracebacks, its attempts, and where the run was computed."""
    found = logs(directory, run)
    typer.echo("\n".join(lines(found)))
    if follow:
        try:
            for line in following(directory, found, interval):
                typer.echo(line)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def logs(directory: str | Place, run: str, *, follow: bool = False, interval: float = 2.0) -> RunLog:
    """Return the log of a run; `print` shows it.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    run : run id, the beginning of a run id, or ``ARM/SEED``.
    follow : print the log and all new lines until the run has a result or no process is computing the study any longer;
        then return the entire log.
    interval : seconds between two updates.

    Raises
    ------
    UsageError: `run` does not match any run, or matches more than one; the message lists the choices.
    StoreError: this is not a study directory, or a file is corrupt.
    """
    from ablations.store.run_logs import find, read
    from aimlib.paths import place

    found = read(place(directory), find(place(directory), run))
    if not follow:
        return found
    for line in itertools.chain(lines(found), following(directory, found, interval)):
        print(line)
    return read(place(directory), found.run)


def lines(log: RunLog) -> Iterator[str]:
    """Yield the lines to print; they contain no terminal control characters."""
    yield f"run {log.run.run_id}: {_safe(log.run.arm)}/{log.run.seed}, {log.state}"
    for each in log.entries:
        yield from each.lines(_safe)
    if not any(each.kind in ("stdout", "stderr") for each in log.entries):
        yield (
            "no output is stored, because the run wrote nothing or was computed by an earlier version of this package"
        )


def following(directory: str | Place, log: RunLog, interval: float) -> Iterator[str]:
    """Yield lines that are added to a log, until the run is settled or no session is computing the study any longer."""
    from ablations.store.run_logs import Activity, read
    from aimlib.paths import place

    where, shown, quiet = place(directory), set(log.entries), 0
    activity = Activity(where)
    settled = log.settled
    while not settled and quiet < 2:
        settled = log.settled  # read the log once more, because a worker writes its last lines after the row
        time.sleep(interval)
        log = read(where, log.run)
        for each in log.entries:
            if each not in shown:
                shown.add(each)
                yield from each.lines(_safe)
        quiet = 0 if activity.goes_on() else quiet + 1
    if not log.settled:
        yield f"run {log.run.run_id}: {log.state}; no session is computing this study at the moment"


def _safe(text: str) -> str:
    from aimlib.records.escaping import printable

    return printable(text).replace("\t", "    ")
