"""Requested metrics, computed from stored predictions and, if they were kept, from scores, match scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_question import OWN, arms
from sklearn import metrics

import analysis
from aimlib import records
from aimlib.errors import StoreError, UsageError
from analysis.reading.scores import calibration_error, top_accuracy

TEN = {**OWN, "images": 300}


def of_run(results: analysis.Results, run_id: str) -> tuple[np.ndarray, np.ndarray]:
    own = results.predictions[results.predictions["run_id"] == run_id].sort_values("image")
    return own["label"].to_numpy(), own["predicted"].to_numpy()


@pytest.mark.parametrize("compacted", [True, False])
def test_scores_are_read_run_by_run_and_agree_with_the_predictions(make_study, compacted: bool) -> None:
    results = analysis.load(make_study(arms(), seeds=3, **TEN, scores=True, compacted=compacted))
    for run_id in results.runs["run_id"][:3]:
        scores = results.scores(run_id)
        assert scores.shape == (300, 10)
        assert scores.dtype == np.float16
        assert (scores.argmax(axis=1) == of_run(results, run_id)[1]).all()


def test_metrics_match_scikit_learn(make_study) -> None:
    results = analysis.load(make_study(arms(), seeds=3, **TEN, scores=True))
    found = results.metrics(top=(1, 3)).set_index("run_id")
    assert list(found) == [
        "arm", "seed", "balanced_accuracy", "macro_f1", "top1_accuracy", "top3_accuracy", "calibration_error",
    ]  # fmt: skip
    for run_id, row in found.iterrows():
        labels, predicted = of_run(results, str(run_id))
        scores = results.scores(str(run_id)).astype(float)
        assert row["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
        assert row["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
        expected = metrics.top_k_accuracy_score(labels, scores, k=3, labels=range(10))
        assert row["top3_accuracy"] == pytest.approx(expected, abs=2 / 300), "float16 can cause a tie"
        assert row["top1_accuracy"] >= (labels == predicted).mean()
        assert 0 < row["calibration_error"] < 1


def test_a_study_without_runs_has_no_metrics(make_study) -> None:
    missing = {(arm.name, seed): "missing" for arm in arms() for seed in range(3)}
    found = analysis.load(make_study(arms(), seeds=3, **TEN, status=missing)).metrics()
    assert list(found) == ["run_id", "arm", "seed", "balanced_accuracy", "macro_f1", "calibration_error"]
    assert found.empty


def test_without_scores_only_metrics_based_on_predictions_are_available(make_study) -> None:
    results = analysis.load(make_study(arms(), seeds=3, **TEN, status={("gated", 1): "failed"}))
    found = results.metrics(top=(3,))
    assert found[["top3_accuracy", "calibration_error"]].isna().all(axis=None)
    failed = (found["arm"] == "gated") & (found["seed"] == 1)
    assert found.loc[failed, "macro_f1"].isna().all()
    assert found.loc[~failed, "macro_f1"].notna().all()
    with pytest.raises(UsageError, match="its scores were not kept; set `keep_scores: float16`"):
        results.scores(results.runs["run_id"][0])
    with pytest.raises(UsageError, match="the study does not contain this run"):
        results.scores("nothing")


@pytest.mark.parametrize("arguments", [{"top": (0,)}, {"top": (11,)}, {"bins": 0}])
def test_impossible_arguments_are_refused(make_study, arguments: dict[str, Any]) -> None:
    results = analysis.load(make_study(arms(), seeds=2, **TEN))
    with pytest.raises(UsageError, match="top must contain numbers of classes from 1 to 10"):
        results.metrics(**arguments)


def test_scores_that_contradict_the_predictions_are_refused(make_study) -> None:
    directory = make_study(arms(), seeds=2, **TEN, scores=True, compacted=False)
    path = next((directory / records.RUNS).iterdir())
    table = pq.read_table(path)
    other = np.frombuffer(table["scores"][0].as_py(), dtype=np.float16).reshape(300, 10)[:, ::-1]
    place = table.column_names.index("scores")
    forged = table.set_column(place, "scores", pa.array([other.tobytes()], type=pa.large_binary()))
    records.write_table(forged, path)
    results = analysis.load(directory)
    with pytest.raises(StoreError, match=r"indicate different classes for .* of 300 images"):
        results.scores(path.stem)
    with pytest.raises(StoreError, match="indicate different classes"):
        results.metrics()


def test_files_from_earlier_versions_have_no_scores(make_study) -> None:
    directory = make_study(arms(), seeds=2, **TEN, compacted=False)
    for path in (directory / records.RUNS).iterdir():
        records.write_table(pq.read_table(path).drop_columns(["scores"]), path)
    results = analysis.load(directory)
    assert results.metrics()["macro_f1"].notna().all()
    assert results.metrics()["calibration_error"].isna().all()


def test_the_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    confidence = np.array([0.95, 0.85, 0.9, 0.3, 0.25])
    right = np.array([True, True, False, True, False])
    # The two bins are (0, .5], with accuracy 1/2 and confidence .275, and (.5, 1], with accuracy 2/3 and confidence .9.
    assert calibration_error(confidence, right, bins=2) == pytest.approx((2 * (0.5 - 0.275) + 3 * (0.9 - 2 / 3)) / 5)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    assert np.isnan(calibration_error(np.array([]), np.array([], dtype=bool)))


def test_a_tie_with_the_last_of_the_top_k_classes_counts_as_correct() -> None:
    scores = np.array([[0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.5, 0.3, 0.2]])
    assert top_accuracy(scores, np.array([1, 2, 2]), 2) == pytest.approx(2 / 3)
