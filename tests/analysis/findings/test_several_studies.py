"""Studies on several backbones, data sets and sizes: what is said together, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import SCOPE, FakeArm, run_id

import ablations
import analysis
from aimlib.errors import UsageError
from analysis.figures.several_studies import several_studies, summarise

BASELINE: dict[str, Any] = {"seed": 0, "model": {"backbone": {"name": "resnet50", "depth": 50}}, "data": {"size": 224}}
MEMORY: dict[str, Any] = {"name": "conv_ones", "channels": 64}


def arms(gain: float, memory: dict[str, Any] = MEMORY, backbone: str = "resnet50") -> list[FakeArm]:
    model = {"backbone": {"name": backbone, "depth": 50}}
    return [
        FakeArm("baseline", "baseline", 0.15, config={**BASELINE, "model": model}),
        FakeArm("aim", "treatment", 0.15 + gain, config={**BASELINE, "model": {**model, "memory": memory}}),
    ]


def study(make_study: Any, gain: float, number: int, *, memory: dict[str, Any] = MEMORY, **scope: Any) -> Path:
    backbone = scope.get("backbone", "resnet50")
    where = {**SCOPE, **scope}
    directory: Path = make_study(arms(gain, memory, backbone), draw=number, scope=where, first_seed=10 * number)
    return directory


def examined(*directories: Path) -> list[analysis.Findings]:
    return [analysis.examine(analysis.load(each)) for each in directories]


@pytest.fixture
def three(make_study: Any) -> list[Path]:
    return [
        study(make_study, gain, number, backbone=backbone)
        for number, (gain, backbone) in enumerate([(0.03, "resnet50"), (0.02, "vgg16_bn"), (0.0, "mlp")])
    ]


def test_three_backbones_are_read_together(three: list[Path]) -> None:
    studies = examined(*three)
    found = analysis.across(*studies)
    alone = [each.primary.interval for each in studies if each.primary]
    assert found.names == ("resnet50", "vgg16_bn", "mlp")
    assert found.mean.mean == pytest.approx(np.mean([each.mean for each in alone]))
    assert found.frame["mean"].tolist() == pytest.approx([each.mean for each in alone])
    assert found.frame["study"].tolist() == [str(each) for each in three]
    assert found.sentence.startswith(f"resnet50: {studies[0].primary.verdict.text}; vgg16_bn: ")
    assert "Positive in 2 of 3 settings, in 2 after Holm's correction for their number" in found.sentence
    assert "In a further setting like these, by partial pooling: " in found.sentence
    assert not found.all_positive
    assert all(
        min(alone[at].mean, found.pooled.mean) <= found.pooled.means[at] <= max(alone[at].mean, found.pooled.mean)
        for at in range(3)
    )
    with pytest.raises(UsageError, match="3 studies have no single difference"):
        _ = found.difference


def test_two_studies_have_a_difference_and_no_mean_of_all_settings(three: list[Path]) -> None:
    studies = examined(*three[:2])
    found = analysis.across(*studies)
    first, second = (each.primary.interval.mean for each in studies)
    assert found.difference.mean == pytest.approx(first - second)
    assert found.of_settings is None
    assert ". Positive on both." in found.sentence
    assert "two studies say little against it" in " ".join(found.assumptions)


@pytest.mark.parametrize(
    ("scope", "names", "noted"),
    [
        ({"dataset": "cifar10"}, ("stanford_dogs", "cifar10"), True),
        ({"dataset": "cifar10", "classes": 10}, ("stanford_dogs, 120 classes", "cifar10, 10 classes"), True),
        ({"image_size": 64}, ("224 px", "64 px"), False),
        ({"backbone": "vgg16"}, ("resnet50", "vgg16"), False),
    ],
)
def test_studies_are_named_by_what_differs(
    make_study: Any, scope: dict[str, Any], names: tuple[str, str], noted: bool
) -> None:
    found = analysis.across(*examined(study(make_study, 0.02, 0), study(make_study, 0.02, 1, **scope)))
    assert found.names == names
    assert ("does not mean the same on different data" in " ".join(found.notes)) is noted


def test_sizes_of_the_treatment_may_follow_the_setting_and_are_named(make_study: Any) -> None:
    small = study(make_study, 0.02, 1, memory={**MEMORY, "channels": 16}, image_size=64)
    found = analysis.across(*examined(study(make_study, 0.02, 0), small))
    assert "The treatments differ in model.memory.channels (64, 16)." in found.notes


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ({**MEMORY, "name": "dense_ones"}, "model.memory = conv_ones and model.memory = dense_ones"),
        ({**MEMORY, "update": "none"}, "model.memory.update = none"),
    ],
)
def test_other_treatments_are_refused(make_study: Any, memory: dict[str, Any], said: str) -> None:
    other = study(make_study, 0.02, 1, memory=memory, backbone="vgg16")
    with pytest.raises(UsageError, match=f"in different options: {said}; give studies that ask the same question"):
        analysis.across(*examined(study(make_study, 0.02, 0), other))


def test_one_setting_is_refused(make_study: Any) -> None:
    with pytest.raises(UsageError, match="that is one setting; give studies of different settings"):
        analysis.across(*examined(study(make_study, 0.02, 0), study(make_study, 0.02, 1)))


def test_shared_runs_are_refused(make_study: Any) -> None:
    one = study(make_study, 0.02, 0)
    other = study(make_study, 0.02, 0, backbone="vgg16")
    assert run_id(0, 0) in analysis.load(one).plan.runs["run_id"].tolist()
    with pytest.raises(UsageError, match="share 12 runs, so they are not independent; give each study once"):
        analysis.across(*examined(one, other))


def test_one_study_is_too_few(make_study: Any) -> None:
    with pytest.raises(UsageError, match="1 study given; give at least two studies"):
        analysis.across(*examined(study(make_study, 0.02, 0)))


def test_the_figure_shows_every_study_and_what_they_say_together(three: list[Path], tmp_path: Path) -> None:
    found = ablations.across(*three, csv=tmp_path / "effects.csv", figure=tmp_path / "effects.png")
    summary = summarise(found)
    assert summary["kind"].tolist() == ["study"] * 3 + ["partially pooled"] * 3 + ["together"] * 3
    assert summary["name"].tolist()[-3:] == ["mean of these", "mean of all settings", "a further setting"]
    ends = summary.tail(1).iloc[0]
    assert ends["lower"] < found.pooled.mean_lower
    assert ends["upper"] > found.pooled.mean_upper
    axes = several_studies(found).axes[0]
    low, high = axes.get_xlim()
    assert low < summary["lower"].min()
    assert high > summary["upper"].max()
    assert (tmp_path / "effects.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "effects.csv").read_text("utf-8").count("\n") == 4


def test_files_of_another_kind_and_places_that_do_not_exist_are_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.png, \.svg, \.pdf"):
        ablations.across(*three, figure=tmp_path / "effects.doc")
    with pytest.raises(UsageError, match=r"cannot write .*nowhere"):
        ablations.across(*three, csv=tmp_path / "nowhere" / "effects.csv")


def test_the_level_is_that_of_the_strictest_study(make_study: Any) -> None:
    one = make_study(arms(0.02), draw=0, scope=SCOPE, looks=[5, 8, 12], seeds=12)
    other = make_study(arms(0.02, backbone="vgg16"), draw=1, scope={**SCOPE, "backbone": "vgg16"}, first_seed=50)
    found = analysis.across(*examined(one, other))
    levels = [each.primary.interval.alpha for each in examined(one, other)]
    assert {each.alpha for each in found.effects} == {min(levels)}
    assert math.isclose(found.mean.alpha, min(levels))
    assert "stop when their mean is large" in " ".join(found.notes)
