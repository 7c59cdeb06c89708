"""How much memory does the driver of a large session take, and does it grow?

Question: How many MiB are resident in the process of `ablations.run` while it has 10,000 runs computed through Ray?

Rivals: Ray Tune with reused actors, which keeps every trial and its last result, on a fifth as many trials.

Measured: not yet.

Reached: nothing yet.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Answer, Asked, Goal, Row, main, row

INTERVAL_S = 0.5


def measure(asked: Asked) -> Answer:
    """Launch both, one after the other, and read their resident memory from outside."""
    count = 80 if asked.quick else 10_000
    ours = _watched("bench.rivals.launch_own", "ray", count)
    fewer = count // 5
    theirs = _watched("bench.rivals.launch", "tune-reuse", fewer)
    rows: list[Row] = []
    for name, number, samples in (("ours, with ledger", count, ours), ("Ray Tune, reused actors", fewer, theirs)):
        for text, begin, end in (("first tenth", 0.0, 0.1), ("sixth tenth", 0.5, 0.6), ("last tenth", 0.9, 1.0)):
            values = [size for done, size in samples if begin * number <= done <= end * number]
            rows.append(row(f"{number:,} runs", f"{name}: {text}", values or [samples[-1][1]], "MiB"))
        rows.append(row(f"{number:,} runs", f"{name}: peak", [max(size for _, size in samples)], "MiB"))
    early = [size for done, size in ours if 0.1 * count <= done <= 0.2 * count]
    late = [size for done, size in ours if done >= 0.9 * count]
    growth = row("", "", late or [ours[-1][1]], "MiB").figure - row("", "", early or [ours[0][1]], "MiB").figure
    goals = [
        Goal(f"peak of the driver with {count:,} runs, MiB", max(size for _, size in ours), 600, "most"),
        Goal(f"growth from the second tenth of {count:,} runs to the last, MiB", growth, 30, "most"),
    ]
    return Answer(rows, goals, [_HOW])


_HOW = (
    "Resident memory, shared libraries and Ray's shared memory included, read twice a second from the start of the "
    "first run until the process ends. All runs are open from the beginning: planned, with their tasks, none settled."
)


def _watched(module: str, who: str, count: int) -> list[tuple[int, float]]:
    """Return how many runs had begun and the driver's resident MiB, from the first run on."""
    found: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "began", Path(folder) / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", module, who, str(count), str(file)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        began = 0
        while process.poll() is None:
            time.sleep(INTERVAL_S)
            with contextlib.suppress(FileNotFoundError):
                began = file.read_bytes().count(b"\n")
            with contextlib.suppress(OSError, StopIteration):
                if began:
                    found.append((began, _resident(process.pid)))
        if process.returncode or began != count:
            raise RuntimeError(f"{who}: {began} of {count} runs began:\n{log.read_text(errors='replace')[-3000:]}")
    return found


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main(__doc__, measure)
