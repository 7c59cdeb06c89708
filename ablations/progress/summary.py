"""Summary of a study's state in one sentence."""

from __future__ import annotations

from ablations.progress.snapshot import Snapshot
from ablations.spec.durations import duration
from aimlib.errors import counted
from analysis.wording.number_format import significant

_QUIET_S = 180.0
"""Seconds without an event from any run after which the summary mentions that there were none."""


def tally(snapshot: Snapshot) -> list[str]:
    """Return the number of runs in each state and the elapsed time, as parts of a sentence."""
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
    parts += node_time(snapshot.nodes, snapshot.node_seconds)
    if snapshot.quiet is not None and snapshot.quiet > _QUIET_S and snapshot.running:
        parts.append(f"no event from any run for {duration(snapshot.quiet)}")
    return parts


def node_time(nodes: int, seconds: float) -> list[str]:
    """Return the number of nodes and the node-hours; nothing for a study on one machine."""
    hours = [f"{significant(seconds / 3600)} node-hours"] if seconds else []
    return [counted(nodes, "node"), *hours] if nodes > 1 else hours


def summary(snapshot: Snapshot) -> str:
    """Return the state of all runs in one line."""
    parts = tally(snapshot)
    if snapshot.left is not None and not snapshot.complete:
        parts.append(f"about {duration(snapshot.left)} left")
    return ", ".join(parts)
