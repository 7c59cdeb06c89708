"""In figures, arms with factors are named by the levels in which they differ."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures.arm_names import arm_labels, names_explained, names_note, short_names
from analysis.figures.forest import draw
from analysis.figures.palette import marks

SWEEP = [
    "baseline",
    *(
        f"baseline[learning_rate={rate},batch_size=10,loss={loss}]"
        for rate in ("0.001", "0.02")
        for loss in ("cross_entropy", "multi_margin")
    ),
]


def test_parts_of_names_that_all_arms_share_are_left_out() -> None:
    assert list(short_names(SWEEP).values()) == [
        "baseline",
        "0.001, cross_entropy",
        "0.001, multi_margin",
        "0.02, cross_entropy",
        "0.02, multi_margin",
    ]
    assert names_note(SWEEP) == "\nArms: learning_rate, loss"
    assert names_explained(SWEEP) == (
        " Arms are named by their levels of learning_rate and loss, in this order; the CSV file contains the full "
        "names."
    )


def test_labels_are_whole_words_if_they_fit() -> None:
    assert arm_labels(SWEEP, 26, 1)[SWEEP[1]] == "0.001, cross_entropy"


@pytest.mark.parametrize(
    "names",
    [
        ["baseline", "aim[patience=5]", "aim[patience=7]"],
        ["a study of one arm with a long name[rate=1]", "baseline"],
        ["an arm with a long name and no level", "another arm with a long name and no level"],
        ["0.5", "a long name of a base[rate=0.5,size=1]", "a long name of a base[rate=0.7,size=1]"],
    ],
)
def test_short_names_and_names_in_a_different_form_are_unchanged(names: list[str]) -> None:
    if names[0] != "0.5":
        assert short_names(names) == {name: name for name in names}
        assert names_explained(names) == names_note(names) == ""
    assert len(set(short_names(names).values())) == len(names)


def test_arms_that_vary_different_factors_keep_the_factor_names() -> None:
    names = ["a_rather_long_baseline[learning_rate=0.1]", "a_rather_long_baseline[batch_size=5]"]
    assert list(short_names(names).values()) == ["learning_rate=0.1", "batch_size=5"]


def test_a_comma_within_a_level_does_not_end_the_level() -> None:
    names = [f"aim[optimizer=adam(beta1={beta},beta2=0.9),size=8,loss={beta}]" for beta in ("0.8", "0.9")]
    assert list(short_names(names).values()) == ["adam(beta1=0.8,beta2=0.9), 0.8", "adam(beta1=0.9,beta2=0.9), 0.9"]


def test_two_different_base_arms_are_named() -> None:
    names = [f"{base}[learning_rate={rate},batch_size=10]" for base in ("aim", "baseline") for rate in ("0.1", "0.02")]
    assert short_names(names)[names[0]] == "aim: learning_rate=0.1"


def test_the_forest_plot_shows_the_levels_and_its_frame_contains_the_full_names() -> None:
    rows = [(f"{name} − baseline", name, "baseline", 5, 1.0, 0.5, 1.5, 0.0, 2.0) for name in SWEEP[1:]]
    columns = ["comparison", "treatment", "control", "n", "mean", "lower", "upper"]
    summary = pd.DataFrame(rows, columns=[*columns, "prediction_lower", "prediction_upper"])
    axes = draw(summary, marks(SWEEP), 1.0).axes[0]
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert shown[0] == "0.001, cross_entropy\n− baseline"
    assert axes.get_xlabel().endswith("\nArms: learning_rate, loss")
    assert summary["treatment"].tolist() == SWEEP[1:]
