"""The kinds of faults that the tests inject, fixed in advance, and the record of their counts.

A test calls `record` with a kind and its counts. The slow tests' records are in ``tests/data/faults.json``, from which
``python tests/faults/table.py`` generates the table in docs/reliability.md. Kinds whose tests are not rerun keep their
counts, with the date and commit of the last run.
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
"""Environment variable that contains the file for the records. Without it, counts are not recorded."""

COUNTS = ("injected", "runs", "lost", "doubled", "wrong")
"""The counts for a kind: faults; runs in the studies with faults; and, among these runs, those that were lost, that
have two rows, and whose results differ from the fault-free results."""

KINDS: dict[str, str] = {
    # processes
    "driver killed": "driver killed with `kill -9`",
    "worker killed": "worker killed with `kill -9`",
    "driver stopped": "driver stopped for 30 s (SIGSTOP, SIGCONT)",
    "machine sleeps": "driver, Ray and workers stopped for 30 s, as when a laptop sleeps",
    "driver terminated": "SIGTERM to the driver",
    "two more drivers": "two more drivers on the same study",
    "64 drivers": "64 drivers on one study at the same time",
    "10,000 runs": "none: 10,000 runs in one session",
    # nodes
    "node lost": "node lost, and a new node joining",
    "raylet terminated": "SIGTERM to a node's raylet",
    "node terminated": "SIGTERM to a node started by `ray start --block`",
    "node killed at a commit": "node killed with `kill -9` while its run is committing",
    "head restarted": "head restarted",
    "head away": "head away for longer than Ray keeps a driver alive",
    # storage
    "storage full": "storage completely full for 20 s",
    "storage slow": "storage slow: every synchronization and link takes 0.3 s longer",
    "clock wrong": "clocks of one driver and its workers two days ahead, and one day behind",
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
    "history: process stopped": "histories: process stopped, for longer or shorter than a lease lasts",
    "history: clock jumps": "histories: wall clock jumps by an hour to two days",
    "history: storage hangs": "histories: a process's requests hang",
    "history: storage does not answer": "histories: a process's requests fail",
    "history: request or answer lost": "histories: a request, or its answer, is lost",
    "history: request arrives late": "histories: a request arrives after its client has given up",
    "history: real process killed": "histories of real processes: killed with `kill -9`",
    "history: real process stopped": "histories of real processes: stopped, for longer or shorter than a lease lasts",
}
"""Text in the table for each kind. Variants of a kind share one row."""


def record(kind: str, variant: str = "", *, injected: int, runs: int, lost: int, doubled: int, wrong: int) -> None:
    """Record the counts for a kind of fault, or for one of its variants, in place of earlier counts."""
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
