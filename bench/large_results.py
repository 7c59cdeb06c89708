"""How soon is a question about 10,000 stored runs answered?

Question: How many seconds do `analysis.load`, a selection by factor and the commands on a study of 10,000 runs take?

Rivals: pandas, which reads the same runs and epochs from two ready Parquet files: a lower bound for `load`, which also
    verifies the rows, compares them with the plan and adds the factors as columns. `import pandas` as a whole process
    is the lower bound of the commands. Two studies: 500 arms × 20 seeds × 50 epochs with predictions, see
    `bench.large_study`; and the demo, 4 arms × 2,500 seeds × 15 epochs, whose rows were settled through the store.

Measured: not yet.

Reached: nothing yet.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import large_study
from bench.check import ABLATE
from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row, timed, wall
from bench.resume import finished_study

LOAD, SELECT, PANDAS = "analysis.load, epochs and factors included", "where + groupby", "pandas, two ready files"
LIMITS = {"ablate status": 2.0, "ablate results": 2.0}


def measure(asked: Asked) -> Answer:
    """Call the functions in turn in this process, then the commands in turn as processes of their own."""
    runs, rounds = (80, 1) if asked.quick else (10_000, 7)
    with tempfile.TemporaryDirectory(prefix="results-") as name:
        folder = Path(name)
        study = large_study.write(folder / "study", runs)
        called = rounds_of(_calls(study, folder), rounds)
        commands = rounds_of(_commands(study), 1 if asked.quick else 5)
        demo = folder / "demo"
        finished_study(demo, runs)
        stored = rounds_of(_on_stored_rows(demo), 1 if asked.quick else 5, warm_up=0)
    case = f"{runs:,} runs"
    rows = [row(f"{case}, in one process", each, values, "s") for each, values in called.items()]
    rows.append(row(f"{case}, in one process", "load / pandas", ratios(called[LOAD], called[PANDAS]), "×"))
    rows += [row(f"{case}, whole process", each, values, "s") for each, values in commands.items()]
    rows += [row(f"{case} of 4 arms, whole process", each, values, "s") for each, values in stored.items()]
    goals = [
        Goal(f"seconds of `analysis.load` of {case} × 50 epochs", row("", "", called[LOAD], "s").figure, 1.2, "most"),
        Goal("seconds of `where` and `groupby` on them", row("", "", called[SELECT], "s").figure, 0.1, "most"),
    ]
    for each, limit in LIMITS.items():
        goals.append(Goal(f"seconds of `{each}` on them", row("", "", commands[each], "s").figure, limit, "most"))
    return Answer(rows, goals, [_HOW])


_HOW = (
    "`ablate verify` reads every file whole, and is measured on the demo, whose rows have checksums; no goal was set."
)


def _calls(study: Path, folder: Path) -> dict[str, Callable[[], float]]:
    import pandas as pd

    import analysis

    ready = list(large_study.ready(study, folder))
    results = analysis.load(study)

    def select() -> None:
        chosen = results.where("placement == 'stage_only' and seed < 10")
        chosen.groupby("update", observed=True)["test_accuracy"].mean()

    return {
        LOAD: timed(lambda: analysis.load(study)),
        SELECT: timed(select),
        PANDAS: timed(lambda: [pd.read_parquet(path) for path in ready]),
    }


def _commands(study: Path) -> dict[str, Callable[[], float]]:
    by = ["results", str(study), "--by", "placement", "--stat", "mean,ci,n"]
    return {
        "import pandas": partial(wall, [sys.executable, "-c", "import pandas"]),
        "ablate status": partial(wall, [*ABLATE, "status", str(study)]),
        "ablate results": partial(wall, [*ABLATE, "results", str(study)]),
        "ablate results --by placement": partial(wall, [*ABLATE, *by]),
    }


def _on_stored_rows(demo: Path) -> dict[str, Callable[[], float]]:
    return {"ablate verify": partial(wall, [*ABLATE, "verify", str(demo)])}


if __name__ == "__main__":
    main(__doc__, measure)
