"""The methods section states what the store knows about the training, and does not contain false sentences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from synthetic_study import FakeArm

import analysis
from analysis.report.methods import methods
from analysis.report.provenance import facts, provenance
from analysis.report.tables.runs import outcomes

TRAINING: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 25,
    "optimizer": {
        "name": "adam",
        "learning_rate": 0.005,
        "weight_decay": 0.0,
        "beta1": 0.9,
        "epsilon_on": "corrected",
        "fused": False,
    },
    "schedule": None,
    "early_stopping": None,
    "input_scaling": "standardise",
    "augmentation": None,
    "transforms": [],
    "loss": None,
    "label_smoothing": 0.0,
    "callbacks": [{"name": "sharpness"}],
    "fine_tuning": None,
}


def arm(name: str, role: str, mean: float, levels: dict[str, str] | None = None, **options: Any) -> FakeArm:
    return FakeArm(name, role, mean, levels=levels or {}, config={"training": TRAINING | options})


def two(**options: Any) -> list[FakeArm]:
    return [arm("baseline", "baseline", 0.15), arm("aim", "aim", 0.17, **options)]


def said(directory: Any, **columns: Any) -> str:
    results = analysis.load(directory)
    changed = dataclasses.replace(results, runs=results.runs.assign(**columns))
    return " ".join(methods(analysis.examine(changed, unproven=True))[0])


def test_options_that_all_arms_share_are_stated_in_one_sentence(make_study: Any) -> None:
    text = said(make_study(two(), epochs=6), epochs_planned=6, epochs_run=6)
    assert (
        "Training uses the optimizer adam (beta1 0.9), a learning rate of 0.005, no learning-rate schedule, batches of "
        "25 images, the cross-entropy loss, images standardized by channel and no augmentation."
    ) in text
    assert "was trained on 10\u202f800 images and validated on 1\u202f200." in text
    assert "for 6 epochs" in text


def test_an_option_in_which_arms_differ_is_stated_for_each_arm(make_study: Any) -> None:
    tuned = {"freeze": [{"layers": ["conv1", "bn1"], "epochs": 2}], "layer_decay": 0.8}
    text = said(make_study(two(loss={"name": "poly1", "epsilon": 1.0}, fine_tuning=tuned)))
    assert "Arms differ in the loss: the cross-entropy loss in baseline; the loss poly1 (epsilon 1) in aim." in text
    assert (
        "Arms differ in fine-tuning: none in baseline; frozen layers (conv1 and bn1, for the first 2 epochs) and a "
        "layer-wise decay of the learning rate by 0.8 in aim."
    ) in text


def test_the_number_of_epochs_is_called_a_maximum_only_if_runs_can_end_early(make_study: Any) -> None:
    assert "for at most 6 epochs" in said(make_study(two(early_stopping={"patience": 3})), epochs_run=6)
    assert "for at most 6 epochs" in said(make_study(two()), epochs_run=5)
    assert "at most 6 epochs" not in said(make_study(two()), epochs_run=6)


def test_seeds_are_not_said_to_determine_augmentation_if_there_is_none(make_study: Any) -> None:
    with_it = said(make_study(two(augmentation={"rotation": 0.1})))
    assert "the order of the images and the augmentation." in with_it
    assert "share and the order of the images." in said(make_study(two()))


def test_layers_in_own_code_are_not_said_to_start_with_the_same_values(make_study: Any) -> None:
    own = json.dumps({"backbones/mine": "own code: mine.py, sha256 0", "datasets/digits": "aim-ablations"})
    text = said(make_study(two()), plugins=own)
    assert "layers that arms share" not in text
    assert "layers of mine, which other code builds, may have different initial values in different arms." in text


def test_a_reported_scalar_is_not_said_to_be_measured_on_images(make_study: Any) -> None:
    measure = {"scalar": "weight_norm", "better": "lower"}
    directory = make_study(two(), measure=measure, delta=0.5, procedure=2)
    text = " ".join(methods(analysis.examine(analysis.load(directory), unproven=True))[0])
    assert "The weight_norm is a number that the callback sharpness reports; lower is better." in text
    assert "weight_norm is measured on" not in text


@pytest.mark.parametrize(("epochs", "available"), [(8, True), (6, False)])
def test_replayed_early_stopping_is_reported_only_if_it_is_available(
    make_study: Any, epochs: int, available: bool
) -> None:
    findings = analysis.examine(analysis.load(make_study(two(), epochs=epochs, procedure=2)), unproven=True)
    assert ("replayed early stopping" in " ".join(methods(findings)[0])) == available


def test_the_rule_for_collapses_is_stated_in_the_words_of_the_measure(make_study: Any) -> None:
    findings = analysis.examine(
        analysis.load(make_study(two(), measure="loss", delta=0.05, procedure=2)), unproven=True
    )
    text = " ".join(methods(findings)[0])
    assert "effect of interest above the other seeds of its arm" in text
    assert "in test loss or in its paired difference" in text
    accuracy = " ".join(methods(analysis.examine(analysis.load(make_study(two(), procedure=2)), unproven=True))[0])
    assert "effect of interest below the other seeds" in accuracy
    assert "in accuracy or in its paired difference" in accuracy


def test_looks_that_were_not_reached_are_not_reported_as_read(make_study: Any) -> None:
    text = said(make_study(two(), seeds=2, looks=[5, 8, 12]))
    assert "The verdict was to be read after 5, 8 and 12 pairs" in text
    assert "No look has been reached: there are 2 complete pairs." in text
    assert "No look has been reached" not in said(make_study(two(), seeds=5, looks=[5, 8, 12]))


def test_two_quantities_that_an_interval_is_compared_with_are_joined_by_and(make_study: Any) -> None:
    assert "is compared with 0 and the smallest effect of interest (1.00 pp), using a table" in said(
        make_study(two(), claim=None)
    )


def test_the_controls_of_a_treatment_form_one_list(make_study: Any) -> None:
    controls = [FakeArm(name, "control", 0.15, question=f"Is it more than {name}?") for name in ("wider", "still")]
    text = said(make_study([*two(), *controls], what="attention", claim=None))
    assert "the baseline, wider (“Is it more than wider?”) and still (“Is it more than still?”)." in text


def test_the_rule_for_selecting_the_epoch_is_described(make_study: Any) -> None:
    assert "The reported epoch of each run is the last epoch." in said(make_study(two()), selection="last_epoch")
    assert "is the first epoch with the highest validation accuracy." in said(make_study(two()))


def test_if_there_are_many_combinations_of_factors_they_are_not_listed_by_name(make_study: Any) -> None:
    made = [
        arm(
            f"baseline[learning_rate={rate},batch_size={size}]",
            "other",
            0.15,
            {"training.optimizer.learning_rate": rate, "training.batch_size": size},
            batch_size=int(size),
        )
        for rate in ("0.02", "0.001", "0.005")
        for size in ("10", "25")
    ]
    text = said(make_study(made, claim=None))
    assert (
        "We trained 6 arms, which are all combinations of the factors learning rate (0.001, 0.005 and 0.02) and batch "
        "size (10 and 25), on"
    ) in text
    assert "Arms differ in the batch size: batches of 10 images in 3 arms; batches of 25 images in 3 arms." in text
    assert "We trained 5 arms, which are 5 combinations of" in said(make_study(made[1:], claim=None))


@pytest.mark.parametrize(
    ("procedure", "chance"), [(1, "1 / classes"), (2, "the share of the largest class of test images")]
)
def test_chance_level_is_the_same_in_the_table_the_figure_and_the_methods_section(
    make_study: Any, procedure: int, chance: str
) -> None:
    from analysis.report.figures import _strip

    findings = analysis.examine(analysis.load(make_study(two(), procedure=procedure)), unproven=True)
    assert f"does not exceed {chance}." in outcomes(findings).note
    second = procedure == 2
    assert ("largest class of test images" in " ".join(methods(findings)[0])) == second
    assert ("%, the share of the largest class" in _strip(findings).caption) == (
        second and "Guessing" in _strip(findings).caption
    )


@pytest.mark.parametrize(("seconds", "text"), [(7200.0, "2.00 h"), (90.0, "1.50 min"), (2.5, "2.50 s")])
def test_wall_time_is_given_in_a_suitable_unit(make_study: Any, seconds: float, text: str) -> None:
    results = analysis.load(make_study(two(), seeds=2))
    runs = results.runs.assign(seconds=seconds / len(results.runs))
    findings = analysis.examine(dataclasses.replace(results, runs=runs), unproven=True)
    assert dict(provenance(findings))["Total wall time"] == (text,)


def test_the_facts_state_which_look_decided_if_there_are_later_pairs(make_study: Any) -> None:
    arms = [
        FakeArm(name, name, accuracies=[mean + 0.0001 * (seed % (3 if name == "aim" else 4)) for seed in range(8)])
        for name, mean in (("baseline", 0.20), ("aim", 0.15))
    ]

    def found(seeds: int) -> dict[str, str]:
        directory = make_study(arms, seeds=seeds, looks=[5, 8], claim=None, images=10_000)
        return dict(facts(analysis.examine(analysis.load(directory), unproven=True)))

    assert found(8).get("Verdict from") == "the look after 5 pairs; 3 later pairs did not count"
    assert "Verdict from" not in found(5)


@pytest.mark.parametrize(("epochs", "whole"), [(5, True), (6, False)])
def test_the_mean_over_all_epochs_has_no_verdict(make_study: Any, epochs: int, whole: bool) -> None:
    findings = analysis.examine(analysis.load(make_study(two(), epochs=epochs, procedure=2)), unproven=True)
    checks = findings.primary.checks.set_index("check")["verdict"]
    assert (checks["mean of the last 5 epochs"] == "none: these are all epochs of a run") == whole


def test_a_run_that_diverged_early_does_not_remove_the_verdict_on_late_epochs(make_study: Any) -> None:
    directory = make_study(two(), epochs=12, procedure=2, status={("aim", 0): "diverged"})
    checks = analysis.examine(analysis.load(directory), unproven=True).primary.checks
    late = checks[checks["check"].str.startswith("mean of the last")].iloc[0]
    assert not late["verdict"].startswith("none")
