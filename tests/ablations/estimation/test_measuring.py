"""Measurements of a run: on a machine without a GPU, on shares of a GPU, and on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import ablate
from rich.console import Console

from ablations.commands.check import check
from ablations.commands.plan import plan
from ablations.estimation import disk, gpu_shares, numerics
from ablations.estimation.estimate import estimate
from ablations.execution.capacity import Node
from ablations.execution.measurement import Measurement, Meter
from ablations.execution.ray import measurement as cluster
from ablations.planning import plan as planning
from ablations.spec.resources import ArmResources, Resources, idle_gpus
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.config import RunConfig
from aimlib.errors import ConfigError, UsageError
from aimlib.training.checkpointing import FILE
from aimlib.training.loop import Paused, train

StudyMaker = Callable[..., Path]
GB = 1_000_000_000


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ignore a cluster that happens to be running on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))


def measured(peak: int | None = 2 * GB, total: int = 16 * GB, context: int = 0) -> Measurement:
    return Measurement(
        device="cuda",
        device_name="T4",
        total_bytes=total,
        step_seconds=0.1,
        evaluation_seconds=0.05,
        peak_bytes=peak,
        context_bytes=context,
    )


# A machine without a GPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_study_on_gpus_is_never_timed_on_a_cpu(
    study: StudyMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study(
        {"resources": {"gpus": 1}, "base.data.train_images": 1000, "base.model.backbone.widths": [256, 256, 512]}
    )
    monkeypatch.setattr(Meter, "measure", lambda *_: pytest.fail("something was timed"))
    result = check(path)
    assert result.costs == ()
    assert result.cost is None
    (why,) = result.untimed
    assert "this machine has no GPU and does not belong to a Ray cluster; give --address of a Ray cluster" in why
    code, out, _ = ablate(capsys, "check", path)
    assert code == 0
    assert "not timed: this machine has no GPU" in " ".join(out.split())
    for word in ("cost", "hours"):
        assert word not in out
    found = plan(path)
    assert found.table["device_hours"].isna().all()
    assert any(warning.startswith("not timed: ") for warning in found.warnings)


def test_cpu_hours_are_not_called_device_hours(
    study: StudyMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, found_before = Meter.measure, dict[str, Measurement]()

    def once(meter: Meter, config: RunConfig, *how: Any) -> Measurement:
        """Measure each arm only the first time, because each of the three commands would take seconds."""
        key = config.model_dump_json(exclude={"seed"})
        if key not in found_before:
            found_before[key] = real(meter, config, *how)
        return found_before[key]

    monkeypatch.setattr(Meter, "measure", once)
    code, out, _ = ablate(capsys, "check", study({"seeds": 1}))
    assert code == 0
    assert "CPU-hours of " in out
    assert "device-hours" not in out
    found = plan(study({"seeds": 5}))
    assert found.unit == "CPU-hours"
    code, out, _ = ablate(capsys, "plan", study({"seeds": 5}))
    assert "CPU-h" in out
    assert "device-h" not in out


def test_an_arm_that_does_not_fit_on_any_gpu_is_reported_and_the_others_are_timed(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_: Meter, config: RunConfig, *__: Any) -> Measurement:
        if config.model.memory is not None:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 99 GiB. GPU 0 has a total capacity of 16"
            )
        return measured()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(Meter, "measure", measure)
    found = estimate(planning.plan(read_study(study({"resources": {"gpus": "auto"}}))))
    (cost,) = found.costs
    assert (list(cost.arms), cost.device, cost.kind, cost.unit) == (["baseline"], "cuda", "T4", "GPU-hours")
    assert cost.parallel == 2 * max(1, os.cpu_count() // 2), "as many as the CPUs next to each GPU feed"
    assert found.untimed == ("aim: CUDA out of memory; lower training.batch_size",)


def test_an_address_where_nothing_is_listening_is_refused(study: StudyMaker) -> None:
    with pytest.raises(UsageError, match=r"--address 127\.0\.0\.1:1: no server answers there"):
        check(study({"resources": {"gpus": 1}}), address="127.0.0.1:1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_address_file_of_a_stopped_cluster_does_no_harm(study: StudyMaker, tmp_path: Path) -> None:
    noted = tmp_path / "ray" / "ray" / "ray_current_cluster"
    noted.parent.mkdir(parents=True)
    noted.write_text("127.0.0.1:1")
    assert cluster.running_cluster() == "127.0.0.1:1"
    (why,) = check(study({"resources": {"gpus": 1}})).untimed
    assert "no server answers there" in why
    assert "give --address" in why


# A worker in a cluster

_ON_A_CLUSTER = """
import json, sys
import ray._private.services as services
services.resolve_ip_for_localhost = lambda host: host
from ray.cluster_utils import Cluster
memory = {"object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **memory})
cluster.add_node(num_cpus=4, num_gpus=2, resources={"accelerator_type:T4": 1}, **memory)
cluster.add_node(num_cpus=2, num_gpus=1, **memory)
try:
    exec(sys.stdin.read())
finally:
    cluster.shutdown()
"""


def on_a_cluster(script: str, *arguments: object, timeout: float = 300) -> list[Any]:
    """Return the JSON lines that a script prints while a cluster is running: a head, 2 T4 GPUs and a nameless GPU."""
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_CLUSTER, *map(str, arguments)],
        input=script,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={key: value for key, value in os.environ.items() if key not in ("RAY_TMPDIR", "RAY_ADDRESS")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", "{"))]


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_arms_are_measured_on_workers_with_one_task_per_kind_of_gpu(study: StudyMaker) -> None:
    gpu = study({"resources": {"gpus": 1}}, "gpu.yaml")
    cpu = study({"seeds": 1}, "cpu.yaml")
    script = """
from ablations.planning import plan as planning
from ablations.commands.check import check
from ablations.execution.ray import measurement as remote
from ablations.spec.study import read_study
gpu, cpu = sys.argv[1:]

found = check(gpu, address=cluster.address)
print(json.dumps([list(found.costs), list(found.untimed)]))

import os
os.environ["RAY_ADDRESS"] = cluster.address
print(json.dumps(list(check(gpu).untimed)))

found = check(cpu, address="auto")
cost, = found.costs
print(json.dumps([cost.device, cost.parallel, cost.where, sorted(cost.arms), cost.hours > 0, list(found.untimed)]))

broken = remote.Job("broken", {"model": 1}, 1)
arms = planning.arms_of(read_study(gpu))
with remote.connected(cluster.address) as nodes:
    kinds = remote.kinds(nodes)
    for kind in kinds:
        answers = remote.measure([broken, *(remote.Job.of(arm, 0.2) for arm in arms)], kind, "cpu")
        print(json.dumps([kind, sorted(answers.measured), answers.errors,
                          answers.measured["aim"].model_dump(mode="json")]))
"""
    refused, own, timed, *whole = on_a_cluster(script, gpu, cpu)
    assert refused[0] == [], "torch sees no GPU where they are only declared"
    assert [why.partition(":")[0] for why in refused[1]] == ["baseline, aim on T4", "baseline, aim"]
    assert all("torch sees no usable GPU on" in why and "nvidia-smi" in why for why in refused[1])
    assert own == refused[1], "the cluster that this machine belongs to is asked without its address"
    assert timed[:2] == ["cpu", 8], "2, 4 and 2 CPUs"
    assert timed[2] == "the cluster at auto"
    assert timed[3:] == [["aim", "baseline"], True, []]
    assert [kind for kind, *_ in whole] == ["T4", ""]
    for _, names, errors, aim in whole:
        assert names == ["aim", "baseline"], "one that cannot be measured stops no other"
        assert "model" in errors["broken"]
        assert aim["step_seconds"] > 0
        assert aim["peak_bytes"] > 0
        assert Measurement.parse(aim).device == "cpu"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_task_that_finds_no_capacity_or_dies_is_explained(study: StudyMaker) -> None:
    script = """
import os, ray
from ablations.planning import plan as planning
from ablations.execution.ray import measurement as remote
from ablations.spec.study import read_study
from aimlib.errors import UsageError
remote._START_S, remote._ARM_S = 8.0, 0.0
jobs = [remote.Job.of(arm, 0.2) for arm in planning.arms_of(read_study(sys.argv[1]))]
with remote.connected(cluster.address) as nodes:
    @ray.remote(num_gpus=2, resources={"accelerator_type:T4": 0.001})
    def hold():
        import time
        time.sleep(60)
    held = hold.remote()
    ray.wait([held], timeout=3)
    try:
        remote.measure(jobs, "T4", "cpu")
    except UsageError as error:
        print(json.dumps([str(error)]))
    remote._START_S = 60.0
    remote.carry_out = lambda wanted: os.kill(os.getpid(), 9)
    try:
        remote.measure(jobs, "", "cpu")
    except UsageError as error:
        print(json.dumps([str(error)]))
"""
    (late,), (dead,) = on_a_cluster(script, study({"resources": {"gpus": 1}}))
    assert late.startswith("a GPU in the cluster (T4) did not answer within 8 s")
    assert "the worker could not measure" in dead


def test_kinds_of_gpu_are_listed_with_their_nodes() -> None:
    a100, t4 = {"CPU": 8.0, "GPU": 8.0, "accelerator_type:A100": 1.0}, {"GPU": 1.0, "accelerator_type:T4": 1.0}
    nodes: list[Node] = [{"CPU": 4.0}, t4, a100, {"CPU": 2.0, "GPU": 2.0}]
    assert cluster.kinds(nodes) == ["A100", "", "T4"]
    assert cluster.of_kind(nodes, "A100") == [a100]
    assert cluster.of_kind(nodes, "") == [{"CPU": 2.0, "GPU": 2.0}]
    assert cluster.kinds([{"CPU": 4.0}]) == []


# Measurements


def test_an_arm_is_measured_and_the_answer_survives_conversion_to_json(study: StudyMaker) -> None:
    arm = planning.arms_of(read_study(study()))[1]
    found = Meter("cpu").measure(arm.config, 1, 0.2)
    assert 0 < found.step_seconds < 10
    assert 0 < found.evaluation_seconds < 10
    assert found.peak_bytes is not None
    assert found.peak_bytes > disk.checkpoint_bytes(arm, 0), "gradients and activations, too"
    assert found.total_bytes > found.peak_bytes
    assert Measurement.parse(json.loads(json.dumps(found.model_dump(mode="json")))) == found
    for broken in ({}, None, {**found.model_dump(), "step_seconds": -1}, {**found.model_dump(), "peak_bytes": "many"}):
        with pytest.raises(ConfigError):
            Measurement.parse(broken)


# GPU shares


def test_auto_means_a_whole_gpu_until_the_share_is_measured() -> None:
    auto = Resources.parse({"gpus": "auto", "cpus": 2})
    assert (auto.gpus, auto.gpus_auto, auto.trained_on) == (1.0, True, "cuda")
    stated = auto.with_changes(ArmResources.parse({"gpus": 0.5}))
    assert (stated.gpus, stated.gpus_auto) == (0.5, False)
    assert auto.with_changes(ArmResources.parse({"cpus": 4})).gpus_auto
    assert Resources().with_changes(ArmResources.parse({"gpus": "auto"})).gpus_auto
    for wrong, message in (
        ({"gpus": "auto", "device": "cpu"}, "gpus: auto has no effect, because device is cpu"),
        ({"gpus": "many"}, "must be a number, a share of a GPU such as 0.5, or auto; got 'many'"),
    ):
        with pytest.raises(ConfigError, match=message):
            Resources.parse(wrong)


@pytest.mark.parametrize(
    ("found", "data_bytes", "cpus", "runs"),
    [
        (measured(2 * GB), 0, 1, 7),
        (measured(2 * GB, context=GB), 0, 1, 4),
        (measured(2 * GB, context=GB), 3 * GB, 1, 2),
        (measured(GB // 10), 0, 1, gpu_shares.MOST_RUNS),
        (measured(2 * GB), 0, 4, 4),
        (measured(2 * GB), 0, 99, 1),
        (measured(15 * GB), 0, 1, 1),
        (measured(17 * GB), 0, 1, 0),
        (measured(None), 0, 1, 1),
    ],
)
def test_the_number_of_runs_that_share_a_gpu_is_limited(
    found: Measurement, data_bytes: int, cpus: int, runs: int
) -> None:
    nodes = [{"CPU": 64.0, "GPU": 4.0}]
    assert gpu_shares.runs_per_gpu(found, data_bytes, Resources(cpus=cpus, gpus=1), nodes) == runs
    together = gpu_shares.share(runs) * runs
    assert together <= 1
    if runs and found.peak_bytes is not None:
        assert found.peak_bytes <= gpu_shares.share(runs) * found.total_bytes or runs == 1, (
            "the limit on a run's memory"
        )


def test_images_count_only_if_they_are_stored_on_the_gpu(study: StudyMaker) -> None:
    nodes = [{"CPU": 64.0, "GPU": 4.0}]

    def packed(data_on: str, times: int) -> tuple[int, bool]:
        plan = planning.plan(read_study(study({"base.training.data_on": data_on})))
        data = plan.data["aim"]
        held = sum(images.pixels.nbytes + images.labels.nbytes for images in (data.train, data.test))
        found = measured(times * held // 4, total=times * held)
        runs, taken = gpu_shares.packed_runs(plan.arms[1], found, data, nodes)
        assert taken in (0, held)
        return runs, taken > 0

    places = ("host", "auto", "device")
    assert [packed(where, 6) for where in places] == [(3, False), (3, False), (2, True)], "large compared with the GPU"
    assert [packed(where, 1000) for where in places] == [(3, False), (3, True), (3, True)]


class Worker:
    """A fake cluster that answers like `cluster.measure` and records the requests."""

    def __init__(self, **peaks: int) -> None:
        self.peaks, self.asked = peaks, list[tuple[str, tuple[str, ...]]]()

    def __call__(self, jobs: list[cluster.Job], kind: str) -> cluster.Answers:
        self.asked.append((kind, tuple(job.name for job in jobs)))
        return cluster.Answers({job.name: measured(self.peaks[job.name]) for job in jobs}, {})


def test_shares_are_measured_once_and_are_stored_and_reported(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {"arms.aim.resources": {"gpus": "auto"}, "arms.baseline.resources": {"gpus": "auto"}}
    stated = {"arms.stated": {"of": "aim", "training": {"epochs": 3}, "resources": {"gpus": 0.5}}}
    plan = planning.plan(read_study(study({**arms, **stated})))
    before = {run.run_id for run in plan.runs}
    store, nodes = ResultStore(tmp_path / "out"), [{"CPU": 16.0, "GPU": 2.0, "accelerator_type:T4": 1.0}]
    monkeypatch.setattr(cluster, "measure", worker := Worker(baseline=2 * GB, aim=4 * GB))
    console = Console(record=True, width=200)
    packed = gpu_shares.settle_shares(plan, nodes, store, console)
    assert {arm.name: arm.resources.gpus for arm in packed.arms} == {"baseline": 0.142, "aim": 0.333, "stated": 0.5}
    assert {run.run_id for run in packed.runs} == before, "nothing that is chosen automatically enters an id"
    assert "arms.aim: gpus: auto: 3 runs per GPU (gpus: 0.333; 4.00 GB of 16.0 on T4)" in console.export_text()
    again = gpu_shares.settle_shares(plan, nodes, ResultStore(tmp_path / "out"), Console(quiet=True))
    assert again.arms == packed.arms
    assert worker.asked == [("T4", ("baseline", "aim"))], "once"
    more_cpus = tuple(
        replace(arm, resources=arm.resources.model_copy(update={"cpus": 2})) if arm.name == "aim" else arm
        for arm in plan.arms
    )
    gpu_shares.settle_shares(replace(plan, arms=more_cpus), nodes, store, Console(quiet=True))
    assert worker.asked[1:] == [("T4", ("aim",))], "only what was changed"
    (tmp_path / "out" / "measurements.json").write_text("{broken")
    gpu_shares.settle_shares(plan, nodes, store, Console(quiet=True))
    assert worker.asked[2:] == [("T4", ("baseline", "aim"))]


def test_a_share_applies_to_every_kind_of_gpu(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planning.plan(read_study(study({"resources": {"gpus": "auto"}})))
    nodes = [{"CPU": 16.0, "GPU": 2.0, f"accelerator_type:{kind}": 1.0} for kind in ("T4", "A100")]

    def measure(jobs: list[cluster.Job], kind: str) -> cluster.Answers:
        found = measured(4 * GB, total=16 * GB if kind == "T4" else 80 * GB)
        return cluster.Answers({job.name: found for job in jobs}, {})

    monkeypatch.setattr(cluster, "measure", measure)
    packed = gpu_shares.settle_shares(plan, nodes, ResultStore(tmp_path / "out"), Console(quiet=True))
    assert {arm.resources.gpus for arm in packed.arms} == {0.333}


def test_auto_requires_a_stated_share_if_there_is_no_gpu_or_no_answer(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planning.plan(read_study(study({"resources": {"gpus": "auto"}})))
    store = ResultStore(tmp_path / "out")
    with pytest.raises(
        UsageError, match=r"resources\.gpus: auto: no GPU is available for the measurement; .*--set resources\.gpus=1"
    ):
        gpu_shares.settle_shares(plan, [{"CPU": 4.0}], store, Console(quiet=True))
    nodes = [{"CPU": 4.0, "GPU": 1.0}]
    monkeypatch.setattr(cluster, "measure", lambda *_: cluster.Answers({}, {"aim": "torch sees no usable GPU"}))
    with pytest.raises(UsageError, match=r"resources\.gpus: auto: arms\.aim: torch sees no usable GPU"):
        gpu_shares.settle_shares(plan, nodes, store, Console(quiet=True))
    monkeypatch.setattr(cluster, "measure", Worker(baseline=GB, aim=99 * GB))
    with pytest.raises(
        UsageError, match=r"arms\.aim: a run does not fit on any GPU in the cluster; lower training\.batch_size"
    ):
        gpu_shares.settle_shares(plan, nodes, store, Console(quiet=True))


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_session_measures_before_anything_starts_and_runs_with_the_measured_share(
    study: StudyMaker, tmp_path: Path
) -> None:
    path = study({"resources": {"gpus": "auto"}, "seeds": 1})
    script = """
from ablations.sessions import launch
from ablations.execution.ray import measurement as remote
from ablations.execution.ray.executor import RayExecutor
from rich.console import Console
measure = remote.measure
remote.measure = lambda jobs, kind: measure(jobs, kind, "cpu")  # GPUs are only declared here
given = []
def execute(self, queue, listener, stop):
    while (task := queue.next()) is not None:
        given.append([task.arm, task.gpus, task.accelerator])
    self.parallel and given.append(["parallel", self.parallel])
    stop.request("seen enough", 143)
RayExecutor.execute = execute
RayExecutor.refuse_unusable_gpus = lambda self: None  # torch sees none of them
session = launch.run(sys.argv[1], sys.argv[2], address=cluster.address, console=Console(file=sys.stderr))
print(json.dumps(given))
"""
    (given,) = on_a_cluster(script, path, tmp_path / "out")
    assert sorted(given[:2]) == [["aim", 0.5, ""], ["baseline", 0.5, ""]], "both nodes have 2 CPUs for each GPU"
    assert given[2] == ["parallel", 6]
    kept = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert len(kept) == 2, "two arms on the kind of GPU that has a name"


def test_a_request_for_more_gpus_than_a_run_uses_is_reported(study: StudyMaker) -> None:
    assert idle_gpus(Resources(gpus=1)) is None
    assert idle_gpus(Resources(gpus=0.5)) is None
    (note,) = [note for note in check(study({"resources": {"gpus": 2}}), timing=False).notes if "idle" in note]
    assert "resources.gpus: 2: a run trains on one GPU" in note


# Disk


def test_the_estimated_size_of_a_checkpoint_equals_the_size_of_its_file(study: StudyMaker, tmp_path: Path) -> None:
    for optimizer, moments in (
        (None, 2.0),
        ({"name": "sgd", "momentum": 0.9}, 1.0),
        ({"name": "sgd", "momentum": 0.0}, 0),
    ):
        changes: dict[str, Any] = {"base.model.backbone.widths": [32, 64, 128]}
        if optimizer is not None:
            changes["base.training.optimizer"] = {"learning_rate": 0.1, **optimizer}
        plan = planning.plan(read_study(study(changes)))
        for arm in plan.arms:
            data = plan.data[arm.name]
            folder = tmp_path / f"{moments}-{arm.name}"
            folder.mkdir()
            asked = iter([False, False, True])
            with pytest.raises(Paused):
                train(arm.config, data, run_id="0" * 20, checkpoint_directory=folder, pause=lambda it=asked: next(it))
            expected = disk.checkpoint_bytes(arm, len(data.test.labels))
            assert (folder / FILE).stat().st_size == pytest.approx(expected, rel=0.1)
            assert disk.moments(arm.config.training.optimizer) == moments


def test_check_warns_if_saving_takes_longer_than_the_grace_period(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planning.plan(read_study(study()))
    found = disk.Disk({"baseline": GB // 4, "aim": 2 * GB}, 8, 10_000)
    assert found.at_once == 16 * GB
    monkeypatch.setattr(os, "fsync", lambda _: time.sleep(0.1))  # a slow disk of at most 40 MB/s
    (note,) = disk.saving_notes(found, 25.0, tmp_path / "not" / "there")
    assert "8 runs must save up to 16 GB within resources.grace_seconds=25, but" in note
    seconds = float(note.partition(" takes ")[2].partition(" s")[0])
    assert seconds > 16 * GB / (4 * 2**20 / 0.1) * 0.9
    assert int(note.partition("grace_seconds=")[2].partition("grace_seconds=")[2].partition(" ")[0]) > seconds
    assert list(disk.saving_notes(found, 1e6, tmp_path)) == [], "time enough"
    assert list(disk.saving_notes(disk.Disk({"aim": 1000}, 8, 0), 1e-9, tmp_path)) == [], "not worth a measurement"
    assert list(disk.saving_notes(disk.disk(plan, None), 1e-9, tmp_path)) == [], "it is not known how many run at once"
    assert list(tmp_path.iterdir()) == [tmp_path / "study.yaml"], "nothing is left behind"


def test_a_bucket_is_not_measured_and_the_note_says_so() -> None:
    from aimlib.paths import place

    (note,) = disk.saving_notes(disk.Disk({"aim": 2 * GB}, 8, 0), 25.0, place("s3://bucket/study"))
    assert "has not been measured" in note


def test_the_write_rate_of_the_disk_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.write_rate(tmp_path) > 1e5
    monkeypatch.setattr(os, "fsync", lambda _: time.sleep(0.2))
    assert disk.write_rate(tmp_path / "a" / "b") < 4 * 2**20 / 0.2


def test_sizes_of_checkpoints_and_predictions_are_printed(
    study: StudyMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ablate(capsys, "check", study(), "--no-timing")
    assert code == 0
    assert "disk: checkpoints of " in out
    assert "(baseline)" in out


# Precision and memory format


def test_arms_that_round_differently_are_reported_unless_a_factor_explains_the_difference(study: StudyMaker) -> None:
    differing = {"arms.aim.training": {"precision": "bfloat16"}}
    notes = [note for note in check(study(differing), timing=False).notes if "training.precision" in note]
    assert notes
    assert "baseline: float32, aim: bfloat16" in notes[0]
    factor = {"factors": {"training.precision": ["float32", "bfloat16"]}, "vary": "aim"}
    labelled = {
        "factors": {"rounding": {"fine": {}, "coarse": {"training": {"precision": "bfloat16"}}}},
        "vary": "aim",
    }
    for changes in ({}, factor, labelled):
        assert not any("training.precision" in note for note in check(study(changes), timing=False).notes)


def test_precision_and_memory_format_are_measured_if_requested(
    study: StudyMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "_SECONDS", 0.1)
    found = check(study(), timing=False, numerics=True)
    (tried,) = found.numerics
    assert tried.stated.startswith("precision=float32 tf32=false")
    assert {variant.split()[0] for variant in tried.seconds} == {"precision=float32", "precision=bfloat16"}
    assert all(set(by_arm) == {"baseline", "aim"} for by_arm in tried.seconds.values())
    assert tried.gain(tried.stated) == 1
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(numerics, "measure", lambda *_: ([tried], ()))
    code, out, _ = ablate(capsys, "check", study(), "--no-timing", "--numerics")
    assert code == 0
    assert "numerics on " in out


def test_a_much_faster_setting_is_proposed() -> None:
    stated, other = "precision=float32 tf32=false", "precision=bfloat16 tf32=false"
    tried = numerics.Numerics("H100", {stated: {"aim": 0.3}, other: {"aim": 0.1}}, stated)
    assert tried.proposal.startswith(
        f"numerics on H100: 3.00 × as fast as {stated}: --set training.precision=bfloat16;"
    )
    level = numerics.Numerics("H100", {stated: {"aim": 0.1}, other: {"aim": 0.099}}, stated)
    assert "no setting is much faster" in level.proposal
