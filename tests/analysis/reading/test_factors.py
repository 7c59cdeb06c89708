"""Options in which arms differ become typed columns with unique names."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.plan import Arm
from analysis.reading import factors

MEMORY = {"name": "conv_ones", "channels": 8, "rows": 2}


def config(batch_size=20, patience=3, memory=None, placement=None, **training):
    return {
        "model": {
            "backbone": {"name": "small_resnet", "widths": [4, 8], "channels": 3},
            "memory": memory,
            "placement": placement and {"name": placement},
            "update": None,
        },
        "data": {"name": "digits", "train_images": 200},
        "training": {
            "batch_size": batch_size,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "schedule": {"name": "plateau", "patience": 5},
            "early_stopping": {"patience": patience},
            "selection": {"name": "best_validation"},
            **training,
        },
        "seed": 0,
    }


def changed(base, path, value):
    document = json.loads(json.dumps(base))
    *parents, last = path.split(".")
    node = document
    for parent in parents:
        node = node[parent]
    node[last] = value
    return document


def among(*configs, levels=None):
    arms = {f"arm{i}": Arm(f"arm{i}", "other", None, each, (levels or {}).get(i, {})) for i, each in enumerate(configs)}
    return {factor.column: factor for factor in factors.of_arms(arms)}


def test_an_option_is_named_by_the_last_part_of_its_path_if_that_is_unambiguous():
    found = among(config(batch_size=20), config(batch_size=50))
    assert list(found) == ["batch_size"]
    assert found["batch_size"].option == "training.batch_size"
    assert found["batch_size"].type == "integer"
    assert dict(found["batch_size"].values) == {"arm0": 20, "arm1": 50}


def test_a_last_part_that_two_options_share_is_preceded_by_its_parent_even_if_only_one_option_varies():
    assert list(among(config(patience=3), config(patience=4))) == ["early_stopping.patience"]
    assert list(among(config(memory=MEMORY), config(memory={**MEMORY, "channels": 16}))) == ["memory.channels"]


@pytest.mark.parametrize(
    ("path", "value", "column"),
    [
        ("training.optimizer.learning_rate", 0.01, "optimizer.learning_rate"),
        ("data.train_images", 100, "data.train_images"),
        ("training.selection.name", "last_epoch", "training.selection"),
    ],
)
def test_factors_never_have_the_name_of_a_stored_column(path, value, column):
    assert list(among(config(), changed(config(), path, value))) == [column]


def test_a_component_is_identified_by_its_name_and_is_null_in_arms_without_the_component():
    found = among(
        config(), config(memory=MEMORY, placement="every_layer"), config(memory=MEMORY, placement="stage_only")
    )
    assert list(found) == ["memory", "placement"]
    assert dict(found["placement"].values) == {"arm0": None, "arm1": "every_layer", "arm2": "stage_only"}


def test_options_of_a_part_that_only_some_arms_have_are_factors_only_if_they_differ_among_those_arms():
    found = among(config(), config(memory=MEMORY), config(memory={**MEMORY, "channels": 16}))
    assert list(found) == ["memory", "memory.channels"]
    assert dict(found["memory.channels"].values) == {"arm0": None, "arm1": 8, "arm2": 16}


def test_a_part_that_is_not_a_component_becomes_true_or_false():
    found = among(config(), changed(config(), "training.early_stopping", None))
    assert dict(found["early_stopping"].values) == {"arm0": True, "arm1": False}
    assert found["early_stopping"].type == "boolean"


def test_one_and_true_are_different_values():
    assert list(among(config(option=1), config(option=True))) == ["option"]
    assert dict(among(config(option=1), config(option=None))["option"].values) == {"arm0": 1, "arm1": None}


@pytest.mark.parametrize(
    ("values", "kind", "typed"),
    [
        ((1, 2), "integer", (1, 2)),
        ((1, 2.5), "number", (1.0, 2.5)),
        ((True, False), "boolean", (True, False)),
        (("a", "b"), "text", ("a", "b")),
        (("a", 1), "text", ("a", "1")),
        ((True, 2), "text", ("true", "2")),
        (([1, 2], [1]), "text", ("[1,2]", "[1]")),
        ((2**70, 1), "text", (str(2**70), "1")),
        ((None, 3), "integer", (None, 3)),
        ((10**400, 0.5), "text", (str(10**400), "0.5")),
        (("\ud800", "a"), "text", ("\ufffd", "a")),
    ],
)
def test_column_types_follow_the_values(values, kind, typed):
    factor = among(*(config(option=value) for value in values))["option"]
    assert factor.type == kind
    assert tuple(factor.values.values()) == typed
    assert [type(value) for value in factor.values.values()] == [type(value) for value in typed]


def test_a_component_whose_name_has_a_different_type_is_shown_as_text():
    found = among(config(schedule={"name": {"a": 1}}), config(schedule={"name": None}))
    assert dict(found["schedule"].values) == {"arm0": '{"a": 1}', "arm1": "null"}


def test_an_option_that_older_studies_do_not_know_is_not_a_factor():
    assert not among(config(), config(new_option=3))


def test_a_labeled_factor_and_an_option_of_the_same_name_are_separate_columns():
    arms = [config(memory=MEMORY), config(), config(batch_size=50)]
    found = among(*arms, levels={0: {"memory": "with", "recipe": "ours"}, 1: {"memory": "without", "recipe": "theirs"}})
    assert list(found) == ["memory", "batch_size", "factor.memory", "recipe"]
    assert dict(found["recipe"].values) == {"arm0": "ours", "arm1": "theirs", "arm2": None}


def test_a_factor_of_the_study_that_is_also_an_option_is_one_column():
    arms = [config(memory=MEMORY, placement="every_layer"), config(memory=MEMORY, placement="stage_only")]
    by_path = {0: {"model.placement": "every_layer"}, 1: {"model.placement": "stage_only"}}
    by_name = {0: {"placement": "every_layer"}, 1: {"placement": "stage_only"}}
    assert list(among(*arms, levels=by_path)) == ["placement"]
    assert list(among(*arms, levels=by_name)) == ["placement"]


words = st.sampled_from(["a", "b", "c", "status", "seed", "name2"])
leaves = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, "x", "y"]), st.just([1]))
trees = st.recursive(leaves, lambda inner: st.dictionaries(words, inner, min_size=1, max_size=3), max_leaves=8)


@given(st.lists(st.dictionaries(words, trees, max_size=4), min_size=1, max_size=5))
def test_differing_options_distinguish_arms_under_unique_names(configs):
    arms = {str(i): Arm(str(i), "other", None, each) for i, each in enumerate(configs)}
    found = factors.of_arms(arms)
    names = [factor.column for factor in found]
    assert len(set(names)) == len(names)
    assert all(
        name not in factors.STORED or "." not in factor.option for name, factor in zip(names, found, strict=True)
    )
    for factor in found:
        assert factor.option.endswith(factor.column)
        assert set(factor.values) == set(arms)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    arms = [
        FakeArm("baseline", "baseline", config=config()),
        FakeArm("aim", "aim", config=config(memory=MEMORY, placement="every_layer"), of="baseline"),
        FakeArm(
            "big", "other", config=config(memory={**MEMORY, "channels": 16}, placement="stage_only", batch_size=50)
        ),
    ]
    directory = tmp_path_factory.mktemp("factors") / "study"
    directory.mkdir()
    return write_study(directory, FakeStudy(arms, [0, 1, 2], status={("big", 1): "missing"}), np.random.default_rng(1))


def test_runs_and_epochs_contain_the_factors_of_their_arms(study):
    results = analysis.load(study)
    assert list(results.factors["column"]) == ["memory", "memory.channels", "placement", "batch_size"]
    assert list(results.factors["levels"]) == [1, 2, 2, 2]
    types = {"memory": "str", "placement": "str", "memory.channels": "Int64", "batch_size": "Int64"}
    by_arm = {arm.name: arm for arm in results.plan.arms}
    for frame in (results.runs, results.epochs):
        assert dict(frame.dtypes[list(types)].astype(str)) == types
        assert frame["memory.channels"].isna().equals(frame["arm"] == "baseline")
        sizes = [by_arm[name].config["training"]["batch_size"] for name in frame["arm"]]
        assert list(frame["batch_size"]) == sizes


def test_a_study_without_rows_has_all_columns(tmp_path):
    arms = [FakeArm("a", config=config()), FakeArm("b", config=config(batch_size=50))]
    everything = {(arm, 0): "missing" for arm in ("a", "b")}
    directory = write_study(tmp_path, FakeStudy(arms, [0], status=everything), np.random.default_rng(0))
    results = analysis.load(directory)
    assert results.runs.empty
    assert results.runs["batch_size"].dtype == "Int64"
    assert results.epochs["batch_size"].dtype == "Int64"


def test_three_lines_of_pandas_answer_the_question(study):
    runs = analysis.load(study).runs
    means = runs.groupby("memory.channels")["test_accuracy"].mean()
    assert list(means.index) == [8, 16]
    aim = runs.loc[runs["arm"] == "aim", "test_accuracy"].mean()
    assert means[8] == pytest.approx(aim)


def test_parquet_and_csv_keep_the_factors(study, tmp_path):
    runs = analysis.load(study).runs
    runs.to_parquet(tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet").astype(runs.dtypes), runs)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    assert list(pd.read_csv(tmp_path / "runs.csv")["batch_size"]) == list(runs["batch_size"])


def test_duckdb_reads_the_parquet_file(study, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    runs = analysis.load(study).runs
    runs.to_parquet(tmp_path / "runs.parquet")
    query = f"""SELECT "memory.channels" AS channels, avg(test_accuracy) AS mean, count(*) AS n
                FROM '{tmp_path / "runs.parquet"}' WHERE batch_size >= 20 GROUP BY 1 ORDER BY 1 NULLS FIRST"""
    rows = duckdb.sql(query).fetchall()
    assert [(row[0], row[2]) for row in rows] == [(None, 3), (8, 3), (16, 2)]
    assert rows[1][1] == pytest.approx(runs.loc[runs["arm"] == "aim", "test_accuracy"].mean())
    stored = duckdb.sql(f"SELECT arm, count(*) FROM '{study}/segments/*.parquet' GROUP BY arm ORDER BY arm").fetchall()
    assert stored == [("aim", 3), ("baseline", 3), ("big", 2)]


def test_polars_reads_the_parquet_file(study, tmp_path):
    polars = pytest.importorskip("polars")
    analysis.load(study).runs.to_parquet(tmp_path / "runs.parquet")
    frame = polars.read_parquet(tmp_path / "runs.parquet")
    assert frame.schema["batch_size"] == polars.Int64
    assert frame.filter(polars.col("placement") == "stage_only").height == 2
    assert polars.read_parquet(f"{study}/segments/*.parquet").height == 8


def test_several_studies_together_contain_each_run_once_and_all_factors(study, tmp_path):
    arms = [
        FakeArm("baseline", "baseline", config=config()),
        FakeArm("other", "other", config=config(batch_size=100, patience=9)),
    ]
    second = write_study(tmp_path, FakeStudy(arms, [0, 1, 2, 3]), np.random.default_rng(2))
    studies = analysis.load([study, second])
    assert studies.runs["run_id"].is_unique
    assert studies.epochs.groupby("run_id")["directory"].nunique().eq(1).all()
    shared = studies.runs[studies.runs["also_in"].notna()]
    assert set(shared["directory"]) == {str(study)}
    assert set(shared["also_in"]) == {str(second)}
    assert "early_stopping.patience" in studies.runs  # differs between the studies, but not within the first study
    # Three of its four run ids are those of arm 1 in the first study.
    assert len(studies.where("batch_size == 100")) == 1
    pd.testing.assert_frame_equal(
        analysis.load([study]).runs.drop(columns=["directory", "also_in"]), analysis.load(study).runs
    )


def test_a_settled_row_of_a_later_study_takes_precedence_over_a_failed_one(tmp_path):
    failed, settled = tmp_path / "a", tmp_path / "b"
    for path, status in ((failed, {("x", 0): "failed"}), (settled, {})):
        path.mkdir()
        write_study(path, FakeStudy([FakeArm("x", "baseline")], [0], status=status), np.random.default_rng(0))
    runs = analysis.load([failed, settled]).runs
    assert list(runs["status"]) == ["finished"]
    assert list(runs["directory"]) == [str(settled)]
    assert list(runs["also_in"]) == [str(failed)]
