"""Seeds × images, replayed patience, searches and bootstraps, compared with closed forms and other libraries."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from synthetic_study import FakeArm

import analysis
from aimlib.training.early_stopping import stopping_epoch
from analysis.figures import patience
from analysis.report.content import compose
from analysis.statistics.bootstrap import bca_interval, percentile_interval, resampling_weights
from analysis.statistics.images import balanced_accuracy, crossed, mcnemar_p
from analysis.statistics.interval import t_interval
from analysis.statistics.replay import MIN_DELTA, replayed, within_reach
from analysis.statistics.searches import expected_best, winners
from analysis.statistics.sensitivity import readings


def test_crossed_components_match_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    x = 3 + rng.normal(0, 2, (6, 1)) + rng.normal(0, 5, (1, 400)) + rng.normal(0, 10, (6, 400))
    found = crossed(x)
    places = np.indices(x.shape)
    long = pd.DataFrame({"seed": places[0].ravel(), "image": places[1].ravel(), "y": x.ravel()})
    grand = long["y"].mean()
    seed = 400 * ((long.groupby("seed")["y"].mean() - grand) ** 2).sum() / 5
    image = 6 * ((long.groupby("image")["y"].mean() - grand) ** 2).sum() / 399
    rest = ((long["y"] - grand) ** 2).sum() - 5 * seed - 399 * image
    rest /= 5 * 399
    assert found.interaction == pytest.approx(rest)
    assert found.seed == pytest.approx((seed - rest) / 400)
    assert found.image == pytest.approx((image - rest) / 6)
    error2 = (seed + image - rest) / x.size
    assert sum(found.shares.values()) == pytest.approx(error2)
    df = (seed + image - rest) ** 2 / (seed**2 / 5 + (image - rest) ** 2 / 399)
    assert found.degrees_of_freedom == pytest.approx(df, rel=0.05)
    assert found.interval.mean == pytest.approx(grand)


def test_if_images_add_no_variance_the_interval_is_that_of_the_seeds_alone():
    x = np.tile([[1.0], [2.0], [4.0], [3.0]], (1, 50)) + np.tile([[1.0, -1.0]], (4, 25)) * [[1], [-1], [1], [-1]]
    found, seeds = crossed(x), t_interval(x.mean(axis=1))
    assert (found.interval.lower, found.interval.upper) == pytest.approx((seeds.lower, seeds.upper))
    assert found.image == 0


def test_new_photos_never_make_an_interval_shorter():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x = 100.0 * (rng.random((5, 200)) < 0.3) - 100.0 * (rng.random((5, 200)) < 0.25)
        found, seeds = crossed(x), t_interval(x.mean(axis=1))
        assert found.interval.sd >= seeds.sd * (1 - 1e-9)


@pytest.mark.parametrize("x", [np.ones((1, 5)), np.ones((3, 1)), np.full((3, 3), np.nan)])
def test_too_few_values_for_a_crossed_design_are_refused(x):
    with pytest.raises(ValueError, match="at least two of each"):
        crossed(x)


def test_the_mcnemar_test_matches_statsmodels():
    rng = np.random.default_rng(2)
    a, b = rng.random(300) < 0.4, rng.random(300) < 0.3
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert mcnemar_p(a, b) == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert mcnemar_p(a, a) == 1.0


def test_balanced_accuracy_weights_classes_equally():
    labels = np.array([0, 0, 0, 1, 7])
    assert balanced_accuracy([True, True, False, True, False], labels) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert balanced_accuracy(np.ones((4, 5)), labels).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("accuracies", "epochs", "expected"),
    [
        ([0.1, 0.2, 0.2, 0.2], 2, 4),
        ([0.1, 0.2, 0.2, 0.3], 2, None),
        ([0.1, 0.1005, 0.1008, 0.1009], 3, 4),  # gains below min_delta do not replace the best value
        ([0.3, 0.2, 0.1], 1, 2),
        ([], 3, None),
    ],
)
def test_patience_is_counted_as_in_keras(accuracies, epochs, expected):
    assert stopping_epoch(accuracies, epochs, MIN_DELTA) == expected


def test_replay_reports_the_best_epoch_before_the_stop_and_leaves_out_stopped_runs():
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b"],
            "arm": "x",
            "seed": [0, 1],
            "status": "finished",
            "epochs_planned": 12,
            "epochs_run": [12, 6],
        }
    )
    validation = [0.1, 0.3, *[0.2] * 7, 0.9, 0.9, 0.9]
    epochs = pd.DataFrame(
        {
            "run_id": "a",
            "epoch": range(1, 13),
            "validation_accuracy": validation,
            "test_accuracy": np.arange(12) / 100,
        }
    )
    found = replayed(runs, pd.concat([epochs, epochs.assign(run_id="b")]))
    assert found[["run_id", "stopped", "selected_epoch", "test_accuracy"]].values.tolist() == [["a", 9, 2, 0.01]]


def test_runs_with_no_more_epochs_than_the_patience_are_not_replayed():
    runs = pd.DataFrame({"run_id": ["a", "b"], "arm": "x", "seed": [0, 1], "status": "finished"})
    runs = runs.assign(epochs_planned=[7, 8], epochs_run=[7, 8], test_accuracy=0.1)
    epochs = pd.concat(
        pd.DataFrame({"run_id": run, "epoch": range(1, count + 1), "validation_accuracy": 0.2, "test_accuracy": 0.1})
        for run, count in (("a", 7), ("b", 8))
    )
    assert within_reach(runs)["run_id"].tolist() == ["b"]
    assert within_reach(runs, patience=8).empty
    assert within_reach(runs, procedure=1)["run_id"].tolist() == ["a", "b"]
    runs = runs.assign(test_top5_accuracy=np.nan)
    assert readings(runs, epochs)["early"].isna().tolist() == [True, False]
    assert readings(runs, epochs, procedure=1)["early"].notna().all()
    assert patience.caption(patience.summarise(within_reach(runs[:1]), epochs, ["x"])) == (
        "Early stopping cannot be replayed: no run with validation images completed a budget of more than 7 epochs."
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_is_the_mean_over_all_subsets(values):
    found = expected_best(values)
    for size in range(1, len(values) + 1):
        brute = np.mean([max(chosen) for chosen in combinations(values, size)])
        assert found[size - 1] == pytest.approx(brute, abs=1e-9)
    assert (np.diff(found) >= -1e-12).all()


def test_the_expected_best_of_many_trials_stays_finite():
    found = expected_best(np.linspace(0, 1, 2000))
    assert np.isfinite(found).all()
    assert found[-1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="finite"):
        expected_best([0.1, np.nan])


def test_the_accuracy_of_winners_shrinks_with_new_seeds():
    def frame(values):
        rows = [(arm, seed, "finished", value) for arm, pair in values.items() for seed, value in enumerate(pair)]
        return pd.DataFrame(rows, columns=["arm", "seed", "status", "validation_accuracy"])

    found = winners(
        frame({"a": [0.2, 0.3], "b": [0.4, 0.4], "c": [0.9, 0.9]}), frame({"b": [0.3, 0.3], "a": [0.25, 0.25]})
    )
    assert found["arm"].tolist() == ["b", "a"]
    assert found["shrinkage"].tolist() == pytest.approx([10.0, 0.0])


def test_bootstrap_intervals_match_scipy():
    x = np.array([0.3, 1.2, -0.4, 2.2, 0.9, 1.4, 0.1, 3.0])
    weights = resampling_weights(len(x), 40_000, np.random.default_rng(5))
    for method, ours in (("percentile", percentile_interval), ("BCa", bca_interval)):
        low, high = ours(x[None], weights)
        scipy = stats.bootstrap((x,), np.mean, n_resamples=40_000, method=method, rng=np.random.default_rng(6))
        expected = scipy.confidence_interval
        assert low[0] == pytest.approx(expected.low, abs=0.03)
        assert high[0] == pytest.approx(expected.high, abs=0.03)


def test_a_bootstrap_of_equal_values_returns_that_value():
    low, high = bca_interval([[2.0, 2.0, 2.0]], resampling_weights(3, 99, np.random.default_rng(0)))
    assert low[0] == high[0] == 2.0


def test_the_posterior_is_the_t_distribution_of_the_interval():
    found = t_interval([1.0, 2.0, 3.5, 2.5, 1.5], alpha=0.05)
    assert found.probability_above(found.lower) == pytest.approx(0.975)
    assert found.probability_above(found.mean) == pytest.approx(0.5)
    assert np.isnan(t_interval([1.0]).probability_above(0))


@pytest.mark.usefixtures("undrawn")
def test_without_the_table_of_images_the_report_states_what_is_missing(make_study):
    findings = analysis.examine(analysis.load(make_study(write_images=False)))
    assert findings.photos is None
    assert any(caution.startswith("There is no interval for new photos") for caution in compose(findings).cautions)
    assert "variance" not in compose(findings).figures


def test_the_primary_comparison_is_made_image_by_image(make_study):
    directory = make_study([FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.2)], seeds=8, looks=[5, 8])
    findings = analysis.examine(analysis.load(directory))
    found, primary = findings.photos, findings.primary
    assert found.seeds == tuple(range(primary.interval.n)), "only the pairs of the deciding look"
    assert found.crossed.interval.mean == pytest.approx(primary.interval.mean)
    assert found.crossed.images == 400
    assert len(found.mcnemar) == primary.interval.n
    means = (found.classes["raw"] * found.classes["images"]).sum() / 400
    assert means == pytest.approx(primary.interval.mean)
    assert findings.checks["check"].iloc[-1] == "new photos: seeds × images"
