"""The kinds of faults that the tests inject, stated beforehand, and the record of their counts.

A test calls `record` with the kind and its counts. The records of the slow tests are in ``tests/data/faults.json``, and
``python tests/faults/table.py`` writes the table of docs/reliability.md from them. Kinds whose tests were not run again
keep their counts, with the date and the commit of that run.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "data" / "faults.json"
TO_FILE = "AIM_FAULTS_RESULTS"
"""Environment variable with the file for the records. Without it, nothing is recorded."""

COUNTS = ("injected", "runs", "lost", "doubled", "wrong")
"""The number of faults, the number of runs in the studies with faults, and how many of these runs were lost, have two
rows, or have different numbers than without the fault."""

KINDS: dict[str, str] = {
    # processes
    "driver killed": "driver killed with -9",
    "worker killed": "worker killed with -9",
    "driver stopped": "driver stopped for 30 s (SIGSTOP, SIGCONT)",
    "machine sleeps": "driver, its Ray and its workers stopped for 30 s, as when a laptop sleeps",
    "driver terminated": "SIGTERM to the driver",
    "two more drivers": "two more drivers on the same study",
    "64 drivers": "64 drivers on one study at the same time",
    "10,000 runs": "none: 10,000 runs in one session",
    # nodes
    "node lost": "node lost, and another one joining",
    "raylet terminated": "SIGTERM to the raylet of a node",
    "node terminated": "SIGTERM to a node started by `ray start --block`",
    "node killed at a commit": "node killed with -9 while its run commits",
    "head restarted": "head restarted",
    "head away": "head away for longer than Ray lets a driver live",
    # storage
    "storage full": "storage full to the last byte for 20 s",
    "storage slow": "storage slow: 0.3 s more for every synchronization and link",
    "clock wrong": "clock of one driver and its workers two days ahead, and a day back",
    "disk: no space": "writes that fail at random with ENOSPC",
    "disk: write error": "writes that fail at random with EIO",
    "disk: short transfers": "reads and writes of fewer bytes than requested",
    "disk: synchronization error": "synchronization that fails at random with EIO",
    "disk: link error": "links that fail at random with EIO, or succeed and report EIO",
    "disk: rename error": "renames that fail at random with EIO, or succeed and report EIO",
    "disk: removal error": "removals that fail at random with EIO",
    "disk: read error": "reads that fail once with EIO",
    "disk: open error": "files that cannot be opened at random (EIO, ESTALE)",
    "disk: slow": "reads, writes and synchronization that take up to 50 ms longer",
    # histories
    "history: process killed": "histories: process killed",
    "history: process stopped": "histories: process stopped, for longer than a lease lasts or shorter",
    "history: clock jumps": "histories: wall clock jumps by an hour to two days",
    "history: storage hangs": "histories: requests of a process hang",
    "history: storage does not answer": "histories: requests of a process fail",
    "history: request or answer lost": "histories: a request, or its answer, is lost",
    "history: request arrives late": "histories: a request arrives after its client has given up",
    "history: real process killed": "histories of real processes: killed with -9",
    "history: real process stopped": "histories of real processes: stopped, for longer than a lease lasts or shorter",
}
"""Text in the table by kind. Variants of a kind count once."""


def record(kind: str, variant: str = "", *, injected: int, runs: int, lost: int, doubled: int, wrong: int) -> None:
    """Record the counts of a kind of fault, or of one of its variants, in place of earlier ones."""
    assert kind in KINDS, f"{kind!r} is not in the list of kinds"
    if not (path := os.environ.get(TO_FILE)):
        return
    counts = {"injected": injected, "runs": runs, "lost": lost, "doubled": doubled, "wrong": wrong}
    found = read(Path(path))
    found.setdefault(kind, {})[variant] = {**counts, "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": _commit()}
    ordered = {each: dict(sorted(found[each].items())) for each in KINDS if each in found}
    Path(path).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def read(path: Path = RESULTS) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the records by kind and variant."""
    content: dict[str, dict[str, dict[str, Any]]] = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    )
    return content


def _commit() -> str:
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
