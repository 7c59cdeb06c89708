"""`check` shows the cost of a study before the study runs, and `doctor` shows whether this machine can run it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from in_process import ablate
from tiny_study import changed, write

import ablations.commands.doctor.gpus
from ablations.commands.check import check
from ablations.commands.check_notes import aggregated, differing
from ablations.commands.doctor.finding import Finding
from ablations.commands.doctor.machine import doctor
from ablations.estimation import host_memory
from ablations.estimation.estimate import ArmCost, Cost, packing
from ablations.execution.host_memory import begin_peak, private_peak, unmapped_bytes
from ablations.planning.arms import expand
from ablations.sessions.launch import run
from ablations.spec.resources import Resources
from ablations.spec.study import read_study
from aimlib.errors import ConfigError

StudyMaker = Callable[..., Path]


def test_the_cost_covers_all_runs(study: StudyMaker) -> None:
    result = check(study({"seeds": 3}))
    cost = result.cost
    assert cost is not None
    assert set(cost.arms) == {"baseline", "aim"}
    for arm in cost.arms.values():
        assert 0 < arm.step_seconds < 10
        assert arm.run_seconds > arm.step_seconds * 2 * 30 / 16, "two epochs of 30 images, and their evaluation"
        assert arm.runs == 3
    total = sum(arm.run_seconds * arm.runs for arm in cost.arms.values())
    assert cost.hours == pytest.approx(total / 3600)
    assert cost.wall_seconds == pytest.approx(total / cost.parallel)
    assert (cost.device, cost.unit, cost.parallel) == ("cpu", "CPU-hours", os.cpu_count())


def test_cpu_hours_count_all_cpus_of_a_run_and_are_not_called_device_hours(study: StudyMaker) -> None:
    arm = ArmCost(1.0, 1800.0, 2, cpus=4)
    assert Cost({"aim": arm}, "cpu", 2).hours == pytest.approx(4)
    assert Cost({"aim": arm}, "cpu", 2).wall_seconds == pytest.approx(1800)
    assert (Cost({"aim": arm}, "cuda", 2).hours, Cost({"aim": arm}, "cuda", 2).unit) == (1, "GPU-hours")


def test_the_notes_mention_what_is_worth_knowing(study: StudyMaker) -> None:
    few = check(study({"arms.matched": {"of": "aim", "control": "matched_parameters"}}), timing=False)
    assert few.cost is None
    assert "seeds: 2 pairs can only be used for screening; a verdict requires at least 5" in few.notes
    assert any(note.startswith("arms.aim: no update after layer3.0") for note in few.notes)
    assert any(note.startswith("arms.matched: this arm is widened") for note in few.notes)
    enough = check(study({"seeds": 5, "arms.aim.role": "other"}), timing=False)
    assert not any(note.startswith("seeds:") for note in enough.notes)
    said = "no arm has the role treatment, so there will be no verdict; give one arm `role: treatment`"
    assert said in enough.notes


def test_arms_that_cannot_produce_a_verdict_or_that_share_a_role_are_named(study: StudyMaker) -> None:
    other = {"role": "treatment", "of": "aim", "training": {"batch_size": 10}}
    both = check(study({"arms.aim.role": "treatment", "arms.other": other}), timing=False)
    said = (
        "arms aim, other have the role treatment, and the verdict uses the first of them, aim; give the others a "
        "different role, such as `role: other`"
    )
    assert said in both.notes
    controls = check(study({"arms.other": {**other, "role": "control"}, "arms.aim.role": "treatment"}), timing=False)
    assert not any("have the role" in note for note in controls.notes)
    alone = check(study({"arms": {"baseline": {}}}), timing=False)
    assert (
        "the study has only one arm, so there is nothing to compare, and there will be no verdict; add an arm under "
        "arms" in alone.notes
    )
    assert not any("no arm has the role" in note for note in alone.notes)


def test_combinations_that_are_equal_are_listed_with_the_arm_that_represents_them(study: StudyMaker) -> None:
    factors = {
        "memory": {"without": {"model": {"memory": None, "placement": "none", "update": "none"}}, "with": {}},
        "rate": {"slow": {}, "fast": {"training": {"optimizer": {"learning_rate": 0.01}}}},
        "update": {"sigmoid": {}, "none": {"model": {"update": "none"}}},
    }
    found = check(study({"factors": factors, "vary": "aim"}), timing=False)
    said = [note for note in found.notes if note.startswith("factors: the combination")]
    assert said == [
        "factors: the combination memory=without, rate=slow, update=none has the configuration of arm baseline, "
        "which represents it",
        "factors: the combination memory=without, rate=fast, update=none has the configuration of arm "
        f"{next(arm.name for arm in found.plan.arms if dict(arm.levels).get('rate') == 'fast')}, which represents it",
    ]


def test_placements_that_choose_the_same_layers_are_reported_as_the_same_network(study: StudyMaker) -> None:
    path = study(
        {"arms.stage": {"of": "aim", "model": {"placement": "stage_only"}}, "base.model.backbone.blocks": [1, 1, 1]}
    )
    same = [note for note in check(path, timing=False).notes if "choose the same layers" in note]
    assert same == [
        "model.placement block_entry and stage_only choose the same layers in this network, so the networks and "
        "results of aim and stage are the same; remove one of the two"
    ]
    other = study({"arms.every": {"of": "aim", "model": {"placement": "every_layer"}}})
    assert not any("choose the same layers" in note for note in check(other, timing=False).notes)


def test_a_note_that_applies_to_many_arms_is_shown_once(study: StudyMaker) -> None:
    arms = ["baseline", "a", "b", "c", "d", "e", "f"]
    notes = [f"arms.{name}: no update after layer3.0" for name in arms[1:]] + ["seeds: two", "arms.a: alone"]
    assert aggregated(notes, arms) == [
        "6 of 7 arms, all but baseline: no update after layer3.0",
        "seeds: two",
        "arms.a: alone",
    ]
    assert aggregated(notes[:4], arms)[0] == "4 of 7 arms: a, b and 2 more: no update after layer3.0"
    assert aggregated(notes[:4], arms, whole=True)[0] == "a, b, c, d: no update after layer3.0"


def test_differences_are_written_in_words(study: StudyMaker) -> None:
    found = differing(check(study({"arms.longer": {"training": {"epochs": 3}}}), timing=False).plan)
    assert found["baseline"] == []
    assert found["longer"] == ["training.epochs: 2 -> 3"]
    assert "model.memory: none -> conv_ones(channels=4, rows=2, columns=2, kernel=1x1)" in found["aim"]


def test_the_command_prints_arms_costs_and_notes(
    study: StudyMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = study({"seeds": 1, "arms.a:x:b": {"of": "aim", "model": {"update": "none"}}})
    code, out, err = ablate(capsys, "check", path)
    assert (code, err) == (0, "")
    assert "3 arms x 1 seed = 3 runs" in out
    assert "cost: " in out
    assert "a:x:b differs from the baseline in" in out, "names are shown unchanged"
    assert "note: seeds: 1 pair can only be used for screening" in out
    code, quiet, _ = ablate(capsys, "check", path, "--no-timing")
    assert code == 0
    assert "cost: " not in quiet
    assert "no problems" in quiet
    assert {path.name for path in tmp_path.iterdir()} == {"study.yaml"}, "a check leaves nothing behind"


@pytest.mark.slow
def test_the_estimate_for_the_demo_is_close_to_the_measured_time(tmp_path: Path) -> None:
    cost = check("demo", ["seeds=1"]).cost
    assert cost is not None
    expected = sum(arm.run_seconds for arm in cost.arms.values())
    began = time.monotonic()
    session = run("demo", tmp_path / "out", ["seeds=1"], executor="inline")
    taken = time.monotonic() - began
    assert session.computed == 4
    assert expected / 3 < taken < expected * 3 + 10, f"estimated {expected:.1f} s, took {taken:.1f} s"


# The doctor


def test_the_doctor_reports_on_every_subject(tmp_path: Path) -> None:
    found = doctor(tmp_path / "results", ray=False)
    by_subject = {finding.subject: finding for finding in found}
    for subject in (
        "Python",
        "torch",
        "ray",
        "pandas",
        "CPU",
        "results",
        "prepared data",
        "data digits",
        "data stanford_dogs",
    ):
        assert subject in by_subject
    assert any(finding.subject.startswith("GPU") for finding in found)
    assert by_subject["data digits"].state == "ok"
    assert by_subject["data digits"].message == "1,000 training and 500 test images"
    assert by_subject["data stanford_dogs"].state == "note"
    assert "ablate data download stanford_dogs" in by_subject["data stanford_dogs"].remedy
    assert {finding.state for finding in found} <= {"ok", "note"}, found
    assert list(tmp_path.iterdir()) == [], "an examination changes nothing"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that the user's own Ray token does not affect the findings."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ablations.execution.ray.loopback.listeners", list)


def test_a_failing_examination_is_reported_and_the_others_continue(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def _devices() -> Iterable[Finding]:
        yield Finding("CPU", "ok", "one")
        raise OSError("the driver is broken")

    monkeypatch.setattr(ablations.commands.doctor.gpus, "devices", _devices)
    found = doctor(tmp_path, ray=False)
    (problem,) = [finding for finding in found if finding.state == "problem"]
    assert (problem.subject, problem.message) == ("devices", "OSError: the driver is broken")
    assert problem.remedy
    assert "data digits" in {finding.subject for finding in found}
    code, out, _ = ablate(capsys, "doctor", "--no-ray", "--out", tmp_path)
    assert code == 1
    assert "the driver is broken" in out


def test_a_missing_library_is_a_problem_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.metadata

    version = importlib.metadata.version

    def without_seaborn(name: str) -> str:
        if name == "seaborn":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_seaborn)
    (problem,) = [finding for finding in doctor(tmp_path, ray=False) if finding.state == "problem"]
    assert (problem.subject, problem.message) == ("seaborn", "not installed")
    assert "make setup" in problem.remedy


def test_results_that_cannot_be_written_are_reported_as_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)
    found = {
        finding.subject: finding for finding in doctor(tmp_path / "a" / "b", ray=False) if finding.state == "problem"
    }
    assert found["results"].message == f"{tmp_path} cannot be written"
    assert "--out" in found["results"].remedy


def test_layers_that_cannot_read_are_reported(study: StudyMaker) -> None:
    mobile = {"base.model.backbone": {"name": "torchvision", "architecture": "mobilenet_v3_small"}}
    options = {"base.data.size": 32, "arms.aim.model.placement": "every_layer"}
    notes = [note for note in check(study({**mobile, **options}), timing=False).notes if "arms.aim" in note]
    told = [note for note in notes if "does not read the memory: grouped convolution (groups=" in note]
    assert len(told) == 3
    assert any(
        "8 more layers do not read the memory, for similar reasons: features.4.block.1.0" in note for note in notes
    )


def test_reads_from_the_static_memory_are_counted(study: StudyMaker) -> None:
    options = {"base.model.backbone.blocks": [2, 1, 3], "arms.aim.model.routing": "as_run"}
    notes = check(study(options), timing=False).notes
    assert any("arms.aim: 3 of 6 reads use the second memory, which is never updated" in note for note in notes)


@pytest.mark.parametrize(("control", "widened"), [("matched_multiply_adds", True), ("frozen_memory", False)])
def test_widened_arms_are_reported(study: StudyMaker, control: str, widened: bool) -> None:
    options: dict[str, Any] = {"name": control, "tolerance": 0.09} if widened else {"name": control}
    notes = check(study({"arms.control": {"of": "aim", "control": options}}), timing=False).notes
    assert any(note.startswith("arms.control: this arm is widened") for note in notes) == widened


def test_packing_is_proposed_based_on_the_measured_memory() -> None:
    def cost(device: Literal["cpu", "cuda"], parallel: int, **found: tuple[int | None, int]) -> Cost:
        arms = {arm: ArmCost(1, 1, 1, peak, fitting=fitting) for arm, (peak, fitting) in found.items()}
        return Cost(arms, device, parallel, 16_000_000_000, "T4")

    def given(**gpus: float | str) -> dict[str, Resources]:
        return {arm: Resources.parse({"gpus": each}) for arm, each in gpus.items()}

    large = 5_000_000_000
    gpu = cost("cuda", 4, small=(2_000_000_000, 5), large=(3 * large, 1), huge=(8 * large, 0), unknown=(None, 1))
    notes = packing(gpu, given(small=1, large=0.5, huge=1, unknown=1))
    assert notes[0] == (
        "arms.small: a run needs 2.52 of the 16.0 GB of T4; 5 runs per GPU: arms.small.resources: {gpus: 0.2}"
    )
    assert notes[1].endswith("1 run per GPU: arms.large.resources: {gpus: 1}")
    assert notes[2].endswith("does not fit; lower training.batch_size")
    assert packing(gpu, given(small=0.2, large=1, huge=1, unknown=0.1)) == notes[2:]
    assert packing(gpu, given(small="auto", large=1, huge=1, unknown=1))[0].endswith("gpus: auto allows 5 runs per GPU")
    on_cpu = cost("cpu", 4, small=(1, 1), large=(large, 1))
    assert packing(on_cpu, given(small=0, large=0)) == []
    (note,) = host_memory.notes(on_cpu, given(small=0, large=0))
    assert note.startswith("arms.large: 4 runs at once would take 20.0 GB, but this machine has 16.0 GB;")


def test_host_memory_is_proposed_based_on_the_measurement() -> None:
    measured = {"small": ArmCost(1, 1, 1, host_bytes=2**29), "large": ArmCost(1, 1, 1, host_bytes=3 * 2**30)}
    cost = Cost(measured, "cuda", 4, 16_000_000_000, "T4")
    nothing = dict.fromkeys(measured, Resources(gpus=1))
    assert host_memory.sentence(cost, nothing).startswith("up to 3GiB per run (large), measured; ")
    assert "resources: {memory: 3.75GiB}" in host_memory.sentence(cost, nothing)
    assert host_memory.notes(cost, nothing) == []
    stated = dict.fromkeys(measured, Resources(gpus=1, memory=2**31))
    assert host_memory.sentence(cost, stated) == "up to 3GiB per run (large), measured"
    (note,) = host_memory.notes(cost, stated)
    assert note.startswith("arms.large: a run takes about 3GiB of host memory, but resources.memory requests 2GiB;")
    assert Resources.parse({"memory": "3.75GiB"}).memory == host_memory.proposal(3 * 2**30)


def test_the_measured_host_memory_grows_with_the_memory_that_a_process_uses() -> None:
    begin_peak()
    before = private_peak()
    taken = np.ones(2**26, dtype=np.uint8)
    after = private_peak()
    assert before is not None
    assert after is not None
    assert 0.9 * taken.nbytes < after - before < 1.5 * taken.nbytes
    del taken
    begin_peak()
    reset = private_peak()
    assert reset is not None
    assert reset < after - 0.5 * 2**26, "the peak starts again"


def test_images_mapped_from_a_file_are_not_counted_as_memory(tmp_path: Path) -> None:
    np.zeros(4096, dtype=np.uint8).tofile(tmp_path / "pixels")
    mapped = np.asarray(np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="r"))
    assert unmapped_bytes(mapped.reshape(4, 32, 32)) == 0
    assert unmapped_bytes(np.zeros((4, 32, 32), dtype=np.uint8)) == 4096


def test_an_arm_can_have_its_own_resources_and_derived_arms_inherit_them(tmp_path: Path) -> None:
    arms = {"aim.resources": {"gpus": 0.5}, "frozen": {"of": "aim", "control": "frozen_memory"}}
    document = changed(
        {f"arms.{path}": value for path, value in arms.items()} | {"resources": {"gpus": 0.25, "cpus": 2}}
    )
    found = {arm.name: arm.resources for arm in expand(read_study(write(tmp_path, document)))}
    assert {name: (each.gpus, each.cpus) for name, each in found.items()} == {
        "baseline": (0.25, 2),
        "aim": (0.5, 2),
        "frozen": (0.5, 2),
    }
    wrong = changed({"arms.aim.resources": {"gpus": 0.5}, "resources": {"device": "cpu"}})
    with pytest.raises(ConfigError, match=r"arms\.aim\.resources: .*gpus: 0.5 has no effect, because device is cpu"):
        expand(read_study(write(tmp_path, wrong)))


def test_former_names_of_arguments_still_work(study: StudyMaker, tmp_path: Path) -> None:
    with pytest.warns(FutureWarning, match=r"'with_ray' of doctor\(\) is now 'ray'"):
        found = doctor(tmp_path, with_ray=False)  # type: ignore[call-arg]
    assert "Ray" not in {finding.subject for finding in found}
    with pytest.warns(FutureWarning, match=r"'try_numerics' of check\(\) is now 'numerics'"):
        checked = check(study(), timing=False, try_numerics=False)  # type: ignore[call-arg]
    assert checked.numerics == ()
