"""Output of `ablate run`: the outcome of a session and the trials of a screening."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ablations.commands.console_tables import MOST_ROWS, Table, show
from aimlib.errors import counted

if TYPE_CHECKING:
    from ablations.sessions.result import SessionResult
    from ablations.sessions.screening import Trial


def session(result: SessionResult, console: Console) -> None:
    """Print the outcome of a session, and how to continue if runs are missing."""
    reused = f"{result.reused} reused, " if result.reused else ""
    console.print(
        f"{counted(result.planned, 'run')}: {result.computed} computed now, {reused}{result.settled_before} settled "
        f"before, {len(result.failed)} failed, {len(result.open)} open",
        highlight=False,
    )
    if result.failed:
        console.print(
            Text(
                "to retry failed runs, run the same command again; for the reasons: ablate results "
                f"{result.directory} --where status=failed --columns arm,seed,reason"
            )
        )
    for arm_reason, count in Counter(result.withheld.values()).items():
        console.print(Text(f"not started: {counted(count, 'run')} of an arm that failed twice with {arm_reason}"))
    if result.budget is not None:
        console.print(Text(result.budget.text))
    if result.cut_off:
        console.print("interrupted; to resume the study, run the same command again")


def trials(found: Iterable[Trial], console: Console, *, wide: bool = False) -> None:
    """Print the trials of a screening, best first, and how many configurations could not be built."""
    found = list(found)
    states = Counter(trial.outcome.state for trial in found if not trial.buildable)
    said = [f"{states['unbuildable']} cannot be built"] if states["unbuildable"] else []
    if outside := states["infeasible"]:
        said.append(f"{outside} {'violates' if outside == 1 else 'violate'} a constraint")
    if said:
        untrained = "these were" if sum(states.values()) > 1 else "it was"
        drawn = counted(len(found), "sampled configuration")
        console.print(f"Of {drawn}, {' and '.join(said)}; {untrained} not trained.")
    found = [trial for trial in found if trial.buildable]
    ranked = sorted(found, key=lambda trial: (trial.value is None, -(trial.value or 0.0), trial.number))
    rows = [
        (
            trial.name,
            f"{100 * trial.value:.2f} %" if trial.value is not None else trial.reason,
            ", ".join(f"{name.removeprefix('model.')}={_drawn(value)}" for name, value in trial.drawn.items()),
        )
        for trial in ranked
    ]
    headings = ("Trial", "Validation accuracy", "Drawn configurations")
    table = Table(headings, rows, fixed=headings[:1], prose=headings[1:])
    show(table, console, wide=wide, most=MOST_ROWS, what="trial")


def _drawn(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
