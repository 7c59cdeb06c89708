"""What does a report cost, and how does the cost grow with the study?

Question: How many seconds and how much memory does the whole process of a report take for 100, 1,000 and 10,000 runs of
    50 epochs, with predictions for 1,708 test images?

Rivals: pandas, which only reads the same runs and epochs (no predictions) from two prepared Parquet files. This is a
    lower bound for any program that reads them. A report loads the results, computes the verdict, and writes HTML,
    Markdown, figures as SVG and PNG, and tables as CSV, LaTeX and JSON. The study is a factorial design around `aim`
    with 20 paired seeds and therefore has 5, 50 and 500 arms; see `bench.large_study`. Its files are in the system's
    cache. Time and memory are measured for whole processes, including imports. The parts are timed inside the same
    processes. With 50 and 500 arms, figures show at most 16 arms, and the page has a ranking and effects instead of all
    comparisons.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 3 rounds, 222 s in all.

Reached: time of a report on 10,000 runs in units of 1,000 runs: 2.15 (≤ 12); seconds of a report on 10,000 runs: 40.5
    (≤ 60); peak memory of a report on 10,000 runs, MiB: 902 (≤ 2,048).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

from bench.harness import Answer, Asked, Goal, Row, main, ratios, rounds_of, row

SIZES, QUICK = (100, 1_000, 10_000), (80, 160, 320)
PARTS = ("imports", "load", "verdict", "figures", "tables", "page")
_REPORT = "import sys; from bench.reports import report_of; report_of(sys.argv[1], sys.argv[2])"
_PANDAS = Path(__file__).parent / "rivals" / "pandas_reads.py"


def resident() -> float:
    """Return the peak resident memory of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def size_of(folder: Path) -> float:
    """Return the total size of all files in a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def report_of(directory: str, out: str) -> None:
    """Write a report as `analysis.report` does, then print the seconds of each part as JSON, and the peak memory."""
    spent: dict[str, float] = defaultdict(float)
    with _clock(spent, "imports"):
        import analysis
        from analysis.report import content, rendering

    within = {
        "figures": [(content, "drawn_figures"), (rendering, "arranged"), (rendering, "svg"), (rendering, "png")],
        "tables": [(content, "text_tables"), (content, "table_frames")],
    }
    with _clock(spent, "load"):
        results = analysis.load(directory)
    with _clock(spent, "verdict"):
        findings = analysis.examine(results)
    patches = [
        mock.patch.object(module, name, _clocked(getattr(module, name), spent, part))
        for part, places in within.items()
        for module, name in places
    ]
    with _clock(spent, "page"):
        for patch in patches:
            patch.start()
        rendering.write(findings, Path(out))
        mock.patch.stopall()
    spent["page"] -= spent["figures"] + spent["tables"]
    print(json.dumps(spent), resident())


@contextmanager
def _clock(spent: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent[part] += time.perf_counter() - began


def _clocked(call: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    @wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with _clock(spent, part):
            return call(*args, **kwargs)

    return timed


def measure(asked: Asked) -> Answer:
    """Measure entire processes for every study size, in turn."""
    from bench import large_study  # imports the code to be measured

    sizes, rounds = (QUICK, 1) if asked.quick else (SIZES, 3)
    peaks: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[dict[str, float]]] = defaultdict(list)

    def process(name: str, *command: str) -> float:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{name} exited with {done.returncode}:\n{done.stderr[-3000:]}")
        spent, _, peak = done.stdout.splitlines()[-1].rpartition(" ")
        peaks[name].append(float(peak))
        parts[name].append(json.loads(spent))
        return seconds

    with tempfile.TemporaryDirectory(prefix="reports-") as folder:
        subjects: dict[str, Callable[[], float]] = {}
        for runs in sizes:
            study = large_study.write(Path(folder) / str(runs), runs)
            ready = [str(path) for path in large_study.ready(study, study)]
            name = f"analysis, {runs:,} runs"
            subjects[name] = partial(process, name, "-c", _REPORT, str(study), str(study / "report"))
            name = f"pandas, {runs:,} runs"
            subjects[name] = partial(process, name, str(_PANDAS), *ready)
        seconds = rounds_of(subjects, rounds, warm_up=0)
        written = {runs: size_of(Path(folder) / str(runs) / "report") for runs in sizes}
    rows = [found for runs in sizes for found in _rows(runs, seconds, peaks, parts)]
    rows += [row(f"{runs:,} runs", "analysis, report", [written[runs]], "MB") for runs in sizes]
    small, large = (seconds[f"analysis, {runs:,} runs"] for runs in sizes[1:])
    growth = row(f"{sizes[2]:,} runs in units of {sizes[1]:,}", "analysis, report", ratios(large, small), "×")
    most = max(peaks[f"analysis, {sizes[2]:,} runs"])
    limit = 1.2 * sizes[2] / sizes[1]
    goals = [
        Goal(f"time of a report on {sizes[2]:,} runs in units of {sizes[1]:,} runs", growth.figure, limit, "most"),
        Goal(f"seconds of a report on {sizes[2]:,} runs", row("", "", large, "s").figure, 40, "most"),
        Goal(f"size of a report on {sizes[2]:,} runs, MB", written[sizes[2]], 15, "most"),
        Goal(f"peak memory of a report on {sizes[2]:,} runs, MiB", most, 2048, "most"),
    ]
    return Answer([*rows, growth], goals)


def _rows(
    runs: int,
    seconds: dict[str, list[float]],
    peaks: dict[str, list[float]],
    parts: dict[str, list[dict[str, float]]],
) -> Iterator[Row]:
    case, ours, theirs = f"{runs:,} runs", f"analysis, {runs:,} runs", f"pandas, {runs:,} runs"
    yield row(case, "analysis, report", seconds[ours], "s")
    for part in PARTS:
        yield row(case, f"  of it {part}", [spent[part] for spent in parts[ours]], "s")
    yield row(case, "pandas, reads alone", seconds[theirs], "s")
    yield row(case, "analysis, report", peaks[ours], "MiB")
    yield row(case, "pandas, reads alone", peaks[theirs], "MiB")


if __name__ == "__main__":
    main(__doc__, measure)
