"""Pairs that hardly differ, or that differ in the same way, which is implausible for independent runs."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_study import FakeArm

import analysis
from aimlib import records
from analysis.findings.unlike_arms import unlike_pairs
from analysis.report.cautions import cautions as limits


def accuracies(mean, pairs, draw, sd=0.003):
    return np.round(mean + sd * np.random.default_rng(draw).standard_normal(pairs), 4)


def pair(base, treated):
    return [
        FakeArm("baseline", "baseline", accuracies=[float(value) for value in base]),
        FakeArm("aim", "aim", accuracies=[float(value) for value in treated]),
    ]


def rewritten(directory, change):
    """Replace every row with the result of `change`, which can also use other rows, by arm and seed."""
    (path,) = (directory / records.SEGMENTS).iterdir()
    rows, schema = pq.read_table(path).to_pylist(), pq.read_schema(path)
    known = {(row["arm"], row["seed"]): row for row in rows}
    records.write_table(pa.Table.from_pylist([change(row, known) for row in rows], schema=schema), path)
    return directory


def cautions(directory):
    return analysis.examine(analysis.load(directory)).cautions


def test_pairs_with_two_identical_runs_are_reported(make_study):
    arms = pair(accuracies(0.2, 12, 1), accuracies(0.21, 12, 2))
    directory = make_study(arms, seeds=12, images=2000, procedure=2, looks=[12])
    assert not any("same class" in text for text in cautions(directory)), "independent runs are not reported"

    def change(row, known):
        if row["arm"] != "aim" or row["seed"] not in (1, 4, 7):
            return row
        return known["baseline", row["seed"]] | {"run_id": row["run_id"], "arm": "aim"}

    (said,) = (text for text in cautions(rewritten(directory, change)) if "same class" in text)
    assert said.startswith(
        "In 3 of 12 pairs of aim − baseline, both runs predict the same class for every test image (seeds 1, 4 and 7): "
        "check that what the arms vary has an effect"
    )


@pytest.mark.parametrize("column", ["train_images", "git_commit", "device_name"])
def test_pairs_that_differ_in_opposite_directions_are_reported(make_study, column):
    """Each arm has both values, but never in the same pair."""
    values = {"train_images": (12000, 5000), "git_commit": ("a" * 40, "b" * 40), "device_name": ("A100", "H100")}[
        column
    ]
    what = {
        "train_images": "the number of training images",
        "git_commit": "the commit that computed them, so in more than their configuration",
        "device_name": "the device",
    }[column]
    directory = make_study(pair(accuracies(0.2, 10, 1), accuracies(0.26, 10, 2)), seeds=10, procedure=2, looks=[5, 10])
    other = rewritten(directory, lambda row, _: row | {column: values[(row["arm"] == "aim") == (row["seed"] < 5)]})
    assert f"In 5 of 5 pairs of aim − baseline, the two runs differ in {what}." in cautions(other)


def test_pairs_in_which_the_settings_changed_together_are_not_reported(make_study):
    directory = make_study(pair(accuracies(0.2, 10, 1), accuracies(0.26, 10, 2)), seeds=10, procedure=2)
    later = rewritten(directory, lambda row, _: row | {"git_commit": ("a" if row["seed"] < 5 else "b") * 40})
    findings = analysis.examine(analysis.load(later))
    assert list(unlike_pairs(findings.gated, findings.results.runs)) == []


@pytest.mark.parametrize(("odd", "warned"), [(1, True), (3, True), (0, False)])
def test_differences_that_vary_by_less_than_one_image_are_reported(make_study, odd, warned):
    """If no pair differs from the others, all differences are equal; this case has its own verdict."""
    base = accuracies(0.2, 12, 1)
    steps = np.r_[np.full(odd, 0.0005), np.zeros(12 - odd)]
    directory = make_study(pair(base, base + 0.05 + steps), seeds=12, images=2000, procedure=2, looks=[12])
    assert any("hardly vary between seeds" in text for text in cautions(directory)) == warned


def test_equal_accuracies_at_the_ceiling_are_not_reported(make_study):
    base = np.r_[0.9975, np.ones(7)]
    directory = make_study(pair(base, np.ones(8)), seeds=8, images=400, procedure=2, claim=None)
    assert not any("hardly vary" in text or "same class" in text for text in cautions(directory))


def test_a_measure_that_overflows_withholds_its_look_and_breaks_nothing_else(make_study):
    arms = pair(accuracies(0.2, 8, 1), accuracies(0.26, 8, 2))
    options = {"measure": "loss", "delta": 0.01, "claim": None}
    directory = make_study(arms, seeds=8, images=400, procedure=2, looks=[5, 8], **options)

    def change(row, _):
        return row | {"test_loss": float("inf")} if (row["arm"], row["seed"]) == ("aim", 3) else row

    findings = analysis.examine(analysis.load(rewritten(directory, change)))
    assert findings.primary.verdict.kind == "withheld"
    assert "incomplete" in findings.headline
    assert any("aim with seed 3: no finite " in each.text for each in limits(findings))
    assert analysis.report(directory).is_file()


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0, 1e6])
def test_the_verdict_does_not_depend_on_the_unit(unit):
    from analysis.statistics.interval import t_interval, t_p_value
    from analysis.statistics.verdict import decide

    differences = unit * np.array([0.9, 1.1, 1.0, 1.05, 0.95])
    found = t_interval(differences)
    verdict = decide(found.lower, found.upper, found.sd, found.n, 0.1 * unit)
    assert verdict.kind == "positive, size open"
    assert t_p_value(differences) == pytest.approx(t_p_value(differences / unit))
    same = decide(unit, unit, 0.0, 5, 0.1 * unit, unit="units")
    assert same.kind == "identical"
    assert "all seeds have the same difference" in same.text


def test_a_trivial_difference_is_trivial_in_both_directions_if_lower_is_better():
    from analysis.statistics.verdict import decide

    assert decide(-0.5, -0.1, 0.1, 8, 1.0).text == "trivially lower"
    assert decide(-0.5, -0.1, 0.1, 8, 1.0, lower_is_better=True).text == "trivially worse"


def test_long_lists_of_seeds_are_shortened():
    from analysis.wording import number_format

    assert number_format.seeds([3]) == "seed 3"
    assert number_format.seeds([3, 4]) == "seeds 3 and 4"
    assert number_format.seeds(list(range(9))) == "9 seeds (0, 1, 2, …)"
    assert json.dumps(number_format.seeds([1, 2, 3])) == '"seeds 1, 2 and 3"'
