"""Cost of a study, estimated from a few timed steps of every arm on the kinds of devices that the study will use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ablations.estimation.gpu_shares import packed, packed_runs, share
from ablations.execution.capacity import Node, fitting
from ablations.execution.host_memory import unmapped_bytes
from ablations.execution.measurement import CONTEXT_BYTES, SECONDS, Measurement, Meter
from ablations.execution.ray import measurement as cluster
from ablations.planning.arms import Arm
from ablations.planning.plan import Plan
from ablations.spec.resources import Resources
from aimlib.datasets.base import DataSet
from aimlib.errors import UsageError, counted
from aimlib.training.footprint import runs_per_device
from aimlib.training.own.config import OwnRunConfig


@dataclass(frozen=True)
class ArmCost:
    """Cost of one arm.

    Attributes
    ----------
    step_seconds : time of one training step (one batch); the median of the timed steps.
    run_seconds : time of one run: all epochs with their evaluations, excluding startup.
    runs : number of runs.
    peak_bytes : peak device memory of one run, or None if not measured; see `aimlib.training.footprint`.
    context_bytes, data_bytes : additional GPU memory for the process, and for its copy of the images.
    cpus : number of CPUs per run.
    fitting : number of runs that fit on one GPU (see `ablations.estimation.gpu_shares`); 1 on a CPU.
    host_bytes : peak host memory of a run's process, including its images unless they are mapped from a file; None if
        not measured.
    """

    step_seconds: float
    run_seconds: float
    runs: int
    peak_bytes: int | None = None
    context_bytes: int = CONTEXT_BYTES
    data_bytes: int = 0
    cpus: int = 1
    fitting: int = 1
    host_bytes: int | None = None


@dataclass(frozen=True)
class Cost:
    """Cost of a study, or of some of its arms, on one kind of device.

    Attributes
    ----------
    arms : cost of each arm, by name.
    device : type of the timed device.
    parallel : number of concurrent runs on this machine or cluster.
    total_bytes : memory of the timed device.
    kind : model of the timed device.
    where : ``this machine``, or the address of the cluster.
    """

    arms: Mapping[str, ArmCost]
    device: Literal["cpu", "cuda"]
    parallel: int
    total_bytes: int = 0
    kind: str = ""
    where: str = "this machine"

    @property
    def hours(self) -> float:
        """Total device-hours for all runs; on CPUs, the CPU-hours."""
        each = (
            cost.run_seconds * cost.runs * (cost.cpus if self.device == "cpu" else 1) for cost in self.arms.values()
        )
        return sum(each) / 3600

    def hours_of(self, arm: str) -> float:
        """Return the device-hours that one run of an arm takes; on CPUs, the CPU-hours."""
        cost = self.arms[arm]
        return cost.run_seconds * (cost.cpus if self.device == "cpu" else 1) / 3600

    @property
    def unit(self) -> str:
        """Unit of `hours`."""
        return "CPU-hours" if self.device == "cpu" else "GPU-hours"

    @property
    def wall_seconds(self) -> float:
        """Seconds until the study is complete, with as many concurrent runs as fit."""
        return sum(cost.run_seconds * cost.runs for cost in self.arms.values()) / self.parallel


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a study.

    Attributes
    ----------
    costs : cost on each kind of device; empty if nothing could be timed.
    untimed : reasons why something was not timed, and how to time it.
    """

    costs: tuple[Cost, ...] = ()
    untimed: tuple[str, ...] = field(default=())


def estimate(plan: Plan, address: str | None = None, seconds: float = SECONDS) -> Estimate:
    """Time the arms of a study on the kinds of devices on which they will run.

    With an address, all arms are timed on workers of that cluster. Otherwise, CPU arms are timed on this machine. GPU
    arms are timed on this machine if it has a GPU; otherwise, the arms are timed on the cluster to which this machine
    belongs, once per kind of GPU. GPU arms are never timed on a CPU.

    Parameters
    ----------
    address : address of a Ray cluster, or ``auto``.
    seconds : time limit per arm, after which no new step is started.

    Raises
    ------
    UsageError: no cluster is running at the address.
    """
    timed, unknown = _split(plan)
    if not timed:
        return Estimate(untimed=unknown)
    here = {"cpu": address is None, "cuda": address is None and torch.cuda.is_available()}
    local = [arm for arm in timed if here[arm.resources.trained_on]]
    elsewhere = [arm for arm in timed if not here[arm.resources.trained_on]]
    found = _here(plan, local, seconds)
    there = _on_cluster(plan, elsewhere, address, seconds) if elsewhere else Estimate()
    return Estimate((*found.costs, *there.costs), (*found.untimed, *there.untimed, *unknown))


def _split(plan: Plan) -> tuple[list[Arm], tuple[str, ...]]:
    """Return the arms that can be timed, and the reasons why the others cannot."""
    timed = [arm for arm in plan.arms if not isinstance(arm.config, OwnRunConfig)]
    others = [arm.name for arm in plan.arms if isinstance(arm.config, OwnRunConfig)]
    if not others:
        return timed, ()
    return timed, (
        f"{', '.join(others)}: a study's own training code is not timed; `ablate status` shows its time after the "
        "first run",
    )


def _here(plan: Plan, arms: Sequence[Arm], seconds: float) -> Estimate:
    node = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    costs: list[Cost] = []
    untimed: list[str] = []
    for device in ("cuda", "cpu"):
        meter = Meter(device)
        measured: dict[str, Measurement] = {}
        for arm in arms:
            if arm.resources.trained_on == device:
                try:
                    measured[arm.name] = meter.measure(arm.config, arm.resources.cpus, seconds)
                except torch.OutOfMemoryError as error:
                    untimed.append(f"{arm.name}: {str(error).partition('. ')[0]}; lower training.batch_size")
        if timed := [arm for arm in arms if arm.name in measured]:
            costs.append(_cost(plan, timed, measured, [node], "this machine"))
    return Estimate(tuple(costs), tuple(untimed))


_HOW = "give --address of a Ray cluster with GPUs, or run the check on a machine with a GPU"


def _on_cluster(plan: Plan, arms: Sequence[Arm], address: str | None, seconds: float) -> Estimate:
    where = address or cluster.running_cluster()
    if where is None:
        return Estimate(untimed=(f"this machine has no GPU and does not belong to a Ray cluster; {_HOW}",))
    try:
        with cluster.connected(where) as nodes:
            return _of_kinds(plan, arms, nodes, where, seconds)
    except UsageError as error:
        if address is not None:
            raise
        return Estimate(untimed=(f"this machine has no GPU, and its cluster cannot be used: {error}; {_HOW}",))


def _of_kinds(plan: Plan, arms: Sequence[Arm], nodes: Sequence[Node], where: str, seconds: float) -> Estimate:
    costs: list[Cost] = []
    untimed: list[str] = []
    on_cpu = [arm for arm in arms if arm.resources.trained_on == "cpu"]
    on_gpu = [arm for arm in arms if arm.resources.trained_on == "cuda"]
    wanted: list[tuple[str | None, list[Arm], list[Node]]] = [(None, on_cpu, list(nodes))] if on_cpu else []
    wanted += [
        (kind, able, cluster.of_kind(nodes, kind))
        for kind in cluster.kinds(nodes)
        if (able := [arm for arm in on_gpu if arm.resources.accelerator_type in (None, kind)])
    ]
    if on_gpu and not cluster.kinds(nodes):
        untimed.append(f"no node of the cluster at {where} currently has a GPU; {_HOW}")
    for kind, chosen, there in wanted:
        try:
            answers = _answers(chosen, there, kind, seconds)
        except UsageError as error:
            untimed.append(str(error))
            continue
        for reason, names in _by_error(answers.errors).items():
            untimed.append(f"{', '.join(names)}{f' on {kind}' if kind else ''}: {reason}")
        if timed := [arm for arm in chosen if arm.name in answers.measured]:
            costs.append(_cost(plan, timed, answers.measured, there, f"the cluster at {where}"))
    return Estimate(tuple(costs), tuple(untimed))


def _answers(arms: Sequence[Arm], nodes: Sequence[Node], kind: str | None, seconds: float) -> cluster.Answers:
    """Return a worker's measurements on one kind of device."""
    room = Resources(cpus=max(arm.resources.cpus for arm in arms), gpus=0.0 if kind is None else 1.0)
    if fitting(room, nodes) == 0:
        raise UsageError(
            f"no node of the cluster has {counted(room.cpus, 'CPU')} and {room.gpus:g} GPUs; lower resources.cpus"
        )
    return cluster.measure([cluster.Job.of(arm, seconds) for arm in arms], kind, "cpu" if kind is None else "cuda")


def _by_error(errors: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, error in errors.items():
        found.setdefault(error, []).append(name)
    return found


def _cost(
    plan: Plan, arms: Sequence[Arm], measured: Mapping[str, Measurement], nodes: Sequence[Node], where: str
) -> Cost:
    costs = {arm.name: _arm_cost(arm, plan, measured[arm.name], nodes) for arm in arms}
    given = packed(arms, {name: share(cost.fitting) for name, cost in costs.items()})
    any_of = next(iter(measured.values()))
    parallel = max(1, min(fitting(arm.resources, nodes) for arm in given))
    return Cost(costs, any_of.device, parallel, any_of.total_bytes, any_of.device_name, where)


def _arm_cost(arm: Arm, plan: Plan, found: Measurement, nodes: Sequence[Node]) -> ArmCost:
    training, data = arm.config.training, plan.data[arm.name]
    train, evaluated = batches_of_epoch(arm, data)
    epoch = train * found.step_seconds + evaluated * found.evaluation_seconds
    runs, held = packed_runs(arm, found, data, nodes) if found.device == "cuda" else (1, 0)
    return ArmCost(
        found.step_seconds,
        epoch * training.epochs,
        len(plan.study.spec.seeds),
        found.peak_bytes,
        found.context_bytes,
        held,
        arm.resources.cpus,
        runs,
        None if found.host_bytes is None else found.host_bytes + _images_in_memory(data),
    )


def _images_in_memory(data: DataSet) -> int:
    """Return the size in bytes of the images of which every process keeps its own copy."""
    return sum({id(images): unmapped_bytes(images.pixels) for images in data.splits().values()}.values())


def batches_of_epoch(arm: Arm, data: DataSet) -> tuple[float, float]:
    """Return the number of training batches in an epoch, and the number of evaluation batches."""
    training, images = arm.config.training, len(data.train.labels)
    if data.validation is None:
        held_out = round(images * training.validation_fraction)
        trained = images - held_out
    else:
        held_out, trained = len(data.validation.labels) if training.validation_fraction else 0, images
    return trained / training.batch_size, (held_out + len(data.test.labels)) / training.batch_size


def packing(cost: Cost, resources: Mapping[str, Resources]) -> list[str]:
    """Return notes on how many runs of an arm fit on a device, for arms whose stated share implies a different number.

    Parameters
    ----------
    resources : resources of a run, by arm.
    """
    return [note for arm, found in cost.arms.items() if (note := _packing(arm, found, cost, resources[arm]))]


def _packing(arm: str, found: ArmCost, cost: Cost, given: Resources) -> str:
    if found.peak_bytes is None or cost.device == "cpu":
        return ""
    taken = found.peak_bytes + found.context_bytes + found.data_bytes
    size = f"arms.{arm}: a run needs {taken / 1e9:.2f} of the {cost.total_bytes / 1e9:.1f} GB of {cost.kind or 'a GPU'}"
    by_memory = runs_per_device(taken, cost.total_bytes)
    if by_memory == 0:
        return f"{size} and does not fit; lower training.batch_size"
    if given.gpus_auto:
        return f"{size}; gpus: auto allows {counted(found.fitting, 'run')} per GPU"
    if 0 < given.gpus <= 1 and found.fitting != int(1 / given.gpus + 1e-9):
        return (
            f"{size}; {counted(found.fitting, 'run')} per GPU: arms.{arm}.resources: {{gpus: {share(found.fitting):g}}}"
        )
    return ""
