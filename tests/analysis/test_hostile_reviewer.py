"""Studies that invite a false or misleading sentence, and the correct sentences in the report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_study import ARMS, SCOPE, FakeArm, freeze

import analysis
from aimlib import records
from aimlib.errors import StoreError, UsageError
from analysis.figures.canvas import labels
from analysis.looks.sequential import constant, overall_error
from analysis.report import cautions as limits
from analysis.report.methods import methods
from analysis.report.provenance import facts
from analysis.report.sentences import remarks
from analysis.report.tables import frames as report_frames
from analysis.report.tables.runs import stale

WIN = [
    FakeArm("baseline", "baseline", 0.15),
    FakeArm("matched", "matched", 0.152, "aim"),
    FakeArm("frozen", "frozen", 0.153, "aim"),
    FakeArm("aim", "aim", 0.20),
]


def cautions(findings):
    return [limit.text for limit in limits.cautions(findings)]


def examine(directory):
    return analysis.examine(analysis.load(directory))


def rewrite(directory, change):
    """Apply `change` to every stored run and write the run back."""
    for path in (directory / records.SEGMENTS).iterdir():
        rows = [change(dict(row)) for row in pq.read_table(path).to_pylist()]
        schema = pq.read_schema(path)
        records.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def edit_plan(directory, **changes):
    path = directory / records.STUDY_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("looks", "alpha", "expected"),
    # Found by brute force with 200 million studies each; the standard error is 0.000007 for the first value.
    [((5, 8, 12), 0.05, 0.02131), ((5, 10, 15), 0.05, 0.02061), ((5, 8), 0.05, 0.02937), ((5, 200), 0.05, 0.0254)],
)
def test_the_constant_is_correct_to_four_digits(looks, alpha, expected):
    assert constant(looks, alpha) == pytest.approx(expected, abs=2e-5)


def test_tiny_and_huge_levels_are_probabilities():
    for looks in ((5, 6), (5, 8, 12), tuple(range(5, 20))):
        levels = [1e-12, 1e-6, 0.01, 0.5, 0.999, 1.0]
        errors = [overall_error(looks, level) for level in levels]
        assert errors == sorted(errors)
        assert all(level <= error <= min(1.0, len(looks) * level) for level, error in zip(levels, errors, strict=True))


def test_arms_with_equal_nonzero_differences_are_not_called_identical(make_study):
    pair = [
        FakeArm("baseline", "baseline", accuracies=[0.15, 0.16, 0.14, 0.15, 0.17]),
        FakeArm("aim", "aim", accuracies=[0.2, 0.21, 0.19, 0.2, 0.22]),
    ]
    findings = examine(make_study(pair, seeds=5))
    assert findings.primary.verdict.kind == "identical"
    assert findings.headline.endswith("all seeds have the same difference, +5.00 pp: check the study.")
    assert findings.causal.startswith("It is open whether memory causes a gain")


def test_a_proxy_study_that_finds_that_memory_causes_the_gain_also_says_that_it_is_a_proxy(make_study):
    findings = examine(make_study(WIN, scope={**SCOPE, "classes": 20}))
    assert findings.causal == "Proxy: does not test the claim. Memory causes the gain: every gate is passed."
    assert findings.causal in remarks(findings)
    assert examine(make_study(WIN)).causal == "Memory causes the gain: every gate is passed."


def test_a_conclusion_that_depends_on_a_control_added_late_is_exploratory(make_study):
    directory = make_study(WIN)
    freeze(directory, "2024-05-01T11:59:30+00:00", without="matched")
    findings = examine(directory)
    assert "Exploratory" not in findings.headline, "the comparison aim − baseline is unchanged since the freeze"
    assert findings.causal.endswith("every gate is passed. Exploratory: arm matched was added after the freeze.")


def test_a_conclusion_states_where_training_was_unstable(make_study):
    status = {("aim", seed): "chance" for seed in range(2)}
    findings = examine(make_study(WIN, seeds=8, status=status))
    assert findings.primary.unstable
    assert (
        "Unstable training: aim − baseline gets a different verdict without the runs that did not "
        "train." in findings.causal
    )
    assert "Unstable" not in examine(make_study(WIN, seeds=8)).causal


def test_a_lost_pair_in_the_first_look_withholds_the_verdict(make_study):
    findings = examine(make_study(WIN, seeds=6, looks=[5], status={("aim", 1): "failed"}))
    assert "withheld (unbalanced: 1 of 5 pairs incomplete)" in findings.headline
    assert any(caution.startswith("1 complete pair after the last look is shown") for caution in cautions(findings))
    running = examine(make_study(WIN, seeds=5, status={("aim", 4): "missing"}))
    assert "screening only" in running.headline


@pytest.mark.parametrize(
    "change",
    [{"scope": {**SCOPE, "classes": 20}}, {"scope": {**SCOPE, "protocol": "as_run"}}],
)
def test_moving_a_study_into_a_different_scope_after_the_freeze_makes_it_exploratory(make_study, change):
    directory = make_study(WIN, scope=change["scope"])
    assert "Exploratory" not in examine(directory).headline
    edit_plan(directory, scope=SCOPE)
    assert "of the study differs from the frozen value" in examine(directory).headline


CLAIM = """
name: other
statement: More is more.
source: {{post: "Somebody, 2024"}}
reported: [{{source: {first}, baseline: 0.1, treatment: {t1}}}, {{source: {second}, baseline: 0.1, treatment: {t2}}}]
delta_pp: 1.0
scope: {{dataset: ["*"], classes: {classes}, image_size: [224], backbone: ["*"], protocol: ["*"],
  data_fingerprint: ["*"]}}
"""


def test_changing_a_claim_file_after_the_freeze_makes_a_study_exploratory(make_study, tmp_path):
    path = tmp_path / "claim.yaml"
    path.write_text(CLAIM.format(first="a", t1=0.2, second="b", t2=0.15, classes=[20]), encoding="utf-8")
    directory = make_study(WIN, claim=str(path))
    assert examine(directory).deviations == ()
    path.write_text(CLAIM.format(first="a", t1=0.2, second="b", t2=0.15, classes=[20, 120]), encoding="utf-8")
    assert "the classes that the claim requires differs from the frozen value" in examine(directory).headline
    path.write_text(CLAIM.format(first="b", t1=0.15, second="a", t2=0.2, classes=[20]), encoding="utf-8")
    assert "the deciding reported gain" in examine(directory).headline


def test_a_claim_that_accepts_more_studies_does_not_affect_a_frozen_study(make_study, tmp_path):
    path = tmp_path / "claim.yaml"
    path.write_text(CLAIM.format(first="a", t1=0.2, second="b", t2=0.15, classes=[120]), encoding="utf-8")
    directory = make_study(WIN, claim=str(path))
    said = examine(directory).headline
    path.write_text(CLAIM.format(first="a", t1=0.2, second="b", t2=0.15, classes=[120, 20]), encoding="utf-8")
    assert (examine(directory).deviations, examine(directory).headline) == ((), said)
    path.write_text(CLAIM.format(first="a", t1=0.2, second="b", t2=0.15, classes=[20]), encoding="utf-8")
    assert "the classes that the claim requires differs from the frozen value" in examine(directory).headline


@pytest.mark.parametrize("protocol", ["as_run", "controlled"])
def test_a_plan_frozen_before_the_exact_protocol_was_in_scope_of_the_claim_is_still_confirmatory(make_study, protocol):
    directory = make_study(WIN, scope={**SCOPE, "protocol": protocol})
    path = directory / records.ANALYSIS_PLAN
    document = json.loads(path.read_text(encoding="utf-8"))
    document["content"]["claim_scope"]["protocol"] = ["as_run", "as_described", "controlled"]
    from analysis.analysis_plan import digest

    document["sha256"] = digest(document["frozen_at"], document["runs_before"], document["content"])
    path.write_text(json.dumps(document), encoding="utf-8")
    assert (examine(directory).deviations, examine(directory).reasons) == ((), ())


def test_a_plan_that_was_frozen_before_plans_contained_the_scope_is_still_confirmatory(make_study):
    directory = make_study(WIN)
    path = directory / records.ANALYSIS_PLAN
    document = json.loads(path.read_text(encoding="utf-8"))
    for key in ("scope", "claim_scope"):
        del document["content"][key]
    from analysis.analysis_plan import digest

    document["sha256"] = digest(document["frozen_at"], document["runs_before"], document["content"])
    path.write_text(json.dumps(document), encoding="utf-8")
    assert examine(directory).deviations == ()


def test_arms_that_are_treated_differently_are_reported(make_study):
    directory = make_study(WIN)
    assert not any("Arms differ" in caution for caution in cautions(examine(directory)))

    def change(row):
        if row["arm"] == "aim":
            row |= {"epochs_planned": 50, "git_commit": "f" * 40}
        return row

    rewrite(directory, change)
    said = cautions(examine(directory))
    assert any(c.startswith("Arms differ in the number of epochs: baseline: 6") and "aim: 50" in c for c in said), (
        cautions
    )
    assert any("in the commit that computed them, so in more than their configuration" in c for c in said)


def test_seeds_without_an_effect_are_detected(make_study):
    directory = make_study(WIN)

    def change(row):
        if row["arm"] != "aim" or row["seed"] not in (1, 4):
            return row
        curve = [*row["epochs.test_accuracy"][:-1], 0.2]
        return {**row, "test_accuracy": 0.2, "test_loss": 3.25, "epochs.test_accuracy": curve}

    rewrite(directory, change)
    said = cautions(analysis.examine(analysis.load(directory), unproven=True))  # the predictions are not rewritten
    assert "aim: seeds 1 and 4 have exactly the same accuracy and loss; check that the seed has an effect." in said


def test_a_smallest_effect_of_interest_that_differs_from_the_claim_is_reported(make_study):
    said = cautions(examine(make_study(WIN, delta_pp=0.1)))
    assert "The study’s smallest effect of interest is 0.10 pp; the claim file declares 1.00 pp." in said


def test_two_studies_that_ask_different_questions_are_not_pooled(make_study):
    first = examine(make_study(WIN))
    vgg = {**SCOPE, "backbone": "vgg16_bn"}
    with pytest.raises(UsageError, match="differ in their smallest effect"):
        analysis.across(first, examine(make_study(WIN, scope=vgg, delta_pp=0.5)))
    with pytest.raises(UsageError, match="differ in their protocol"):
        analysis.across(first, examine(make_study(WIN, scope={**vgg, "protocol": "as_run"})))
    with pytest.raises(UsageError, match="differ in their claim"):
        analysis.across(first, examine(make_study(WIN, scope=vgg, claim=None)))
    both = analysis.across(first, examine(make_study(WIN, scope=vgg, first_seed=50)))
    assert "a proxy, which does not test the claim" in both.verdicts[1]
    assert "proxy" not in both.verdicts[0]


def test_invalid_seeds_are_refused_and_the_file_is_stated(make_study):
    directory = make_study(WIN, seeds=2)
    edit_plan(directory, seeds=[0, 0, 1])
    with pytest.raises(StoreError, match="a seed is listed twice"):
        analysis.load(directory)
    document = json.loads((directory / records.STUDY_FILE).read_text(encoding="utf-8"))
    document["runs"][0]["seed"] = 2**70
    edit_plan(directory, seeds=[0, 1], runs=document["runs"])
    with pytest.raises(StoreError, match=r"runs\[0\]\.seed does not fit into 64 bits"):
        analysis.load(directory)


def test_names_in_a_script_that_the_font_lacks_remain_distinguishable():
    found = labels(["記憶", "対照", "плюс β"])
    assert len(set(found.values())) == 3
    assert found["記憶"].startswith("1: ")
    assert found["плюс β"] == "плюс β"


def test_probabilities_under_a_flat_prior_are_areas_of_the_same_t_distribution(make_study):
    findings = examine(make_study(WIN, seeds=8))
    row = report_frames.table_frames(findings)["comparisons"].iloc[1]
    draws = np.random.default_rng(0).standard_t(row["n"] - 1, 400_000) * row["sd"] / np.sqrt(row["n"]) + row["mean"]
    assert row["p_positive"] == pytest.approx((draws > 0).mean(), abs=0.003)
    assert row["p_negligible"] == pytest.approx((np.abs(draws) < 1).mean(), abs=0.003)


def test_an_arm_named_like_another_role_keeps_its_own_role(make_study):
    twisted = [replace(WIN[3], name="baseline"), replace(WIN[0], name="aim")]
    findings = examine(make_study([replace(arm, of=None) for arm in twisted]))
    assert findings.primary.name == "baseline − aim"
    assert findings.primary.interval.mean > 4


def test_the_order_of_arms_does_not_change_any_number(make_study):
    drawn = np.random.default_rng(1).normal([[0.15], [0.152], [0.153], [0.2]], 0.004, (4, 6)).round(4)
    fixed = [replace(arm, accuracies=row.tolist()) for arm, row in zip(WIN, drawn, strict=True)]
    one, other = (examine(make_study(arms, images=10_000)) for arms in (fixed, fixed[::-1]))
    assert {c.name: c.interval for c in one.family.comparisons} == {
        c.name: c.interval for c in other.family.comparisons
    }
    assert one.headline == other.headline
    assert one.causal == other.causal


def test_arms_at_chance_level_have_no_verdict(make_study):
    status = {(arm.name, seed): "chance" for arm in WIN for seed in range(6)}
    findings = examine(make_study(WIN, status=status))
    assert "withheld (the baseline trained in only 0 of 6 seeds" in findings.headline
    assert findings.causal.startswith("It is open whether memory causes a gain")


def test_epochs_without_numbers_do_not_change_any_verdict(make_study):
    directory = make_study(ARMS)
    before = examine(directory)

    def change(row):
        row["epochs.test_accuracy"] = [float("nan"), *row["epochs.test_accuracy"][1:]]
        return row

    rewrite(directory, change)
    after = examine(directory)
    assert after.headline == before.headline
    assert remarks(after) == remarks(before)


def test_every_look_has_its_own_level(make_study):
    findings = examine(make_study(WIN, looks=[5], further_block=3, seeds=8))
    said = (
        "after 5 pairs, at the 97.5 % level, and once more after 8 pairs, including the further block, at the 97.5 % "
        "level"
    )
    assert said in dict(facts(findings))["Looks"]
    findings = examine(make_study(WIN, looks=[5, 6], further_block=2, seeds=8))
    said = (
        "after 5 and 6 pairs, each at the 98.35 % level, and once more after 8 pairs, including the further block, at "
        "the 97.5 %"
    )
    assert said in methods(findings)[0][1]


def test_if_training_is_unstable_in_almost_every_pair_the_number_of_remaining_pairs_is_stated(make_study):
    status = {("aim", seed): "chance" for seed in range(7)}
    losing = [FakeArm("baseline", "baseline", mean=0.3), FakeArm("aim", "aim", mean=0.31)]
    one = examine(make_study(losing, seeds=8, status=status)).headline
    assert "unstable training: in 1 pair both runs trained, and a verdict needs 5" in one
    none = examine(make_study(losing, seeds=8, status={**status, ("aim", 7): "chance"})).headline
    assert "unstable training: in no pair did both runs train, and a verdict needs 5" in none


@pytest.mark.parametrize(
    ("epochs", "name"),
    [(6, "mean of the last 5 epochs"), (3, "mean of the last 3 epochs"), (1, "mean of the last epoch")],
)
def test_the_check_of_late_epochs_states_how_many_epochs_it_averages(make_study, epochs, name):
    findings = examine(make_study(WIN, seeds=5, epochs=epochs))
    assert findings.primary.checks["check"][3] == name


def test_runs_of_different_lengths_average_different_numbers_of_epochs(make_study):
    findings = examine(make_study(WIN, seeds=5, epochs=6, status={("aim", 0): "diverged"}))
    assert findings.primary.checks["check"][3] == "mean of the last 5 epochs, 3 where a run has fewer"


def test_the_methods_section_describes_validation_images_correctly(make_study):
    def said(own, held_out=1200):
        directory = make_study(WIN, seeds=5)
        document = json.loads((directory / "study.json").read_text())
        (directory / "study.json").write_text(json.dumps(document | ({"own_validation": own} if own else {})))
        results = analysis.load(directory)
        results.runs["validation_images"] = held_out
        return methods(analysis.examine(results, unproven=True))[0][0]

    arms = [arm.name for arm in WIN]
    split, own = "the validation split", "come with the data and are the same for every seed."
    assert split in said([])
    assert own not in said([])
    assert split not in said([], held_out=0), "no images are held out"
    assert split not in said(arms)
    assert f"The validation images {own}" in said(arms)
    assert split in said(["aim"])
    assert f"The validation images of aim {own}" in said(["aim"])
    with pytest.raises(StoreError, match="own_validation names an arm that is not listed"):
        said(["nobody"])


def test_the_methods_section_states_which_photos_are_left_out(make_study):
    def said(left_out):
        directory = make_study(WIN, seeds=5)
        document = json.loads((directory / "study.json").read_text())
        (directory / "study.json").write_text(json.dumps(document | {"left_out": left_out}))
        return methods(analysis.examine(analysis.load(directory), unproven=True))[0][0]

    text = "9 photos left out: duplicate (9)"
    assert "left out" not in said({})
    assert f"Using a list, {text}. " in said({arm.name: text for arm in WIN})
    assert f"Using a list, {text} (in aim). " in said({"aim": text})
    for wrong in ({"nobody": text}, {"aim": "a\nb"}):
        with pytest.raises(StoreError, match="left_out"):
            said(wrong)


def test_the_caption_of_a_single_interval_states_where_the_interval_lies(make_study):
    from analysis.figures import forest

    def said(difference):
        values = [0.3, 0.302, 0.299, 0.301, 0.3]
        treated = [value + difference + d for value, d in zip(values, (0, 1e-3, -1e-3, 0, 1e-3), strict=True)]
        pair = [FakeArm("baseline", "baseline", accuracies=values), FakeArm("aim", "aim", accuracies=treated)]
        return forest.caption(examine(make_study(pair, seeds=5, images=4000)).family.comparisons)

    assert "The interval lies above δ = 1.00 pp." in said(0.04)
    assert "The interval lies above 0 but not above δ = 1.00 pp." in said(0.008)
    assert "The interval does not lie above 0." in said(-0.02)


def test_folds_are_reported_and_a_custom_data_option_called_split_is_not_a_fold():
    from analysis.findings.folds import sentence

    fold = {"data": {"name": "image_folder", "split": {"folds": 3, "fold": 1}}}
    assert sentence([fold, fold]) == "Every arm is tested on fold 1 of 3 alone; results on the other folds may differ."
    other = {"data": {"name": "image_folder", "split": {"folds": 3, "fold": 2}}}
    assert sentence([other, fold]).startswith(
        "Arms are tested on different folds (1 of 3 and 2 of 3). Folds are not ind"
    )
    for own in ("train", ["train"], {"folds": 3}, {"folds": "many", "fold": 0}, {"test_fraction": 0.2}, None):
        assert sentence([{"data": {"name": "mine", "split": own}}, {"data": None}, {}]) is None


def test_the_report_states_why_a_row_is_stale(make_study):
    directory = make_study(WIN, seeds=5)
    document = json.loads((directory / "study.json").read_text())
    document["runs"] = [run for run in document["runs"] if run["seed"] != 4]
    for run in document["runs"]:
        if (run["arm"], run["seed"]) == ("aim", 3):
            run["run_id"] = "f" * len(run["run_id"])
    document["arms"] = [arm for arm in document["arms"] if arm["name"] != "matched"]
    document["runs"] = [run for run in document["runs"] if run["arm"] != "matched"]
    (directory / "study.json").write_text(json.dumps(document))
    results = analysis.load(directory)
    table = stale(results.stale, results.plan)
    why = {(row[0], row[1]): row[-1] for row in table.rows}
    assert why["aim", "4"] == "the study no longer contains this seed"
    assert why["matched", "0"] == "the study no longer contains this arm"
    assert why["aim", "3"] == "the options, code or data of aim were changed, so a different run replaces it"
    assert len(why) == len(results.stale)


def test_the_methods_section_states_that_loaded_weights_are_the_same_for_every_seed(make_study):
    def said(*loading: str) -> str:
        arms = [
            FakeArm(name, name, config={"model": {"weights": {"source": "net.pt"}}} if name in loading else {})
            for name in ("baseline", "aim")
        ]
        return " ".join(methods(examine(make_study(arms)))[0])

    assert "aim loads weights from a file; the loaded weights are the same for every seed." in said("aim")
    assert "Every arm loads weights from a file; the loaded weights are the same for every seed." in said(
        "baseline", "aim"
    )
    assert "from a file" not in said()
