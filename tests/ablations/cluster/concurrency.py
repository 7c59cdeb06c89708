"""How many runs were computed at the same time, according to their rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tiny_study import rows


def most_at_once(*directories: Path) -> int:
    """Return the largest number of runs that were trained at the same time in all of these studies together."""
    changes = []
    for row in (row for directory in directories for row in rows(directory)):
        changes += [(row["started_at"], 1), (row["started_at"] + timedelta(seconds=row["seconds"]), -1)]
    at_once = most = 0
    for _, change in sorted(changes):
        at_once += change
        most = max(most, at_once)
    return most
