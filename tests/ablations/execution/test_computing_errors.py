"""Wrong results in a study: no wrong run is settled, and a device that repeats its errors computes no more runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_errors import WHERE, errors
from rich.console import Console
from tiny_study import changed, failures, numbers, planned, rows, write

import ablations.execution.run_task
from ablations.commands.check_notes import notes
from ablations.execution import device_failures, device_references, retry_policy
from ablations.execution.attempts import ending_of
from ablations.execution.device_failures import DeviceFailures
from ablations.execution.device_references import Judgement, judge
from ablations.execution.retry_policy import Over, Retry
from ablations.execution.scheduler import Scheduler
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.sessions.result import SessionResult
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from ablations.store.references import StoredReference
from aimlib.errors import ComputingError, ConfigError
from aimlib.training import reference_step
from aimlib.training.reproducibility import reproducible
from aimlib.training.spot_checks import SpotBudget

ONE_ARM = {"seeds": 1, "base.training.epochs": 3}
"""Two runs of three epochs with two steps each."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a delay, count errors even in quick succession, and start each test like a new process."""
    monkeypatch.setattr(retry_policy, "_DEVICE_DELAY_S", 0.01)
    monkeypatch.setattr(device_failures, "_SAME_FAULT_S", 0.0)
    monkeypatch.setattr(device_references, "_computed", {})


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat every step."""
    monkeypatch.setattr(ablations.execution.run_task, "_spot_budget", SpotBudget(math.inf))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the study's results, computed without errors and without checks."""
    folder = tmp_path_factory.mktemp("calm")
    run(write(folder, changed({**ONE_ARM, "integrity": "off"})), folder / "out", executor="inline")
    return numbers(folder / "out")


class Told:
    """What a session printed."""

    def __init__(self, path: Path, folder: Path) -> None:
        with (folder / "told.txt").open("w", encoding="utf-8") as file:
            console = Console(file=file, width=2000, force_terminal=False)
            self.session: SessionResult = run(path, folder / "out", executor="inline", console=console)
        self.text = (folder / "told.txt").read_text(encoding="utf-8")


# Spot checks in a session


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("where", WHERE)
def test_a_transient_error_causes_a_retry_and_does_not_change_any_result(
    where: str, tmp_path: Path, study: Callable[..., Path], calm: dict[str, str]
) -> None:
    """The error occurs in the first run, in the first computation of the fourth of six steps."""
    with errors(where, lambda number: number == 7 + 2) as planted:  # the reference step also takes two steps
        told = Told(study(ONE_ARM), tmp_path)
    assert planted == [9]
    assert (told.session.computed, told.session.failed, told.session.code) == (2, {}, 0)
    assert numbers(tmp_path / "out") == calm
    assert "computing error on CPU of" in told.text
    assert "step 2 of epoch 2 was computed twice from the same state, and the results differ in" in told.text
    checks = {row["run_id"]: (row["spot_checks"], row["attempts"]) for row in rows(tmp_path / "out")}
    assert sorted(checks.values()) == [(4, 2), (6, 1)], "the first attempt was lost after one epoch"
    assert not list((tmp_path / "out" / "failures").glob("*")), "no arm's code failed"


@pytest.mark.usefixtures("everywhere")
def test_a_device_with_permanent_errors_ends_the_session_without_settled_runs(
    tmp_path: Path, study: Callable[..., Path], calm: dict[str, str]
) -> None:
    """This process has no other device; the same command continues after the errors have stopped."""
    path = study(ONE_ARM)
    with errors("gradient", lambda number: number > 2 and number % 2 == 0):
        told = Told(path, tmp_path)
    assert told.session.code == 1
    assert "failed twice and is excluded: computing error:" in told.text
    assert "test its memory and processors" in told.session.interrupted
    assert "this step is not repeatable on this device" in told.session.interrupted
    assert "integrity: off" in told.session.interrupted
    assert len(told.session.open) == 2
    assert rows(tmp_path / "out") == []
    again = Told(path, tmp_path)
    assert again.session.code == 0
    assert numbers(tmp_path / "out") == calm


def test_rows_contain_the_number_of_checked_steps(tmp_path: Path, study: Callable[..., Path]) -> None:
    run(study({"seeds": 1}), tmp_path / "out", executor="inline")
    found = rows(tmp_path / "out")
    assert {row["spot_checks"] for row in found} <= {0, 1}, "too short for checks within .5 % of the time"
    (reference,) = {row["reference"] for row in found}
    assert len(reference) == 16
    (file,) = (tmp_path / "out" / "references").iterdir()
    assert file.name.endswith(f".{reference}.json")
    assert json.loads(file.read_text())["name"].startswith("CPU of ")


def test_integrity_off_does_not_repeat_steps_and_keeps_the_run_ids(
    tmp_path: Path, study: Callable[..., Path], everywhere: None
) -> None:
    on, off = study({"seeds": 1}), study({"seeds": 1, "integrity": "off"}, "off.yaml")
    run(off, tmp_path / "off", executor="inline")
    run(on, tmp_path / "on", executor="inline")
    assert planned(tmp_path / "on") == planned(tmp_path / "off")
    assert numbers(tmp_path / "on") == numbers(tmp_path / "off")
    assert {(row["spot_checks"], row["reference"]) for row in rows(tmp_path / "off")} == {(None, None)}
    assert {row["spot_checks"] for row in rows(tmp_path / "on")} == {4}
    assert list((tmp_path / "off" / "references").iterdir()) == []


# Settings of a study


def integrities(path: Path, tmp_path: Path) -> dict[str, str]:
    plan = planning.plan(read_study(path))
    return {task.arm: task.integrity for task in tasks(plan, ResultStore(tmp_path / "out"), list(plan.runs))}


def test_an_arm_can_turn_repeated_steps_off(tmp_path: Path, study: Callable[..., Path]) -> None:
    frozen = {"of": "aim", "control": "frozen_memory"}
    path = study({"arms.aim.integrity": "off", "arms.frozen": frozen, "seeds": 1})
    assert integrities(path, tmp_path) == {"baseline": "spot", "aim": "reference", "frozen": "reference"}


def test_an_arm_can_turn_repeated_steps_on(tmp_path: Path, study: Callable[..., Path]) -> None:
    path = study({"integrity": "off", "arms.aim.integrity": "spot", "seeds": 1})
    assert integrities(path, tmp_path) == {"baseline": "off", "aim": "spot"}


def test_steps_with_nondeterministic_kernels_are_not_repeated(tmp_path: Path, study: Callable[..., Path]) -> None:
    """CUDA has no deterministic backward pass for VGG's pooling at this size."""
    vgg = {"name": "vgg16_bn", "widths": [2, 2, 2, 2, 2], "dense": [4, 4]}
    path = study(
        {
            "base.data.size": 32,
            "arms.aim": {"model": {"backbone": vgg}, "role": "aim"},
            "seeds": 1,
            "resources": {"gpus": 1},
        }
    )
    plan = planning.plan(read_study(path))
    assert plan.summaries["aim"].nondeterministic_on_gpu
    assert integrities(path, tmp_path) == {"baseline": "spot", "aim": "reference"}
    expected = (
        "no step is repeated to detect wrong numbers, because not all of the arm's kernels are deterministic on a GPU"
    )
    assert f"arms.aim: {expected}" in list(notes(plan))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (
            {"arms.aim.integrity": "off"},
            ["arms.aim: no step is repeated to detect wrong numbers, because the study sets integrity: off"],
        ),
        ({"integrity": "off"}, ["integrity: off: there is no check for wrong numbers computed by a device"]),
    ],
)
def test_check_names_the_arms_that_are_not_checked(
    changes: dict[str, Any], expected: list[str], study: Callable[..., Path]
) -> None:
    found = notes(planning.plan(read_study(study(changes))))
    assert [note for note in found if "wrong numbers" in note] == expected


@pytest.mark.parametrize("value", ["on", "always", True, 0.5])
def test_an_unknown_value_is_refused_with_its_key(value: Any, study: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"study.yaml: integrity: .*'spot' or 'off'"):
        read_study(study({"integrity": value}))


def test_integrity_false_means_off(study: Callable[..., Path]) -> None:
    """Other YAML readers convert off to false."""
    assert read_study(study({"integrity": False})).spec.integrity == "off"


# The reference step


def reference_here(path: Path) -> tuple[StoredReference, torch.device]:
    device = torch.device("cpu")
    config = planning.plan(read_study(path)).runs[0].config
    with reproducible(threads=1, tf32=False):
        kind = reference_step.kind_of(device, threads=1, tf32=False, precision=config.training.precision)
        digest = reference_step.digest_of(device, config.training.precision)
    return StoredReference(kind.key, device_references.device_key(reference_step.identity_of(device)), digest), device


def add(folder: Path, kind: str, device: int, digest: str) -> None:
    reference = StoredReference(kind, f"{device:016x}", digest)
    ResultStore(folder).keep_reference(reference, {"name": f"CPU of node{device}"})


OTHER = "0" * 16


def test_agreeing_devices_are_not_mentioned(tmp_path: Path, study: Callable[..., Path]) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    for number in range(2):
        add(tmp_path / "out", own.kind, number, own.digest)
    told = Told(path, tmp_path)
    assert told.session.code == 0
    assert "reference" not in told.text


def test_two_devices_that_disagree_are_both_named_and_neither_is_trusted(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, device = reference_here(path)
    add(tmp_path / "out", own.kind, 1, OTHER)
    told = Told(path, tmp_path)
    assert (told.session.code, told.session.computed) == (0, 2)
    name = reference_step.described(device)
    assert (
        f"{name} and CPU of node1 are of the same kind but computed different results for the reference step"
    ) in told.text
    assert told.text.count("are of the same kind") == 1
    assert {row["reference"] for row in rows(tmp_path / "out")} == {own.digest}, "its results can be told apart"
    later = Told(study({"seeds": 2}), tmp_path)
    assert f"devices of one kind computed the reference step differently: {name}; CPU of node1" in later.text or (
        f"devices of one kind computed the reference step differently: CPU of node1; {name}" in later.text
    )


def test_a_device_of_a_different_kind_is_not_compared(tmp_path: Path, study: Callable[..., Path]) -> None:
    path = study({"seeds": 1})
    for number in range(3):
        add(tmp_path / "out", "f" * 16, number, OTHER)
    told = Told(path, tmp_path)
    assert told.session.code == 0
    assert "reference" not in told.text


def test_a_device_that_disagrees_with_a_majority_does_not_compute_any_runs(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    for number in (1, 2):
        add(tmp_path / "out", own.kind, number, OTHER)
    told = Told(path, tmp_path)
    assert told.session.code == 1
    assert len(told.session.open) == 2
    assert rows(tmp_path / "out") == []
    assert (
        "a different result for the reference step than 2 devices of its kind (CPU of node1 and CPU of node2)"
    ) in told.text


def test_devices_that_join_during_a_run_can_prevent_it_from_being_settled(
    tmp_path: Path, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    train = ablations.execution.run_task.train

    def joined(*arguments: Any, **options: Any) -> Any:
        outcome = train(*arguments, **options)
        for number in (1, 2):
            add(tmp_path / "out", own.kind, number, OTHER)
        return outcome

    monkeypatch.setattr(ablations.execution.run_task, "train", joined)
    told = Told(path, tmp_path)
    assert told.session.code == 1
    assert rows(tmp_path / "out") == []
    assert list((tmp_path / "out" / "checkpoints").iterdir()) == [], "the whole run was computed by that device"


def test_a_device_continues_if_it_and_two_others_all_disagree_with_each_other(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    add(tmp_path / "out", own.kind, 1, OTHER)
    add(tmp_path / "out", own.kind, 2, "1" * 16)
    assert Told(path, tmp_path).session.code == 0


def test_a_device_that_disagrees_with_its_earlier_result_does_not_compute_any_runs(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    earlier = StoredReference(own.kind, own.device, OTHER)
    ResultStore(tmp_path / "out").keep_reference(earlier, {"name": "it"})
    told = Told(path, tmp_path)
    assert told.session.code == 1
    assert "a different result for the reference step than before" in told.text
    assert "remove its file in" in told.text
    (tmp_path / "out" / earlier.name).unlink()
    assert Told(path, tmp_path).session.code == 0


@pytest.mark.parametrize("wrong", [{1}, {2}, set()], ids=["the first", "the second", "neither"])
def test_a_new_result_is_computed_twice_before_it_is_stored(
    wrong: set[int], tmp_path: Path, study: Callable[..., Path]
) -> None:
    """A single wrong result, once stored, would make the device disagree with itself forever."""
    with errors("parameter", lambda number: number in wrong):
        told = Told(study({"seeds": 1}), tmp_path)
    assert told.session.code == 0, "a transient error: the second attempt agrees with itself"
    assert ("gave a different result on CPU of" in told.text) is bool(wrong)
    assert len(list((tmp_path / "out" / "references").iterdir())) == 1


def test_a_transient_error_in_the_reference_step_is_reported_and_tolerated(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    add(tmp_path / "out", own.kind, 1, own.digest)
    with errors("activation", lambda number: number == 1) as planted:
        told = Told(path, tmp_path)
    assert planted == [1]
    assert told.session.code == 0
    assert "gave a wrong result once on CPU of" in told.text


def test_a_damaged_result_file_still_counts_because_its_name_contains_the_result(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    path = study({"seeds": 1})
    own, _ = reference_here(path)
    add(tmp_path / "out", own.kind, 1, OTHER)
    (file,) = (tmp_path / "out" / "references").iterdir()
    file.write_bytes(b"\xff{")
    told = Told(path, tmp_path)
    assert told.session.code == 0
    assert "device 0000000000000001 are of the same kind" in told.text


DIGESTS = st.sampled_from(["a" * 16, "b" * 16, "c" * 16])


@settings(deadline=None, max_examples=200, derandomize=True, database=None)
@given(st.dictionaries(st.integers(1, 6), DIGESTS), DIGESTS, st.permutations(range(6)))
def test_the_judgement_depends_only_on_the_votes(others: dict[int, str], own: str, order: list[int]) -> None:
    me = StoredReference("k" * 16, f"{0:016x}", own)
    stored = [StoredReference("k" * 16, f"{device:016x}", digest) for device, digest in others.items()]
    mixed = sorted(stored, key=lambda each: order[int(each.device, 16) % 6])
    found = judge(me, stored)
    assert judge(me, [*mixed, me, StoredReference("x" * 16, f"{9:016x}", OTHER)]).verdict == found.verdict
    votes = [own, *others.values()]
    most = max(set(votes), key=votes.count)
    if set(votes) == {own}:
        assert found == Judgement("agrees")
    elif len(votes) >= 3 and 2 * votes.count(most) > len(votes):
        assert found.verdict == ("others" if most == own else "minority")
    else:
        assert found.verdict == "undecided"
        assert {each.digest for each in found.others} == set(votes) - {own}


# What follows


def cpu_task(run_id: str) -> Task:
    return Task("", "", "", "aim", run_id, "", {"seed": 0, "training": {"epochs": 1}}, {}, "cpu", 1)


def test_runs_continue_and_a_machine_is_excluded_after_two_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    queue = Scheduler([cpu_task("a"), cpu_task("b")], 0, lambda: now[0])
    text = "step 3 of epoch 1 was computed twice from the same state, and the results differ in 1 value: loss"
    ending = ending_of(ComputingError(text))
    assert (ending.end, ending.reason, ending.process_spent) == ("device_error", f"computing error: {text}", False)
    ending = type(ending)(**(asdict(ending) | {"device": "CPU of node7 (node ab)", "host": "node7"}))
    decisions = []
    for run_id in "ab":
        now[0] += 60.0
        assert queue.next() is not None
        decisions.append(queue.ended(run_id, ending))
    assert all(isinstance(each, Retry) for each in decisions)
    first = f"computing error on CPU of node7 (node ab), continues from its last checkpoint: {text}"
    assert decisions[0].reason == first
    assert decisions[1].notes == (f"CPU of node7 (node ab) failed twice and is excluded: computing error: {text}",)
    now[0] += 60.0
    given_out = queue.next()
    assert given_out is not None
    assert given_out.left_out == ("CPU of node7 (node ab)",)


def test_a_run_whose_steps_cannot_be_repeated_on_any_device_is_given_up_with_advice() -> None:
    now = [0.0]
    queue = Scheduler([cpu_task("a"), cpu_task("b")], 0, lambda: now[0])
    assert queue.next() is not None
    assert queue.next() is not None
    decision: Any = None
    for number in range(3):
        now[0] += 60.0
        queue.progressed("b")
        error = asdict(ending_of(ComputingError("step 3"))) | {"device": f"CPU of node{number}"}
        decision = queue.ended("a", ending_of(ComputingError("")).__class__(**error))
        now[0] += 60.0
        queue.next()
    assert isinstance(decision, Over)
    assert (
        "its own code may cause them; if its steps cannot be repeated, give its arm integrity: off" in decision.reason
    )


def ended_everywhere(devices: int, *, never_repeats: bool) -> tuple[Scheduler, Any]:
    """Return the queue and the last decision after a run had one computing error on each of several devices."""
    now = [0.0]
    queue = Scheduler([cpu_task("a"), cpu_task("b")], 0, lambda: now[0])
    decision: Any = None
    for _ in range(2):
        assert queue.next() is not None
    for number in range(devices):
        now[0] += 60.0
        queue.progressed("b")
        ending = ending_of(ComputingError("step 3", never_repeats=never_repeats))
        decision = queue.ended("a", replace(ending, device=f"CPU of node{number}"))
        now[0] += 60.0
        queue.next()
    return queue, decision


def test_a_run_is_given_up_if_its_steps_never_repeat_on_two_devices_but_not_if_the_devices_are_at_fault() -> None:
    _, decision = ended_everywhere(2, never_repeats=True)
    assert isinstance(decision, Over)
    assert "its steps gave different results in every repetition: give its arm integrity: off" in decision.reason
    _, decision = ended_everywhere(2, never_repeats=False)
    assert isinstance(decision, Retry)


@pytest.mark.parametrize(
    ("never", "expected"),
    [
        ((False, False), "test its memory and processors"),
        ((True, True), "these steps gave different results in every repetition, which points to the code of their arm"),
        ((True, False), "1 of these steps gave different results in every repetition, which points to"),
    ],
)
def test_the_advice_distinguishes_an_arm_whose_steps_never_repeat_from_a_faulty_device(
    never: tuple[bool, bool], expected: str
) -> None:
    failures = DeviceFailures()
    for number, each in enumerate(never):
        failures.failed("CPU of node1", "node1", f"run {number}", "computing error", 60.0 * number, never_repeats=each)
    advice = failures.advice()
    assert advice.startswith(expected)
    assert ("integrity: off" in advice) is any(never)
    assert "memtest86+" in advice


def test_other_kinds_of_failures_are_not_recorded_as_computing_errors(
    tmp_path: Path, study: Callable[..., Path]
) -> None:
    with errors("activation", lambda number: 1 / (number - 3) > 0):  # raises in the first run's first step
        told = Told(study({"seeds": 1}), tmp_path)
    assert told.session.failed
    assert "ZeroDivisionError" in failures(tmp_path / "out")[0]["reason"]
