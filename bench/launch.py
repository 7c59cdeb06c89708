"""What does the launcher cost?

Question: How long does it take until the first run starts, and what does each of 100 runs that do nothing cost?

Rivals: Ray Tune with a function trainable on two CPUs, without output, with and without its JSON logger, with and
    without reused actors, and with and without torch imported in the trial (as in ours); Optuna in its own process;
    joblib with two processes (loky); Hydra's basic sweeper. Ours: `ablations.run` on the demo's arms, both on Ray and
    inline, with locks, provenance and one row per run on the local disk. Its executor alone is also measured, on Ray.
    `the disk alone` is joblib writing the files that such a run synchronizes, two files and a folder: no ledger that
    survives a power failure costs less. The first thing that a run does is append the time to a file. ABLATOR is not
    included. Its version 0.0.1b3 requires Python 3.10 and Ray 2.7. With these versions, the example in its README was
    tried by hand on this machine with 4, 8 and 8 trials. It ended after 2, 2 and 0 trials with exit code 0, because
    ABLATOR starts no trials on a node that is over 80 % busy and ends when nothing is running.

Measured: 2026-11-28, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 1 to 3 rounds, 187 s in all.

Reached: NOT MET: cost per run, with ledger / the better form of Ray Tune with its JSON logger: 1.89 (≤ 1.3); NOT MET:
    start of the first run, with ledger / Ray Tune and torch: 1.35 (≤ 1); NOT MET: whole process, with ledger / Ray
    Tune and torch: 1.43 (≤ 1.1); NOT MET: CPU seconds of that, with ledger / Ray Tune and torch: 2.12 (≤ 1.1); cost
    per run, scheduling only / the better form of Ray Tune: 0.953 (≤ 1.1); overhead on 100 runs of 60 s on two
    workers, start included, %: 0.259 (≤ 2).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import Answer, Asked, Goal, main, process, ratios, rounds_of, row

LONG = 60.0
"""Duration of a run, in seconds, for which the relative overhead is computed."""
FEW = 8
"""Number of runs for variants that start one process per run."""


def measure(asked: Asked) -> Answer:
    """Launch entire processes, which take turns."""
    count, rounds = (8, 1) if asked.quick else (100, 7)
    few = 2 if asked.quick else FEW
    own, rival = "bench.rivals.launch_own", "bench.rivals.launch"
    often = {
        "ours, Ray, with ledger": _launched(own, "ray", count),
        "ours, Ray, scheduling only": _launched(own, "scheduling", count),
        "ours, inline, with ledger": _launched(own, "inline", count),
        "Ray Tune, reused actors": _launched(rival, "tune-reuse", count),
        "Ray Tune, reused actors, torch": _launched(rival, "tune-reuse-torch", count),
        "Ray Tune, reused actors, JSON": _launched(rival, "tune-json", count),
        "Ray Tune, reused actors, torch, JSON": _launched(rival, "tune-json-torch", count),
        "Optuna": _launched(rival, "optuna", count),
        "joblib": _launched(rival, "joblib", count),
        "the disk alone": _launched(rival, "disk", count),
    }
    once = {
        "Hydra": _launched(rival, "hydra", count),
        f"Ray Tune, new actors, {few} runs": _launched(rival, "tune", few),
        f"Ray Tune, new actors, torch, {few} runs": _launched(rival, "tune-torch", few),
    }
    starts, costs, wholes, spent = _turns(often, rounds)
    for found, more in zip((starts, costs, wholes, spent), _turns(once, 1), strict=True):
        found.update(more)
    rows = [row("start of the first run", name, values, "s") for name, values in starts.items()]
    rows += [row("per run", name, values, "ms") for name, values in costs.items()]
    rows += [row(f"whole process, {count} runs", name, values, "s") for name, values in wholes.items()]
    rows += [row(f"CPU seconds of all processes, {count} runs", name, values, "s") for name, values in spent.items()]
    return Answer(rows, _goals(starts, costs, wholes, spent), [_MODEL])


_MODEL = (
    "Start: from the start of the process until the first run executes its own code. Per run: from there until "
    "the last run executes its own code, divided by the number of runs in between. Two runs proceed at the same "
    "time, except inline and with Optuna and Hydra. The overhead on runs of 60 s is derived: on two workers, 100 "
    "of them take 50 times 60 s; added to this are the start and 100 times the cost per run."
)


def _launched(module: str, who: str, count: int) -> Callable[[], tuple[float, float, float, float]]:
    def launch() -> tuple[float, float, float, float]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "began"
            began = time.time()
            whole = process([sys.executable, "-m", module, who, str(count), str(file)])
            times = sorted(float(line) for line in file.read_text(encoding="ascii").split())
        if len(times) != count:
            raise RuntimeError(f"{who}: {len(times)} of {count} runs started")
        return times[0] - began, 1000 * (times[-1] - times[0]) / (count - 1), whole.wall, whole.cpu

    return launch


def _turns(
    subjects: dict[str, Callable[[], tuple[float, float, float, float]]], rounds: int
) -> tuple[dict[str, list[float]], ...]:
    """Return the start-up time, the cost per trial, and the total wall and CPU seconds per subject, round by round."""
    found: tuple[dict[str, list[float]], ...] = tuple({name: [] for name in subjects} for _ in range(4))

    def once(name: str) -> Callable[[], float]:
        def call() -> float:
            values = subjects[name]()
            for kept, value in zip(found, values, strict=True):
                kept[name].append(value)
            return values[2]

        return call

    rounds_of({name: once(name) for name in subjects}, rounds, warm_up=0)
    return found


def _goals(
    starts: dict[str, list[float]],
    costs: dict[str, list[float]],
    wholes: dict[str, list[float]],
    spent: dict[str, list[float]],
) -> list[Goal]:
    ours, scheduling, torch = "ours, Ray, with ledger", "ours, Ray, scheduling only", "Ray Tune, reused actors, torch"
    plain, logged = _better(costs, "Ray Tune, reused actors{}"), _better(costs, "Ray Tune, reused actors{}, JSON")
    why = _whys(costs)
    of_tune, json = "the better form of Ray Tune", "with its JSON logger"
    compared = [
        (f"cost per run, with ledger / {of_tune} {json}", costs[ours], logged, 1.3, why["with ledger"]),
        ("start of the first run, with ledger / Ray Tune and torch", starts[ours], starts[torch], 1.0, _PLANNED),
        ("whole process, with ledger / Ray Tune and torch", wholes[ours], wholes[torch], 1.1, _PLANNED),
        ("CPU seconds of that, with ledger / Ray Tune and torch", spent[ours], spent[torch], 1.1, _PLANNED),
        (f"cost per run, scheduling only / {of_tune}", costs[scheduling], plain, 1.1, why["scheduling only"]),
    ]
    goals = []
    for text, of, to, limit, reason in compared:
        ratio = row("", "", ratios(of, to), "×").figure
        goals.append(Goal(text, ratio, limit, "most", "" if ratio <= limit else reason))
    shares = [
        100 * (start + 100 * cost / 1000) / (50 * LONG) for start, cost in zip(starts[ours], costs[ours], strict=True)
    ]
    share = row("", "", shares, "%").figure
    goals.append(Goal("overhead on 100 runs of 60 s on two workers, start included, %", share, 2.0, "most"))
    return goals


_PLANNED = (
    "Every arm is built, and its multiply-adds and activations are counted, before anything starts. For this, the "
    "driver imports torch, and torch imports its compiler. The driver also freezes the analysis plan, which requires "
    "scipy. Tune's driver does not import any of these. `bench.driver_memory` shows how much each step takes."
)


def _better(costs: dict[str, list[float]], name: str) -> list[float]:
    """Return Ray Tune's cost per run for each round: the lower of its costs with and without torch."""
    return [min(pair) for pair in zip(costs[name.format("")], costs[name.format(", torch")], strict=True)]


def _whys(costs: dict[str, list[float]]) -> dict[str, str]:
    """Return why goals are not met, for each of our launched variants."""
    names = ("the disk alone", "ours, inline, with ledger", "ours, Ray, scheduling only", "ours, Ray, with ledger")
    disk, inline, scheduling, whole = (row("", "", costs[name], "ms").figure for name in names)
    return {
        "scheduling only": "Trials that end immediately end before a second worker is available: Tune gives the first "
        "worker the trials that are waiting for the second, and one process computes all 100 (counted once). Plain "
        "Tune knows all trials beforehand and starts its workers together. Both workers are used if a trial lasts "
        "longer than the start of a worker, about 1 s.",
        "with ledger": "A trial is claimed, saved and committed, and it reports its start, its epoch and its end; "
        f"plain Tune stores nothing. Of {whole:.1f} ms, the way to a worker and back takes {scheduling:.1f} ms. What "
        f"is stored takes {inline:.1f} ms in one process (the row of ours inline); the disk, used by two processes, "
        f"accounts for {disk:.1f} ms of this (the row of the disk alone).",
    }


if __name__ == "__main__":
    main(__doc__, measure)
