"""Endings of runs on a GPU, which include the device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_cuda import GIB, UUID, PretendedCuda, accelerator_error
from pretended_nvml import UUIDS, PretendedNvml
from tiny_study import failures, rows

import ablations.execution.run_task
from ablations.commands.check import check
from ablations.commands.doctor.gpus import counted_by_ray, devices
from ablations.execution.attempts import Ending
from ablations.execution.run_task import execute
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.sessions.tasks import tasks
from ablations.spec.resources import Resources, idle_gpus
from ablations.spec.study import read_study
from ablations.store import ResultStore

StudyMaker = Callable[..., Path]
LIMIT = [("setMemoryFraction", 0.25, 0), ("setMemoryFraction", 1.0, 0)]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> PretendedNvml:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return PretendedNvml(monkeypatch, (f"GPU-{UUID}", UUIDS[1]))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, driver: PretendedNvml) -> Iterator[PretendedCuda]:
    pretended = PretendedCuda()
    pretended.install(monkeypatch)
    with pretended.placing():
        yield pretended


@pytest.fixture
def attempt(study: StudyMaker, tmp_path: Path) -> Callable[..., Ending]:
    """Return a function that computes the study's first run on a quarter of a GPU, as a worker does."""
    file = read_study(study({"base.training.step": "eager", "resources": {"gpus": 0.25}, "seeds": 1}))
    plan = planning.plan(file)
    store = ResultStore(tmp_path / "out")
    (task, *_) = tasks(plan, store, list(plan.runs))

    def one(pause: Callable[[], bool] | None = None) -> Ending:
        return execute(task, None, pause)

    return one


def fail_with(error: BaseException, before: Callable[[], None] = lambda: None) -> Callable[[], bool]:
    def fail() -> bool:
        before()
        raise error

    return fail


# A share of a GPU


def test_a_study_runs_on_a_gpu_share(study: StudyMaker, tmp_path: Path, cuda: PretendedCuda) -> None:
    """In an earlier version, every run in a study with GPU shares ended before it began."""
    session = run(
        study({"base.training.step": "eager", "resources": {"gpus": 0.25}, "seeds": 1}),
        tmp_path / "out",
        (),
        executor="inline",
    )
    assert (session.computed, session.failed) == (2, {})
    assert cuda.named("setMemoryFraction") == LIMIT * 2
    assert len(cuda.named("emptyCache")) == 2
    assert {(row["device"], row["device_name"]) for row in rows(tmp_path / "out")} == {("cuda", "Pretended H100")}
    run(study({"seeds": 1}, "cpu.yaml"), tmp_path / "cpu", (), executor="inline")
    found, expected = numbers_of(tmp_path / "out"), numbers_of(tmp_path / "cpu")
    assert found.keys() == expected.keys()
    for run_id, numbers in found.items():  # optimizers may take a different code path for a GPU
        assert numbers == pytest.approx(expected[run_id], rel=1e-4)


def numbers_of(directory: Path) -> dict[str, list[float]]:
    return {row["run_id"]: [row["test_loss"], *row["epochs.train_loss"]] for row in rows(directory)}


def test_the_row_of_a_run_contains_its_device(attempt: Callable[..., Ending], cuda: PretendedCuda) -> None:
    ending = attempt()
    assert (ending.end, ending.device, ending.process_spent) == ("finished", f"GPU-{UUID}", False)


# Endings


def test_a_run_that_runs_out_of_memory_ends_as_out_of_memory(
    attempt: Callable[..., Ending], cuda: PretendedCuda, tmp_path: Path
) -> None:
    ending = attempt(fail_with(torch.OutOfMemoryError("CUDA out of memory")))
    assert (ending.end, ending.held_by_others, ending.process_spent) == ("out_of_memory", False, False)
    assert (ending.device, ending.fault) == (f"GPU-{UUID}", "")
    assert ending.traceback.splitlines()[-1] == "torch.OutOfMemoryError: CUDA out of memory"
    assert failures(tmp_path / "out") == [], "not the user's code"
    assert cuda.named("setMemoryFraction") == LIMIT
    assert attempt().end == "finished", "the process continues"


def test_memory_used_by_other_processes_is_recognized(attempt: Callable[..., Ending], cuda: PretendedCuda) -> None:
    def fill() -> None:
        cuda.free, cuda.reserved = 0, 2 * GIB

    ending = attempt(fail_with(torch.OutOfMemoryError("CUDA out of memory"), fill))
    assert (ending.end, ending.held_by_others) == ("out_of_memory", True)


def test_errors_that_only_resemble_out_of_memory_are_told_apart(
    attempt: Callable[..., Ending], cuda: PretendedCuda
) -> None:
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    assert attempt(fail_with(error)).end == "failed"
    cuda.reserved = 19.5 * GIB  # a quarter of 80
    assert attempt(fail_with(error)).end == "out_of_memory"


@pytest.mark.parametrize(
    ("code", "text", "end"),
    [
        (214, "uncorrectable ECC error encountered", "device_error"),
        (700, "an illegal memory access was encountered", "device_error"),
        (46, "CUDA-capable device(s) is/are busy or unavailable", "device_error"),
        (710, "device-side assert triggered", "failed"),
    ],
)
def test_an_error_in_the_device_ends_as_a_device_error(
    code: int, text: str, end: str, attempt: Callable[..., Ending], cuda: PretendedCuda, tmp_path: Path
) -> None:
    """After the error, every call to the device fails, but the ending is still reported."""
    error = accelerator_error(code, text)

    def lose() -> None:
        cuda.error = error

    ending = attempt(fail_with(error, lose))
    assert (ending.end, ending.process_spent, ending.device) == (end, True, f"GPU-{UUID}")
    assert text in ending.reason
    assert text in ending.traceback
    assert bool(ending.fault) == (end == "failed")
    recorded = failures(tmp_path / "out")
    assert len(recorded) == (1 if end == "failed" else 0)
    assert Ending(**json.loads(json.dumps(ending.as_json()))) == ending


def test_a_gpu_that_even_nvml_has_lost_is_recognized(
    attempt: Callable[..., Ending], cuda: PretendedCuda, driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU's UUID was read before the run began."""
    error = RuntimeError("CUDA error: GPU is lost")

    def lose() -> None:
        cuda.error = error
        driver.lost.add(0)
        monkeypatch.setattr(torch.cuda, "_get_device_properties", lambda _: fail_with(error)())

    ending = attempt(fail_with(error, lose))
    assert (ending.end, ending.device) == ("device_error", f"GPU-{UUID}")


def test_a_failure_in_an_unusable_process_can_be_recorded(
    attempt: Callable[..., Ending], cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The row names the device although it no longer responds."""
    error = accelerator_error(710, "device-side assert triggered")

    def lose() -> None:
        cuda.error = error
        monkeypatch.setattr(torch.cuda, "_get_device_properties", lambda _: fail_with(error)())

    assert attempt(fail_with(error, lose)).end == "failed"
    (row,) = failures(tmp_path / "out")
    assert (row["device"], row["device_name"]) == ("cuda", "unknown")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_driver_is_reported(attempt: Callable[..., Ending], tmp_path: Path) -> None:
    """This uses torch itself, without a fake."""
    ending = attempt()
    assert (ending.end, ending.process_spent, ending.device) == ("device_error", True, "")
    assert failures(tmp_path / "out") == []


def test_an_error_in_user_code_on_a_gpu_is_a_failure(attempt: Callable[..., Ending], cuda: PretendedCuda) -> None:
    ending = attempt(fail_with(KeyError("x")))
    assert (ending.end, ending.process_spent, ending.device) == ("failed", False, f"GPU-{UUID}")
    assert "test_device_endings.py" in ending.fault


def test_a_lack_of_host_memory_on_a_gpu_machine_is_attributed_to_the_machine(
    attempt: Callable[..., Ending], cuda: PretendedCuda
) -> None:
    assert attempt(fail_with(MemoryError())).end == "machine"


def test_a_pause_is_recorded_as_a_pause(attempt: Callable[..., Ending], cuda: PretendedCuda) -> None:
    ending = attempt(lambda: True)
    assert (ending.end, ending.process_spent) == ("paused", False)
    assert cuda.named("setMemoryFraction") == LIMIT


def test_a_device_that_was_lost_before_a_run_paused_is_recognized(
    attempt: Callable[..., Ending], cuda: PretendedCuda
) -> None:
    """The state is saved, but the process cannot be used again."""

    def pause() -> bool:
        cuda.error = accelerator_error(719, "unspecified launch failure")
        return True

    ending = attempt(pause)
    assert (ending.end, ending.process_spent) == ("paused", True)


def test_a_run_on_the_cpu_has_no_device(study: StudyMaker, tmp_path: Path) -> None:
    plan = planning.plan(read_study(study({"seeds": 1})))
    (task, *_) = tasks(plan, ResultStore(tmp_path / "out"), list(plan.runs))
    assert execute(task).device == ""
    assert ablations.execution.run_task.execute is execute


# Messages before a run


def test_gpus_that_a_run_does_not_use_are_reported() -> None:
    assert [idle_gpus(Resources(gpus=gpus)) for gpus in (0, 0.25, 1)] == [None] * 3
    assert idle_gpus(Resources(gpus=2)) == (
        "resources.gpus: 2: a run trains on one GPU, and the other stays idle; set gpus: 1 so that parallel "
        "runs use all GPUs"
    )
    assert "gpus: 4: a run trains on one GPU, and the other 3 stay idle" in str(idle_gpus(Resources(gpus=4)))


def test_nondeterministic_pooling_is_reported(study: StudyMaker, cuda: PretendedCuda) -> None:
    vgg = {
        "base.model.backbone": {"name": "vgg16_bn", "widths": [2, 2, 2, 2, 2], "dense": [4, 4]},
        "base.data.size": 32,
        "arms/aim/model/placement": "every_layer",
    }
    told = [note for note in check(study({**vgg, "resources": {"gpus": 1}}), timing=False).notes if "avgpool" in note]
    assert [note.partition(":")[0] for note in told] == ["arms.baseline", "arms.aim"]
    assert all("no deterministic backward pass for this pooling" in note for note in told)
    assert not any("avgpool" in note for note in check(study(vgg, "cpu.yaml"), timing=False).notes)


def said(found: Any) -> list[tuple[str, str, str]]:
    return [(finding.subject, finding.state, finding.message) for finding in found]


def test_the_doctor_reports_on_a_machine_with_gpus(cuda: PretendedCuda, driver: PretendedNvml) -> None:
    found = said(devices())[1:]
    assert found[0][:2] == ("GPU driver", "ok")
    assert found[0][2].startswith("580.65.06 supports CUDA 13.0; this torch is built for ")
    line = "Pretended H100, compute capability 9.0, 75.0 of 80.0 GiB free"
    assert found[1:] == [("GPU 0", "ok", line), ("GPU 1", "ok", line)]


def test_the_doctor_reports_gpus_that_torch_cannot_use(
    cuda: PretendedCuda, driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_100")
    found = said(devices())[2:]
    assert found[0][:2] == ("GPUs", "problem")
    assert found[0][2].startswith("NVML lists 2, but torch can use 0: this torch has kernels for sm_100, but none for ")
    assert found[1] == (
        "GPU 0",
        "problem",
        "Pretended H100, compute capability 9.0: this torch build has no kernels for it",
    )
    cuda.error = accelerator_error(46, "CUDA-capable device(s) is/are busy or unavailable")
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_90")
    assert said(devices())[2] == (
        "GPU 0",
        "problem",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    )


def test_the_doctor_compares_the_numbers_of_gpus_in_ray_and_torch(
    cuda: PretendedCuda, driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(counted_by_ray(2)) == [("GPUs counted by Ray", "ok", "2, all usable by torch")]
    (fewer,) = counted_by_ray(0)
    assert (fewer.state, fewer.message) == ("note", "0 of the 2 that torch can use; the others stay idle")
    assert "--num-gpus=2" in fewer.remedy
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    driver.cuda = 12080
    (more,) = counted_by_ray(2)
    assert (more.state, more.message) == (
        "problem",
        "2, but torch can use 0: runs on the others would fail immediately",
    )
    assert more.remedy == "install a newer driver, or a torch build for CUDA 12"
    assert said(counted_by_ray(0)) == []
