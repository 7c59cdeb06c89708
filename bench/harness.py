"""Fair measurements: rivals take turns, medians are taken over rounds and ratios within rounds, and results are stored.

Each module in this folder answers one question. A module has a docstring with four parts, each a paragraph that begins
with ``Question:``, ``Rivals:``, ``Measured:`` or ``Reached:``, and a function ``measure(asked) -> Answer``, which
``main(__doc__, measure)`` turns into a command. The answer is written to ``bench/results/<module>.json``, from which
`bench.summary` generates docs/performance.md and the last two parts of the docstring.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "numpy", "scipy", "matplotlib")


@dataclass(frozen=True)
class Asked:
    """Measurement options.

    Attributes
    ----------
    quick : whether to do only one small round, to test that the measurement works at all.
    device : device to train on, ``cpu`` or ``cuda``.
    """

    quick: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Row:
    """One row in the table of figures.

    Attributes
    ----------
    case : what was measured, e.g. "small_resnet, 64 px, float32".
    subject : which program was measured, e.g. "aim" or "Lightning".
    figure : median over the rounds.
    unit : "ms", "images/s", "MiB", "x" for a ratio, ...
    low, high : minimum and maximum over the rounds.
    rounds : number of rounds.
    """

    case: str
    subject: str
    figure: float
    unit: str
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Goal:
    """A goal and its result.

    Attributes
    ----------
    text : for example, "time of AiM / baseline, small_resnet 64 px float32: at most the ratio of multiply-adds + 0.05".
    reached, limit : the result and the goal.
    sense : "most" if `reached` must be at most `limit`; "least" if it must be at least `limit`.
    why : if the goal is not met, the reason in a sentence or two.
    """

    text: str
    reached: float
    limit: float
    sense: Literal["most", "least"]
    why: str = ""

    @property
    def met(self) -> bool:
        return self.reached <= self.limit if self.sense == "most" else self.reached >= self.limit


@dataclass(frozen=True)
class Answer:
    """The results of a module. `versions` contains the versions of additional relevant packages."""

    rows: Sequence[Row]
    goals: Sequence[Goal]
    notes: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def rounds_of(
    subjects: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1, say: bool = True
) -> dict[str, list[float]]:
    """Call each subject once per round, in an order that rotates from round to round; return the values per subject.

    The first `warm_up` rounds are discarded.
    """
    names = list(subjects)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            value = subjects[name]()
            if number >= warm_up:
                found[name].append(value)
            if say:
                print(f"  round {number + 1 - warm_up:>3} {name}: {value:.6g}", file=sys.stderr, flush=True)
    return found


def timed(call: Callable[[], Any], times: int = 1) -> Callable[[], float]:
    """Return a function that calls `call` `times` times and returns the seconds per call."""

    def run() -> float:
        began = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - began) / times

    return run


def cpu_timed(call: Callable[[], Any]) -> Callable[[], float]:
    """Return a function that calls `call` and returns its CPU seconds, on which other load has little influence."""

    def run() -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return run


def row(case: str, subject: str, values: Sequence[float], unit: str) -> Row:
    """Return the row with the median, minimum and maximum of these rounds."""
    return Row(case, subject, statistics.median(values), unit, min(values), max(values), len(values))


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Return ``of / to`` for each round, because both are slow in a round in which the machine is slow."""
    return [a / b for a, b in zip(of, to, strict=True)]


def wall(command: Sequence[str], **options: Any) -> float:
    """Return the wall-clock seconds that a command takes.

    Raises
    ------
    RuntimeError: the command failed; the message contains the command's output.
    """
    return process(command, **options).wall


@dataclass(frozen=True)
class Spent:
    """Time and memory used by a command.

    Attributes
    ----------
    wall, cpu : seconds; the CPU seconds are the total for all processes of the command.
    peak : peak resident memory of the largest process, in MiB.
    """

    wall: float
    cpu: float
    peak: float


def process(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Spent:
    """Return the time and memory used by a command.

    Raises
    ------
    RuntimeError: the command failed.
    """
    measuring = (
        "import resource, subprocess, sys, time; b = time.perf_counter(); "
        "r = subprocess.run(sys.argv[1:], capture_output=True, text=True); s = time.perf_counter() - b; "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(r.returncode, s, u.ru_utime + u.ru_stime, u.ru_maxrss); "
        "print(r.stdout[-3000:], r.stderr[-3000:], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", measuring, *command],
        capture_output=True,
        text=True,
        env=os.environ | dict(env or {}),
        cwd=cwd,
        check=False,
    )
    if done.returncode:  # the command could not even be started
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    code, seconds, cpu, kib = done.stdout.split()
    if int(code):
        raise RuntimeError(f"{' '.join(command)} exited with {code}:\n{done.stderr}")
    return Spent(float(seconds), float(cpu), float(kib) * (1 if sys.platform == "linux" else 1 / 1024) / 1024)


@contextlib.contextmanager
def peak_resident() -> Iterator[list[float]]:
    """Yield a list with the maximum increase in this process's resident memory so far, in MiB.

    Works only on Linux.
    """
    page = resource.getpagesize()

    def resident() -> float:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * page / 2**20

    gc.collect()
    before, most, over = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], resident() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()
        most[0] = max(most[0], resident() - before)


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return a description of this machine."""
    found: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return platform.processor() or "unknown"


def versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main(docstring: str, measure: Callable[[Asked], Answer]) -> None:
    """Run a measurement as a command: print the table and store the results."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round, whose results are not stored")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device on which networks are trained")
    asked = Asked(**vars(parser.parse_args()))
    # The rivals' packages were compiled when they were installed. With this variable, each process would have to
    # compile this package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    name = Path(sys.argv[0]).stem
    load = os.getloadavg()[0]
    began = time.time()
    answer = measure(asked)
    content = {
        "question": name,
        "when": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "seconds": round(time.time() - began),
        "load_before": round(load, 2),
        "machine": machine(asked.device),
        "versions": versions() | dict(answer.versions),
        "rows": [asdict(found) for found in answer.rows],
        "goals": [asdict(goal) | {"met": goal.met} for goal in answer.goals],
        "notes": list(answer.notes),
    }
    show(answer)
    if not asked.quick:
        RESULTS.mkdir(exist_ok=True)
        target = RESULTS / f"{name}{'' if asked.device == 'cpu' else '.' + asked.device}.json"
        target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def show(answer: Answer) -> None:
    """Print the rows, the goals and the notes."""
    width = max((len(found.case) for found in answer.rows), default=0)
    name = max((len(found.subject) for found in answer.rows), default=0)
    for found in answer.rows:
        spread = f"({found.low:.4g} to {found.high:.4g}, {found.rounds} rounds)"
        print(f"{found.case:<{width}}  {found.subject:<{name}}  {found.figure:>10.4g} {found.unit:<9} {spread}")
    for goal in answer.goals:
        sign = "<=" if goal.sense == "most" else ">="
        print(f"{'met    ' if goal.met else 'NOT MET'} {goal.text}: {goal.reached:.4g} {sign} {goal.limit:.4g}")
        if goal.why:
            print(f"        {goal.why}")
    for note in answer.notes:
        print(f"note: {note}")
