"""Two runs with identical results and different seeds: a copied seed, unless their deciding streams have one seed."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aimlib.records import run_schema
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
