"""With random schedules and the store's real code, every history is linearizable, and broken stores are detected."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kinds import record

SCRIPT = Path(__file__).with_name("play_schedules.py")
QUICK, OFTEN, PARTS = 3, 500, 5
"""Number of schedules for each storage in the quick tests and in the slow tests, and number of parts into which the
slow tests are divided."""

KINDS = {
    "process killed",
    "process stopped",
    "clock jumps",
    "storage hangs",
    "storage does not answer",
    "request or answer lost",
    "request arrives late",
}
SHOWN_BY = {
    "overwriting-bucket": ("bucket", "changed", "doubled"),
    "overwriting-directory": ("directory", "changed", "doubled"),
    "unchecked-put": ("bucket", "doubled", "changed"),
    "unfenced": ("bucket", "fenced"),
    "impatient": ("bucket", "two holders", "fenced"),
    "hasty-compaction": ("directory", "vanished", "stale"),
    "segments-first": ("directory", "vanished", "stale"),
    "one-listing": ("directory", "vanished", "stale"),
}
"""For each planted fault: the storage with which the tests find it, and the violations that may appear first."""
AT_ONCE = ("overwriting-directory",)
"""Faults that the first schedule reveals."""


def played(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def problems(found: list[dict[str, Any]]) -> str:
    return "\n".join(f"{each['repeat']}\n  " + "\n  ".join(each["problems"]) for each in found if each["problems"])


@pytest.mark.parametrize("storage", ["bucket", "directory"])
def test_histories_of_processes_are_linearizable(storage: str) -> None:
    found = played(storage, f"0:{QUICK}")
    assert len(found) == QUICK
    assert not problems(found), problems(found)
    operations = sum((Counter(each["operations"]) for each in found), Counter[str]())
    assert min(operations[name] for name in ("settle", "read", "ids", "compact", "take", "save", "restore")) > 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("storage", ["bucket", "directory"])
def test_many_histories_of_processes_are_linearizable(storage: str, part: int) -> None:
    first = QUICK + part * OFTEN // 2 // PARTS
    found = played(storage, f"{first}:{first + OFTEN // 2 // PARTS}")
    assert len(found) == OFTEN // 2 // PARTS
    assert not problems(found), problems(found)
    faults = sum((Counter(each["faults"]) for each in found), Counter[str]())
    assert set(faults) == KINDS - ({"request arrives late"} if storage == "directory" else set())
    for kind, number in faults.items():
        runs = sum(each["runs"] for each in found if kind in each["faults"])
        record(f"history: {kind}", f"{storage} {part + 1}", injected=number, runs=runs, lost=0, doubled=0, wrong=0)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "breakage", [pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.slow) for name in SHOWN_BY]
)
def test_a_broken_store_is_detected_and_its_schedule_can_be_repeated(breakage: str) -> None:
    storage, *kinds = SHOWN_BY[breakage]
    found = played(storage, "0:250", "--break", breakage, "--until-found")
    last = found[-1]
    assert last["problems"], f"not found in {len(found)} schedules"
    assert set(last["kinds"]) & set(kinds), last["problems"]
    script, *arguments = last["repeat"].split()[1:]
    assert Path(script).name == SCRIPT.name
    storage, seed, *rest = arguments
    (again,) = played(storage, f"{seed}:{int(seed) + 1}", *rest)
    assert again["digest"] == last["digest"]
    assert again["problems"] == last["problems"]


def test_a_schedule_is_shown_in_full() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "bucket", "0"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "linearizable"
    assert any('"name": "settle"' in line for line in lines)
