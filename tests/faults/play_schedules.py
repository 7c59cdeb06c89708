"""Executes random schedules with the store's real code, and checks the resulting histories.

    python tests/faults/play_schedules.py bucket 17               the history for one seed, and its contradictions
    python tests/faults/play_schedules.py directory 0:500         a line of JSON for each of many seeds
    python tests/faults/play_schedules.py bucket 17 --break NAME  the same with a deliberately broken store

The order of sets depends on the process's hash seed, so the hash seed is fixed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "tests" / "ablations")]

from histories.breakages import BREAKAGES  # noqa: E402
from histories.schedules import Outcome, play  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("storage", choices=["bucket", "directory"])
    parser.add_argument("seeds", help="a seed, or a range such as 0:500")
    parser.add_argument("--break", dest="broken", choices=sorted(BREAKAGES), help="a fault planted in the store")
    parser.add_argument("--until-found", action="store_true", help="stop at the first schedule that shows a problem")
    given = parser.parse_args()
    first, _, end = given.seeds.partition(":")
    with BREAKAGES[given.broken]() if given.broken else contextlib.nullcontext():
        for seed in range(int(first), int(end)) if end else [int(first)]:
            found = play(given.storage, seed)
            print(json.dumps(summary(given.storage, found, given.broken)) if end else whole(found), flush=True)
            if given.until_found and found.problems:
                break


def summary(storage: str, found: Outcome, broken: str | None) -> dict[str, object]:
    """Return the values that the tests compare, and the command that repeats the schedule."""
    command = f"python tests/faults/play_schedules.py {storage} {found.seed}" + (f" --break {broken}" if broken else "")
    names: dict[str, int] = {}
    for operation in found.history.operations:
        names[operation.name] = names.get(operation.name, 0) + 1
    return {
        "seed": found.seed,
        "problems": found.problems,
        "kinds": [violation.kind for violation in found.violations],
        "faults": found.history.faults,
        "runs": len(found.history.runs()),
        "operations": names,
        "digest": hashlib.sha256("\n".join(found.lines).encode()).hexdigest()[:16],
        "repeat": command,
    }


def whole(found: Outcome) -> str:
    """Return a history and its contradictions as readable text."""
    lines = [f"{number:6d} {line}" for number, line in enumerate(found.lines)]
    return "\n".join([*lines, "", *(found.problems or ["linearizable"])])


main()
