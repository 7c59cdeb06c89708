"""Numbers and sentences of a report that contradicted each other, and what they say now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_study import SCOPE, FakeArm

import analysis
from aimlib import records
from analysis.figures import forest
from analysis.figures.palette import marks
from analysis.primary_measure import primary_measure
from analysis.report.cautions import cautions
from analysis.report.checklist import checklist
from analysis.report.sentences import remarks
from analysis.report.sweeps import sweep
from analysis.report.tables.contents import text_tables
from analysis.report.tables.frames import table_frames
from analysis.statistics.bootstrap import bca_interval, resampling_weights
from analysis.statistics.images import crossed
from analysis.statistics.interval import t_interval
from analysis.statistics.seeds_needed import seeds_needed
from analysis.statistics.sensitivity import check_row, sign_flip_p
from analysis.statistics.verdict import decide

SMALL = {**SCOPE, "classes": 20}
OWN = {"scope": SMALL, "claim": None, "what": "mixup", "procedure": 2}


def pair(treated, control):
    return [FakeArm("baseline", "baseline", accuracies=control), FakeArm("mine", "treatment", accuracies=treated)]


def examine(directory):
    return analysis.examine(analysis.load(directory))


def limits(findings):
    return [caution.text for caution in cautions(findings)]


def table_of(findings, title):
    tables = text_tables(findings, table_frames(findings, sweep(findings)), sweep(findings))
    return next(table for table in tables.values() if table.title == title)


@pytest.mark.parametrize(
    ("right", "ends", "p", "verdict"),
    [
        ([1214, 1237, 1237, 1220, 1197], "+0.003 to +2.097", ".0496", "positive, size open"),
        ([1227, 1197, 1228, 1210, 1218], "−0.001 to +1.601", ".0502", "inconclusive"),
        ([1221, 1208, 1189, 1188, 1207], "−0.7398 to +0.9998", ".699", "no material gain"),
    ],
)
def test_rounding_does_not_put_an_end_of_the_interval_on_a_limit_of_the_verdict(make_study, right, ends, p, verdict):
    arms = pair([number / 2000 for number in right], [0.6] * 5)
    findings = examine(make_study(arms, seeds=5, images=2000, **OWN))
    assert findings.primary.verdict.kind == verdict
    assert f"(95 % interval {ends} pp, 5 paired seeds): {verdict}." in findings.headline
    row = table_of(findings, "All differences").rows[0]
    assert row[3] == ends
    assert row[6] == row[7] == p
    assert f">{p}</td>" in findings._repr_html_()
    assert findings._repr_html_().count(ends) == 2, "headline and table"
    survivors = [row for row in table_of(findings, "Sensitivity of mine − baseline").rows if row[0] == "survivors only"]
    assert [(row[3], row[5]) for row in survivors] == [(ends, verdict)]


def test_the_forest_writes_the_ends_of_intervals_like_the_table(make_study):
    arms = pair([number / 2000 for number in (1214, 1237, 1237, 1220, 1197)], [0.6] * 5)
    findings = examine(make_study(arms, seeds=5, images=2000, **OWN))
    drawn = forest.draw(forest.summarise(findings.family.comparisons), marks(["baseline", "mine"]), 1.0)
    said = [label.get_text() for axes in drawn.axes for label in axes.get_yticklabels()]
    assert "+1.05   n = 5\n+0.003 to +2.097" in said


def test_the_caption_of_the_forest_says_which_intervals_have_no_verdict(make_study):
    two = examine(make_study(pair([0.7, 0.72], [0.6, 0.61]), seeds=2, **OWN))
    said = forest.caption(two.family.comparisons)
    assert "The interval lies above δ = 1.00 pp. It has no verdict." in said
    arms = [*pair([0.7, 0.72, 0.69, 0.7, 0.71], [0.6, 0.61, 0.59, 0.62, 0.6]), FakeArm("more", mean=0.65)]
    lost = examine(make_study(arms, seeds=5, status={("more", 3): "failed"}, **OWN))
    assert "above δ = 1.00 pp. 1 of them has no verdict." in forest.caption(lost.family.comparisons)
    whole = examine(make_study(arms, seeds=5, **OWN))
    assert "verdict" not in forest.caption(whole.family.comparisons)


def test_checks_of_a_loss_read_in_the_words_and_the_unit_of_the_loss(make_study):
    worse = examine(
        make_study(
            pair([0.599, 0.6085, 0.588, 0.599, 0.619], [0.6, 0.61, 0.59, 0.6, 0.62]),
            seeds=5,
            images=2000,
            measure="loss",
            delta=0.1,
            **OWN,
        )
    )
    said = worse.checks.set_index("check")["verdict"]
    assert worse.primary.verdict.text == "trivially worse"
    assert said["survivors only"] == said["robust: trimmed mean"] == "trivially worse"


def test_a_check_without_spread_states_its_size_in_the_unit_of_the_measure():
    row = check_row("late", [0.25] * 5, 0.1, None, 0.05, measure=primary_measure("loss", 0.1))
    assert row["verdict"] == "all seeds have the same difference, +0.25 nats: check the study"


def test_equal_differences_that_are_small_are_not_written_as_zero():
    assert decide(0.004, 0.004, 0.0, 5, 0.01, unit="nats").text.startswith(
        "all seeds have the same difference, +0.004 nats"
    )
    assert decide(5.0, 5.0, 0.0, 5, 1.0).text.startswith("all seeds have the same difference, +5.00 pp")


@pytest.mark.parametrize("images", [1, 2])
def test_a_study_with_hardly_any_test_image_has_a_report(make_study, images):
    arms = pair([1.0] * 5, [0.0, 1.0, 0.0, 1.0, 0.0])
    directory = make_study(arms, seeds=5, images=images, **{**OWN, "scope": {**SCOPE, "classes": 2}})
    findings = examine(directory)
    said = "There is no interval for new photos: there is only one test image."
    assert (said in limits(findings)) == (images == 1)
    assert analysis.report(directory)


def test_the_checklist_says_when_and_how_intervals_are_read(make_study):
    arms = [*pair([0.66, 0.64, 0.67, 0.65, 0.66, 0.68], [0.6, 0.61, 0.59, 0.62, 0.6, 0.6]), FakeArm("more", mean=0.6)]

    def said(looks, chosen=arms):
        items = checklist(examine(make_study(chosen, seeds=6, looks=looks, **OWN)))
        return next(item.text[0] for item in items if item.title == "Statistical significance")

    anytime = said({"any": {"mixture_width": 1.25}})
    assert anytime.startswith("Intervals belong to a two-sided confidence sequence for the mean over seeds")
    assert "may be read after any number of pairs" in anytime
    assert "paired t intervals" not in anytime
    several = said({"pairs": [5, 6], "spending": "obrien_fleming"})
    assert "The verdict is read after 5 and 6 pairs, at the " in several
    assert several.endswith("The levels for further arms are those of Holm’s procedure.")
    assert "accounts for" in said([5, 6])
    assert "accounts for" not in said([6])
    assert "Holm" not in said([5, 6], arms[:2])


def test_the_note_on_interactions_is_whole(make_study):
    levels = [{"stem": a, "passes": b} for a in "12" for b in "12"]
    names = ["baseline", "one", "other", "both"]
    roles = ["baseline", "other", "other", "treatment"]
    arms = [FakeArm(n, r, 0.5, levels=each) for n, r, each in zip(names, roles, levels, strict=True)]
    note = table_of(examine(make_study(arms, seeds=6, **OWN)), "Interactions").note
    assert note.endswith("all further switches are off. The 95 % level is unadjusted.")


def test_the_table_by_seed_says_which_pairs_its_mean_difference_is_of(make_study):
    control = [0.6, 0.61, 0.59, 0.6, 0.62, 0.6, 0.61, 0.6]
    arms = pair([0.7, 0.71, 0.7, 0.69, 0.71, 0.5, 0.52, 0.49], control)
    findings = examine(make_study(arms, seeds=8, looks=[5, 8], **OWN))
    assert findings.primary.beyond == 3
    note = "Those of Δ include only the 5 pairs of the deciding look."
    assert note in table_of(findings, "Accuracy by seed").note
    assert note not in table_of(examine(make_study(arms, seeds=8, **OWN)), "Accuracy by seed").note


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_the_variance_add_up_to_the_variance_of_the_interval(seed):
    found = crossed(100.0 * np.random.default_rng(seed).integers(-1, 2, (4, 30)))
    assert sum(found.shares.values()) == pytest.approx(found.interval.sd**2 / found.seeds)
    assert min(found.shares.values()) >= 0


def test_arms_with_other_validation_images_are_named(make_study):
    arms = pair([0.66, 0.64, 0.67, 0.65, 0.66], [0.6, 0.61, 0.59, 0.62, 0.6])
    directory = make_study(arms, seeds=5, **OWN)
    assert not any("validation images" in text for text in limits(examine(directory)))
    for path in (directory / records.SEGMENTS).iterdir():
        rows = pq.read_table(path).to_pylist()
        changed = [row | ({"validation_images": 60} if row["arm"] == "mine" else {}) for row in rows]
        records.write_table(pa.Table.from_pylist(changed, schema=pq.read_schema(path)), path)
    assert "Arms differ in the number of validation images: baseline: 1200; mine: 60." in limits(examine(directory))


@pytest.mark.parametrize("unit", [1e-11, 1.0, 1e11])
def test_checks_and_pairs_to_add_do_not_depend_on_the_unit_of_a_measure(unit):
    x = np.array([0.9, 1.1, 0.7, 0.2, 0.4, 0.55, 0.35])
    assert sign_flip_p(unit * x, np.random.default_rng(0)) == 2 / 2**7
    weights = resampling_weights(7, 2000, np.random.default_rng(0))
    low, high = bca_interval([[0.0, 0.0, 1.0, 1.0, 2.0, 0.0, 1.0]], weights)
    scaled = bca_interval([[0.0, 0.0, unit, unit, 2 * unit, 0.0, unit]], weights)
    assert [end[0] / unit for end in scaled] == pytest.approx([low[0], high[0]])
    needed = seeds_needed(t_interval(x), 0.6)
    assert seeds_needed(t_interval(unit * x), 0.6 * unit) == needed


def test_rounding_does_not_put_an_end_of_the_expected_pair_on_the_reported_gain(make_study):
    arms = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.18)]
    findings = examine(make_study(arms, seeds=5, procedure=2))
    primary = replace(findings.primary, reported={"post": 4.92}, further_pair=(-0.25, 4.9196))
    said = " ".join(remarks(replace(findings, family=replace(findings.family, comparisons=(primary,)))))
    assert "(+4.92 pp (post)) is not compatible with these runs" in said
    assert "between −0.2500 and +4.9196 pp" in said
