"""How quickly is a query on 10,000 stored runs answered?

Question: How many CPU seconds do `analysis.load`, a selection by factor, and the commands take for a study with 10,000
    runs?

Rivals: pandas, reading the same runs and epochs from two prepared Parquet files. This is a lower bound for `load`,
    which also verifies the rows, compares them with the plan and adds the factors as columns. `import pandas` as a
    whole process is the lower bound for the commands, and the unit, because it also takes longer on a busy machine. The
    study has 500 arms × 20 seeds × 50 epochs with predictions; see `bench.large_study`.

Measured: 2026-11-28, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 5 rounds, 33 s in all.

Reached: CPU seconds of `analysis.load` of 10,000 runs × 50 epochs: 0.238 (≤ 1.2); CPU seconds of `where` and
    `groupby` on them: 0.00561 (≤ 0.1); CPU seconds of `ablate status` on them: 1.97 (≤ 2); CPU seconds of `ablate
    results` on them: 0.586 (≤ 2).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import large_study
from bench.check import ABLATE
from bench.harness import Answer, Asked, Goal, cpu_timed, main, process, ratios, rounds_of, row

LOAD, SELECT, PANDAS = "analysis.load, epochs and factors included", "where + groupby", "pandas, two ready files"
IMPORT = "import pandas"
LIMITS = {"ablate status": 2.0, "ablate results": 2.0}


def measure(asked: Asked) -> Answer:
    """Call the functions in turn in this process, then the commands in turn in separate processes."""
    runs, rounds = (80, 1) if asked.quick else (10_000, 5)
    with tempfile.TemporaryDirectory(prefix="results-") as name:
        folder = Path(name)
        study = large_study.write(folder / "study", runs)
        called = rounds_of(_calls(study, folder), rounds)
        commands = rounds_of(_commands(study), 1 if asked.quick else 5)
    case = f"{runs:,} runs"
    rows = [row(f"{case}, in one process", each, values, "s") for each, values in called.items()]
    rows.append(row(f"{case}, in one process", "load / pandas", ratios(called[LOAD], called[PANDAS]), "×"))
    rows += [row(f"{case}, whole process", each, values, "s") for each, values in commands.items()]
    rows += [
        row(f"{case}, in units of {IMPORT}", each, ratios(values, commands[IMPORT]), "×")
        for each, values in commands.items()
        if each != IMPORT
    ]
    goals = [
        Goal(f"CPU seconds of `analysis.load` of {case} × 50 epochs", _median(called[LOAD]), 1.2, "most"),
        Goal("CPU seconds of `where` and `groupby` on them", _median(called[SELECT]), 0.1, "most"),
    ]
    for each, limit in LIMITS.items():
        reached = _median(commands[each])
        goals.append(Goal(f"CPU seconds of `{each}` on them", reached, limit, "most", _WHY if reached > limit else ""))
    return Answer(rows, goals, [_HOW])


def _median(values: list[float]) -> float:
    return row("", "", values, "s").figure


_WHY = (
    "Most of the time is spent on imports: pandas, pyarrow, `scipy.special` for the intervals of the verdict, "
    "pydantic and rich."
)
_HOW = "CPU seconds of all threads and processes."


def _calls(study: Path, folder: Path) -> dict[str, Callable[[], float]]:
    import pandas as pd

    import analysis

    ready = list(large_study.ready(study, folder))
    results = analysis.load(study)

    def select() -> None:
        chosen = results.where("placement == 'stage_only' and seed < 10")
        chosen.groupby("update", observed=True)["test_accuracy"].mean()

    return {
        LOAD: cpu_timed(lambda: analysis.load(study)),
        SELECT: cpu_timed(select),
        PANDAS: cpu_timed(lambda: [pd.read_parquet(path) for path in ready]),
    }


def _commands(study: Path) -> dict[str, Callable[[], float]]:
    by = ["results", str(study), "--by", "placement", "--stat", "mean,ci,n"]
    return {
        IMPORT: _cpu([sys.executable, "-c", "import pandas"]),
        "ablate status": _cpu([*ABLATE, "status", str(study)]),
        "ablate results": _cpu([*ABLATE, "results", str(study)]),
        "ablate results --by placement": _cpu([*ABLATE, *by]),
    }


def _cpu(command: list[str]) -> Callable[[], float]:
    return lambda: process(command).cpu


if __name__ == "__main__":
    main(__doc__, measure)
