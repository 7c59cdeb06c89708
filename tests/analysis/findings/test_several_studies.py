"""Studies with several backbones, data sets and sizes: combined results, and combinations that are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_study import SCOPE, FakeArm, run_id

import ablations
import analysis
from ablations.commands.app import main
from aimlib import records
from aimlib.errors import UsageError
from analysis.figures.several_studies import caption, several_studies, summarise

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


def test_studies_with_three_backbones_are_read_together(three: list[Path]) -> None:
    studies = examined(*three)
    found = analysis.across(*studies)
    alone = [each.primary.interval for each in studies if each.primary]
    assert found.names == ("resnet50", "vgg16_bn", "mlp")
    assert found.mean.mean == pytest.approx(np.mean([each.mean for each in alone]))
    assert found.frame["mean"].tolist() == pytest.approx([each.mean for each in alone])
    assert found.frame["study"].tolist() == [str(each) for each in three]
    assert found.sentence.startswith(f"resnet50: {studies[0].primary.verdict.text}; vgg16_bn: ")
    assert "Positive in 2 of 3 settings, and in 2 after Holm's correction for their number" in found.sentence
    assert "By partial pooling, the effect in a further setting like these is " in found.sentence
    assert not found.all_positive
    assert all(
        min(alone[at].mean, found.pooled.mean) <= found.pooled.means[at] <= max(alone[at].mean, found.pooled.mean)
        for at in range(3)
    )
    with pytest.raises(UsageError, match="3 studies do not have a single difference"):
        _ = found.difference


def test_two_studies_have_a_difference_but_no_mean_across_settings(three: list[Path]) -> None:
    studies = examined(*three[:2])
    found = analysis.across(*studies)
    first, second = (each.primary.interval.mean for each in studies)
    assert found.difference.mean == pytest.approx(first - second)
    assert found.of_settings is None
    assert ". Positive in both settings." in found.sentence
    assert "two studies provide little evidence against it" in " ".join(found.assumptions)


def test_whether_studies_are_positive_is_read_at_the_level_of_their_own_looks(make_study: Any) -> None:
    """With O'Brien and Fleming's looks, the first has the level .0017 and the last one .0425."""

    def decided(name: str, number: int, gains: list[float]) -> Path:
        own = arms(0.0, backbone=name)
        own[0].accuracies, own[1].accuracies = [0.15] * len(gains), [0.15 + gain for gain in gains]
        directory: Path = make_study(
            own,
            seeds=len(gains),
            first_seed=20 * number,
            scope={**SCOPE, "backbone": name, "classes": 20},
            images=2000,
            claim=None,
            what="memory",
            looks={"pairs": [5, 8, 12], "spending": "obrien_fleming"},
            procedure=2,
        )
        return directory

    early = decided("resnet50", 0, [0.06, 0.061, 0.059, 0.06, 0.062])
    late = decided("vgg16", 1, [0.03, -0.01, 0.02, 0.0, 0.025, 0.01, -0.005, 0.03, 0.02, 0.0, 0.015, 0.01])
    studies = examined(early, late)
    verdicts = [each.primary.verdict.text for each in studies if each.primary]
    assert verdicts == ["material gain", "positive, size open"]
    found = analysis.across(*studies)
    assert found.effects[1].lower < 0 < studies[1].primary.interval.lower  # type: ignore[union-attr]
    assert found.all_positive
    assert ". Positive in both settings." in found.sentence
    assert any("all at the strictest of these levels, 99.83 %" in note for note in found.notes)


@pytest.mark.parametrize(
    ("scope", "names", "noted"),
    [
        ({"dataset": "cifar10"}, ("stanford_dogs", "cifar10"), True),
        ({"dataset": "cifar10", "classes": 10}, ("stanford_dogs, 120 classes", "cifar10, 10 classes"), True),
        ({"image_size": 64}, ("224 px", "64 px"), False),
        ({"backbone": "vgg16"}, ("resnet50", "vgg16"), False),
    ],
)
def test_studies_are_named_by_how_they_differ(
    make_study: Any, scope: dict[str, Any], names: tuple[str, str], noted: bool
) -> None:
    found = analysis.across(*examined(study(make_study, 0.02, 0), study(make_study, 0.02, 1, **scope)))
    assert found.names == names
    assert ("means different things on different data" in " ".join(found.notes)) is noted


def test_sizes_of_the_treatment_may_depend_on_the_setting_and_are_reported(make_study: Any) -> None:
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
def test_different_treatments_are_refused(make_study: Any, memory: dict[str, Any], said: str) -> None:
    other = study(make_study, 0.02, 1, memory=memory, backbone="vgg16")
    with pytest.raises(UsageError, match=f"in different options: {said}; give studies that ask the same question"):
        analysis.across(*examined(study(make_study, 0.02, 0), other))


def test_studies_with_the_same_setting_are_refused(make_study: Any) -> None:
    with pytest.raises(UsageError, match="so they have the same setting; give studies with different settings"):
        analysis.across(*examined(study(make_study, 0.02, 0), study(make_study, 0.02, 1)))


def test_studies_that_share_runs_are_refused(make_study: Any) -> None:
    one = study(make_study, 0.02, 0)
    other = study(make_study, 0.02, 0, backbone="vgg16")
    assert run_id(0, 0) in analysis.load(one).plan.runs["run_id"].tolist()
    with pytest.raises(UsageError, match="share 12 runs, so they are not independent; give each study once"):
        analysis.across(*examined(one, other))


def test_one_study_is_not_enough(make_study: Any) -> None:
    with pytest.raises(UsageError, match="1 study given; give at least two studies"):
        analysis.across(*examined(study(make_study, 0.02, 0)))


def test_the_figure_shows_every_study_and_the_combined_result(three: list[Path], tmp_path: Path) -> None:
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


def test_wrong_file_types_and_missing_paths_are_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.png, \.svg, \.pdf"):
        ablations.across(*three, figure=tmp_path / "effects.doc")
    with pytest.raises(UsageError, match=r"cannot write .*nowhere"):
        ablations.across(*three, csv=tmp_path / "nowhere" / "effects.csv")


def test_the_confidence_level_is_that_of_the_strictest_study(make_study: Any) -> None:
    one = make_study(arms(0.02), draw=0, scope=SCOPE, looks=[5, 8, 12], seeds=12)
    other = make_study(arms(0.02, backbone="vgg16"), draw=1, scope={**SCOPE, "backbone": "vgg16"}, first_seed=50)
    found = analysis.across(*examined(one, other))
    levels = [each.primary.interval.alpha for each in examined(one, other)]
    assert {each.alpha for each in found.effects} == {min(levels)}
    assert math.isclose(found.mean.alpha, min(levels))
    assert "stop when their mean is large" in " ".join(found.notes)


def undecided(make_study: Any, why: str, number: int) -> Path:
    """Return a study with a different backbone that has no verdict of its own, and the reason."""
    scope = {**SCOPE, "backbone": "vgg13"}
    options: dict[str, Any] = {"draw": number, "scope": scope, "first_seed": 10 * number, "procedure": 2}
    planned, seeds = arms(0.03, backbone="vgg13"), [10 * number + place for place in range(6)]
    if why == "screening only":
        options |= {"seeds": 2, "looks": [5]}
    elif why == "baseline trained":
        options["status"] = {("baseline", seed): "chance" for seed in seeds[:3]}
    elif why == "unbalanced":
        options["status"] = {("aim", seeds[0]): "failed"}
    elif why in ("all seeds have the same difference", "arms identical"):
        apart = 0.05 if why == "all seeds have the same difference" else 0.0
        planned[0].accuracies = [0.15 + 0.01 * place for place in range(6)]
        planned[1].accuracies = [each + apart for each in planned[0].accuracies]
    directory: Path = make_study(planned, **options)
    return directory


def rewrite(directory: Path, change: Any) -> None:
    """Change the stored rows in a compacted study."""
    for path in (directory / records.SEGMENTS).iterdir():
        rows = [change(dict(row)) for row in pq.read_table(path).to_pylist()]
        records.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


NO_VERDICT = (
    "screening only",
    "baseline trained",
    "unbalanced",
    "all seeds have the same difference",
    "arms identical",
)


@pytest.mark.parametrize("why", NO_VERDICT)
def test_a_study_without_a_verdict_of_its_own_is_listed_but_not_counted(
    make_study: Any, three: list[Path], why: str
) -> None:
    alone = analysis.across(*examined(*three[:2]))
    found = analysis.across(*examined(undecided(make_study, why, 5), *three[:2]))
    assert [each.name for each in found.left_out] == ["vgg13"]
    assert why in found.left_out[0].verdict
    assert found.names == alone.names
    assert (found.mean, found.p_holm, found.improvement) == (alone.mean, alone.p_holm, alone.improvement)
    assert found.pooled.means.tolist() == alone.pooled.means.tolist()
    assert (
        f"vgg13: {found.left_out[0].verdict}. Left out, because it has no verdict of its own: vgg13. " in found.sentence
    )
    assert "Positive in both settings (resnet50 and vgg16_bn). " in found.sentence
    last = found.frame.iloc[-1]
    assert (last["name"], last["verdict"]) == ("vgg13", found.left_out[0].verdict)
    assert last[["mean", "lower", "upper", "p", "pooled_mean"]].isna().all()
    assert caption(found).endswith("Left out, because it has no verdict of its own: vgg13.")


@pytest.mark.parametrize("why", NO_VERDICT)
def test_nothing_is_pooled_if_only_one_study_has_a_verdict(make_study: Any, three: list[Path], why: str) -> None:
    with pytest.raises(UsageError, match=f"nothing to pool: 1 of 2 studies has its own verdict.*vgg13.*{why}"):
        analysis.across(*examined(three[0], undecided(make_study, why, 5)))


def test_studies_with_contradictory_rows_are_left_out(make_study: Any, three: list[Path]) -> None:
    edited = study(make_study, 0.03, 6, backbone="vgg19")
    rewrite(edited, lambda row: row | ({"config": '{"seed": 1000}'} if row["arm"] == "aim" else {}))
    found = analysis.across(*examined(*three[:2], edited))
    assert "withheld (stored rows contradict themselves" in found.left_out[0].verdict
    assert found.names == ("resnet50", "vgg16_bn")
    with pytest.raises(UsageError, match="nothing to pool: 1 of 2 studies"):
        analysis.across(*examined(three[0], edited))


def test_collapsed_runs_and_epochs_selected_by_test_data_are_limitations_of_a_study(
    make_study: Any, three: list[Path]
) -> None:
    planned = arms(0.04, backbone="vgg19")
    planned[0].accuracies = [0.150, 0.151, 0.05, 0.149, 0.152, 0.148]
    planned[1].accuracies = [0.190, 0.191, 0.189, 0.192, 0.188, 0.19]
    scope = {**SCOPE, "backbone": "vgg19"}
    one = make_study(planned, draw=7, scope=scope, first_seed=70, images=2000, looks=[5, 6])
    rewrite(one, lambda row: row | {"selection_oracle": True})
    found = analysis.across(*examined(three[0], one))
    assert "(baseline with seed 72 collapsed; test data chose the epochs; a proxy" in found.verdicts[1]
    assert "collapsed" not in found.verdicts[0]


def test_the_notes_list_the_limitations_of_a_study(make_study: Any, three: list[Path]) -> None:
    one = study(make_study, 0.03, 8, backbone="vgg19")
    rewrite(one, lambda row: row | ({"train_images": 9000} if row["arm"] == "aim" else {}))
    cautions = analysis.examine(analysis.load(one)).cautions
    assert cautions
    found = analysis.across(*examined(three[0], one))
    assert set(found.notes) >= {f"vgg19: {caution}" for caution in cautions}


def test_the_console_refuses_studies_that_share_some_runs(
    make_study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = study(make_study, 0.02, 0)
    other = make_study(arms(0.02, backbone="vgg16"), scope={**SCOPE, "backbone": "vgg16"}, first_seed=3)
    monkeypatch.setattr("sys.argv", ["ablate", "across", str(one), str(other)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "share 6 runs, so they are not independent" in " ".join(capsys.readouterr().err.split())
