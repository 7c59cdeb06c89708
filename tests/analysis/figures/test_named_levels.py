"""Figures label a null level as the study does, and the power figure does not show verdicts with too few pairs."""

from __future__ import annotations

from typing import Any

from synthetic_study import FakeArm

import analysis
from analysis.figures.level_means import of_design
from analysis.figures.levels import with_named_levels
from analysis.figures.power import caption


def sweep(make_study: Any) -> analysis.Results:
    arms = [
        FakeArm(
            f"base[loss={loss},patience={patience}]",
            levels={"training.loss": loss, "training.early_stopping.patience": patience},
            config={
                "training": {
                    "loss": None if loss == "cross_entropy" else {"name": loss},
                    "early_stopping": None if patience == "none" else {"patience": int(patience)},
                }
            },
        )
        for loss in ("cross_entropy", "focal")
        for patience in ("none", "5", "7")
    ]
    return analysis.load(make_study(arms, claim=None, seeds=2))


def test_a_null_level_has_the_name_set_in_the_study(make_study: Any) -> None:
    results = sweep(make_study)
    assert results.runs["loss"].isna().any()
    for runs in (with_named_levels(results, results.runs), of_design(results, results.runs)[0]):
        assert set(runs["loss"]) == {"cross_entropy", "focal"}
        assert (runs.loc[runs["arm"].str.contains("cross"), "loss"] == "cross_entropy").all()


def test_numeric_columns_keep_their_nulls(make_study: Any) -> None:
    results = sweep(make_study)
    numbers = [name for name in results.factors["column"] if name.endswith("patience")]
    assert numbers
    named = with_named_levels(results, results.runs)
    assert named[numbers].isna().any().all()
    assert named[numbers].dtypes.equals(results.runs[numbers].dtypes)


def test_power_is_not_shown_below_the_minimum_number_of_pairs_for_a_verdict() -> None:
    said = caption(0.1, (1.0,), 0.05, 12)
    assert "with 5 pairs for a gain of 1 pp" in said
    assert said.endswith("A verdict needs at least 5 pairs.")
    assert "A verdict needs" not in caption(2.0, (1.0,), 0.05, 12)
