"""The content of the page, and above all what the page must not contain."""

from __future__ import annotations

import json

import numpy as np
from browse_study import arms
from synthetic_study import FakeArm

import analysis
from analysis.browse import curves as curves_module
from analysis.browse.content import content
from analysis.results import Studies


def shown(*directories, **options):
    return content(Studies.of([analysis.load(each) for each in directories]), **options)


def column(page, name):
    at = [each["name"] for each in page["columns"]].index(name)
    stored = page["runs"][at]
    if isinstance(stored, list):
        return stored
    return [None if code < 0 else stored["texts"][code] for code in stored["codes"]]


def test_every_planned_run_is_a_row_with_its_factors_and_state(make_sweep):
    directory = make_sweep(seeds=2, status={("aim", 1): "missing", ("baseline", 0): "failed"})
    page = shown(directory)
    results = analysis.load(directory)
    assert column(page, "run_id") == results.plan.runs["run_id"].tolist()
    assert column(page, "channels") == [None, None, 4, 4, 8, 8, 4, 4, 8, 8]
    assert column(page, "placement")[:4] == [None, None, "stage_only", "stage_only"]
    assert column(page, "status")[:4] == ["failed", "finished", "finished", "waiting"]
    assert column(page, "role")[:3] == ["baseline", "baseline", "treatment"]
    expected = results.runs.set_index("run_id")["validation_accuracy"].reindex(column(page, "run_id"))
    np.testing.assert_allclose(
        np.array(column(page, "validation_accuracy"), dtype=float), expected.to_numpy(dtype=float), rtol=1e-4
    )


def test_for_runs_without_a_result_the_state_from_the_active_session_is_shown(make_sweep):
    directory = make_sweep(seeds=2, status={("aim", 0): "missing", ("aim", 1): "failed"})
    ids = analysis.load(directory).plan.runs["run_id"]
    page = shown(directory, states={ids[2]: "running", ids[3]: "retrying", ids[0]: "running"})
    assert column(page, "status")[:4] == ["finished", "finished", "running", "retrying"]


def test_before_the_verdict_the_page_contains_no_measures_of_the_test_images(make_sweep):
    directory = make_sweep(seeds=6, status={("aim", 5): "missing"}, images=397)
    page = shown(directory)
    text = json.dumps(page)
    accuracies = analysis.load(directory).runs["test_accuracy"].dropna()
    assert len(accuracies) > 20
    assert not [value for value in accuracies.unique() if f"{value:.5g}" in text]
    assert not [
        each["name"] for each in page["columns"] if each["name"].startswith("test_") and each["name"] != "test_images"
    ]
    assert not [each for each in page["curves"]["values"] if each.startswith("test_")]
    assert any("Test measures are not on this page" in note for note in page["notes"])
    assert page["studies"][0]["blind"]


def test_the_page_contains_test_measures_after_the_verdict_or_if_it_is_unblinded(make_sweep):
    due, running = make_sweep(seeds=6), make_sweep(seeds=6, status={("aim", 5): "missing"})
    for page in (shown(due), shown(running, unblind=True)):
        assert sum(value is not None for value in column(page, "test_accuracy")) >= 29
        assert "test_accuracy" in page["curves"]["values"]


def test_trials_of_a_search_have_no_test_measures_even_if_all_trials_are_settled(make_sweep):
    directory = make_sweep(seeds=6)
    screening = directory.rename(directory.parent / "screening")
    page = shown(screening)
    assert page["studies"][0]["blind"]
    assert any("a search’s trials are compared on validation images" in note for note in page["notes"])
    assert "test_accuracy" not in [each["name"] for each in page["columns"]]
    assert "test_accuracy" not in page["curves"]["values"]


def test_a_study_without_a_verdict_stays_blinded_next_to_a_study_with_a_verdict(make_sweep, make_study):
    running = make_sweep(seeds=6, status={("aim", 5): "missing"}, name="running")
    names = [FakeArm("a", "baseline"), FakeArm("b", "treatment"), *(FakeArm(f"c{i}") for i in range(4))]
    due = make_study(seeds=6, name="due", claim=None, arms=names)
    page = shown(running, due)
    rows = zip(column(page, "study"), column(page, "test_accuracy"), column(page, "also_in"), strict=True)
    found = {(study, accuracy is not None, also) for study, accuracy, also in rows}
    # The first five arms have the same run ids in both studies. The run that only the second study has settled stays
    # hidden.
    assert found == {("running", False, "due"), ("due", False, None), ("due", True, None)}
    assert sum(value is not None for value in column(page, "test_accuracy")) == 6
    assert sum(any(each is not None for each in curve) for curve in page["curves"]["values"]["test_loss"]) == 6


def test_studies_with_the_same_name_are_distinguished_without_showing_directories(make_sweep):
    first, second = make_sweep(seeds=2), make_sweep(seeds=2, first_seed=7)
    page = shown(first, second)
    assert sorted(set(column(page, "study"))) == ["synthetic", "synthetic (2)"]
    assert str(first) not in json.dumps(page)
    assert first.parent.name not in json.dumps(page)


def test_the_page_contains_no_paths_secrets_or_hosts_unless_hosts_are_requested(make_sweep):
    directory = make_sweep(seeds=2, status={("aim", 1): "failed"}, failure="no /home/alice/x.jpg on node1, bob@node1")
    text = json.dumps(shown(directory))
    for word in ("alice", "node1", "sEcReT", "bob"):
        assert word not in text
    assert "no (path) on (host)" in text
    assert "node1" in json.dumps(shown(directory, hosts=True))
    assert "alice" not in json.dumps(shown(directory, hosts=True))


def test_an_arm_shows_how_it_differs_from_the_baseline(make_sweep):
    page = shown(make_sweep(seeds=2))
    entry = next(each for each in page["arms"]["entries"] if each["arm"] == "aim")
    assert entry["baseline"] == "baseline"
    assert entry["differences"] == [
        ["model.memory", None, "conv_ones"],
        ["model.memory.channels", None, 4],
        ["model.placement", None, "stage_only"],
    ]
    assert page["arms"]["common"]["training.batch_size"] == 32
    assert entry["options"]["model.memory.channels"] == 4
    assert entry["network"]["readers"] == ["layer1.0.conv1"]


def test_curves_show_the_epochs_and_end_when_the_run_ended(make_sweep):
    directory = make_sweep(seeds=2, status={("aim", 0): "diverged", ("aim", 1): "missing"})
    page, epochs = shown(directory), analysis.load(directory).epochs
    found = page["curves"]["values"]["validation_accuracy"]
    for run_id, curve in zip(column(page, "run_id"), found, strict=True):
        expected = epochs.loc[epochs["run_id"] == run_id, "validation_accuracy"]
        np.testing.assert_allclose(curve, expected, rtol=1e-4)
    assert [len(curve) for curve in found[:4]] == [6, 6, 3, 0]


def test_a_large_study_shows_fewer_epochs_of_every_curve_and_says_so(make_sweep, monkeypatch):
    monkeypatch.setattr(curves_module, "MOST_VALUES", 10 * 5 * 3)
    page = shown(make_sweep(seeds=2, epochs=9, status={("aim", 0): "missing"}))
    assert page["curves"]["epochs"][0] == 1
    assert page["curves"]["epochs"][-1] == 9
    assert len(page["curves"]["epochs"]) == 2
    assert "Curves show 2 of 9 epochs, evenly spaced, to keep the page small." in page["notes"]


def test_numbers_have_five_significant_digits():
    values = np.array([0.123456789, 123456.789, -1e-7 / 3, 0.0, np.nan, np.inf])
    np.testing.assert_array_equal(
        curves_module.rounded(values), np.array([0.12346, 123460.0, -3.3333e-08, 0.0, np.nan, np.nan])
    )


def test_before_the_verdict_the_log_shows_only_notes(make_sweep):
    from datetime import UTC, datetime

    from ablations.store.run_logs import LogEntry

    directory = make_sweep(seeds=6, status={("aim", 5): "failed"})
    failed = analysis.load(directory).plan.runs["run_id"][11]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [LogEntry(at, "stdout", "test accuracy .42"), LogEntry(at, "note", "attempt 2 on node1 in /tmp/x")]

    def outputs(where, run_ids):
        assert where == directory
        assert next(iter(run_ids)) == failed, "failed runs come first"
        return {failed: entries}

    page = shown(directory, outputs=outputs)
    assert page["details"]["logs"] == {"11": ["2026-01-01 00:00:00 note: attempt 2 on (host) in (path)"]}
    assert any("The output of 1 run is not on this page" in note for note in page["notes"])
    assert "test accuracy .42" in json.dumps(shown(directory, outputs=outputs, unblind=True))


def test_a_study_without_any_results_has_a_page(make_sweep):
    missing = {(arm.name, seed): "missing" for arm in arms() for seed in range(2)}
    page = shown(make_sweep(seeds=2, status=missing))
    assert set(column(page, "status")) == {"waiting"}
    assert page["curves"]["epochs"] == []


def test_names_that_look_like_logins_or_paths_are_treated_as_values(make_study):
    names = ["sgd@0.1", "sgd@0.01", "a /b"]
    directory = make_study(
        arms=[FakeArm(name, "other") for name in names], seeds=2, claim=None, name="lr@all", reused_from="first@3f2a"
    )
    page = shown(directory)
    assert list(dict.fromkeys(column(page, "arm"))) == names == [each["arm"] for each in page["arms"]["entries"]]
    assert page["title"] == "lr@all"
    assert set(column(page, "reused_from")) == {"first@3f2a"}


def test_names_that_look_like_markup_are_treated_as_values(make_study):
    name = "</script><script>boom()</script>"
    directory = make_study(arms=[FakeArm(name, "baseline"), FakeArm("b", "treatment")], seeds=2, claim=None)
    assert name in column(shown(directory), "arm")
