"""Two runs with identical results and different seeds reveal a copied seed, unless their streams have the same seed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aimlib.records import run_schema
from analysis.findings.contradicted import by_arm, sentences
from analysis.reading.consistency import Consistency

ALL = {"split": 7, "init": 7, "order": 7, "augmentation": 7}


@pytest.mark.parametrize(
    ("streams", "named"),
    [
        (({}, {}), True),
        ((ALL, ALL), False),
        ((ALL, {**ALL, "order": 8}), True),
        (({**ALL, "augmentation": None}, {**ALL, "augmentation": None}), True),
        ((ALL, {}), True),
    ],
)
def test_only_runs_that_draw_everything_from_the_same_seeds_may_be_identical(
    make_study: Any, streams: tuple[dict[str, int | None], dict[str, int | None]], named: bool
) -> None:
    (path,) = (make_study(seeds=2) / "segments").glob("*.parquet")
    first = next(row for row in pq.read_table(path).to_pylist() if row["seed"] == 0)
    second = {**first, "run_id": "f" * 20, "seed": 1}
    for row, own in zip((first, second), streams, strict=True):
        row["config"] = json.dumps({"seed": row["seed"], "training": {"streams": own or None}})
    consistency = Consistency()
    consistency.add(pa.Table.from_pylist([first, second], schema=run_schema()))
    found = [str(each) for each in consistency.contradictions() if "to the last bit" in str(each)]
    assert bool(found) is named, found


@pytest.mark.parametrize("own", [True, False])
def test_training_code_that_ignores_the_seed_is_distinguished_from_copied_rows(make_study: Any, own: bool) -> None:
    (path,) = (make_study(seeds=2) / "segments").glob("*.parquet")
    first = next(row for row in pq.read_table(path).to_pylist() if row["seed"] == 0)
    second = {**first, "run_id": "f" * 20, "seed": 1}
    for row in (first, second):
        row["config"] = json.dumps(
            {"seed": row["seed"], "training": {}, **({"train": {"name": "mine"}} if own else {})}
        )
    consistency = Consistency()
    consistency.add(pa.Table.from_pylist([first, second], schema=run_schema()))
    found = [each for each in consistency.contradictions() if "to the last bit" in str(each)]
    (said,) = sentences(found)
    assert ("Runs with different seeds are identical, so they are not independent" in said) is own
    assert ("derive random numbers from `run.seed`" in said) is own
    assert ("restore their files from a copy" in said) is not own
    runs = pd.DataFrame({"run_id": [each["run_id"] for each in (first, second)], "arm": ["mine"] * 2})
    reason = by_arm(found, SimpleNamespace(runs=runs))["mine"]  # type: ignore[arg-type]
    assert reason.startswith(
        "runs do not depend on the seed: run " if own else "stored rows contradict themselves: run "
    )
