"""Runs copied from other studies: their effect on the verdict, and where a report lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from aimlib.records import write_table
from analysis.report import cautions, provenance

FROZEN = pd.Timestamp("2024-05-01T11:59:30+00:00")


def copied(directory: Path, arms: set[str], started_at: pd.Timestamp | None, seeds: set[int] | None = None) -> Path:
    """Mark the rows of arms as copied from another study that began them at the given time (None: as stored)."""
    (path,) = (directory / "segments").iterdir()
    table = pq.ParquetFile(path).read()
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        if row["arm"] in arms and (seeds is None or row["seed"] in seeds):
            row["reused_from"] = "first@0123456789ab"
            row["started_at"] = started_at or row["started_at"]
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return directory


def texts(found: analysis.Findings) -> list[str]:
    return [each.text for each in cautions.cautions(found)]


def test_results_that_are_older_than_the_freeze_make_comparisons_of_their_arms_exploratory(make_study: Any) -> None:
    directory = copied(make_study(seeds=6), {"matched"}, FROZEN - pd.Timedelta(days=1))
    found = analysis.examine(analysis.load(directory))
    text = "6 runs of other studies began before the freeze, so their results may have been known"
    assert found.exploratory("aim", "matched") == (text,)
    assert found.exploratory("aim", "baseline") == (), "all results of these two arms are newer than the plan"
    assert "Exploratory" not in found.headline
    assert f"Exploratory: {text}." in found.causal, "it rests on all gates"
    assert f"Exploratory: comparisons that involve matched, because {text}." in texts(found)


@pytest.mark.parametrize("arm", ["aim", "baseline"])
def test_the_verdict_is_exploratory_if_results_of_one_of_its_arms_existed_before_the_freeze(
    arm: str, make_study: Any
) -> None:
    directory = copied(make_study(seeds=6), {arm}, FROZEN - pd.Timedelta(days=1), seeds={3})
    headline = analysis.examine(analysis.load(directory)).headline
    assert headline.endswith(
        "Exploratory: 1 run of other studies began before the freeze, so their results may have been known."
    )


@pytest.mark.parametrize(("after", "deviations"), [(-1, 1), (0, 0), (1, 0)])
def test_no_tolerance_is_applied_to_times_from_other_studies(after: int, deviations: int, make_study: Any) -> None:
    directory = copied(make_study(seeds=6), {"aim"}, FROZEN + pd.Timedelta(seconds=after))
    assert len(analysis.examine(analysis.load(directory)).deviations) == deviations


def test_results_of_unknown_age_count_as_known_before_the_freeze(make_study: Any) -> None:
    directory = copied(make_study(seeds=6), {"aim"}, FROZEN)
    (path,) = (directory / "segments").iterdir()
    table = pq.ParquetFile(path).read()
    rows = [row | {"started_at": None if row["arm"] == "aim" else row["started_at"]} for row in table.to_pylist()]
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    assert len(analysis.examine(analysis.load(directory)).deviations) == 1


def test_later_results_from_other_studies_count_in_seed_order(make_study: Any) -> None:
    own = make_study(seeds=8, looks=[5, 8])
    before = analysis.examine(analysis.load(own))
    after = analysis.examine(analysis.load(copied(own, {"aim", "matched"}, None)))
    assert after.deviations == ()
    assert after.headline == before.headline
    pd.testing.assert_frame_equal(after.primary.pairs, before.primary.pairs)  # type: ignore[union-attr]


def test_test_accuracies_of_reused_runs_stay_hidden_until_the_look(make_study: Any) -> None:
    from analysis.statistics.blinding import looks_reached, verdict_is_due

    missing = {("aim", seed): "missing" for seed in range(3, 6)}
    directory = copied(make_study(seeds=6, status=missing), {"baseline"}, FROZEN - pd.Timedelta(days=1))
    results = analysis.load(directory)
    assert looks_reached(results.plan, results.runs) == ()
    assert not verdict_is_due(results.plan, results.runs)


def test_the_report_states_the_origin_of_reused_runs(make_study: Any) -> None:
    plain = analysis.examine(analysis.load(make_study(seeds=6)))
    assert not any("other studies" in each for each in texts(plain))
    assert "Copied from other studies" not in dict(provenance.provenance(plain))
    found = analysis.examine(analysis.load(copied(make_study(seeds=6), {"aim"}, None)))
    assert "6 of 24 runs were computed by other studies (first@0123456789ab)." in texts(found)
    assert dict(provenance.provenance(found))["Copied from other studies"] == ("first@0123456789ab (6 runs)",)
