"""What a study will cost, from a few timed steps of every arm on the kinds of devices that it will run on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ablations.estimation.gpu_shares import packed, packed_runs, share
from ablations.execution.capacity import Node, fitting
from ablations.execution.measurement import CONTEXT_BYTES, SECONDS, Measurement, Meter
from ablations.execution.ray import measurement as cluster
from ablations.planning.arms import Arm
from ablations.planning.plan import Plan
from ablations.spec.resources import Resources
from aimlib.datasets.base import DataSet
from aimlib.errors import UsageError
from aimlib.training.footprint import runs_per_device


@dataclass(frozen=True)
class ArmCost:
    """Cost of one arm.

    Attributes
    ----------
    step_seconds : one training step (a batch), median of the timed ones.
    run_seconds : one run: all epochs, evaluations included, without start-up.
    runs : number of runs.
    peak_bytes : memory of one run at its peak, on the device; None where it was not measured: see
        `aimlib.training.footprint`.
    context_bytes, data_bytes : what its process takes of a GPU beside that, and its copy of the images there.
    cpus : of a run.
    fitting : how many runs share one GPU by what was measured, see `ablations.estimation.gpu_shares`; 1 on a CPU.
    """

    step_seconds: float
    run_seconds: float
    runs: int
    peak_bytes: int | None = None
    context_bytes: int = CONTEXT_BYTES
    data_bytes: int = 0
    cpus: int = 1
    fitting: int = 1


@dataclass(frozen=True)
class Cost:
    """Cost of a study, or of those of its arms that run there, on devices of one kind.

    Attributes
    ----------
    arms : by name.
    device : type of what was timed.
    parallel : how many runs are computed at once where it was timed.
    total_bytes : memory of the device that was timed.
    kind : its model.
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
        """Hours of one device for all runs, one after the other; of one CPU, where each run takes several."""
        each = (
            cost.run_seconds * cost.runs * (cost.cpus if self.device == "cpu" else 1) for cost in self.arms.values()
        )
        return sum(each) / 3600

    @property
    def unit(self) -> str:
        """What `hours` counts."""
        return "CPU-hours" if self.device == "cpu" else "GPU-hours"

    @property
    def wall_seconds(self) -> float:
        """Time until the study is done there, with as many runs at once as fit."""
        return sum(cost.run_seconds * cost.runs for cost in self.arms.values()) / self.parallel


@dataclass(frozen=True)
class Estimate:
    """What a study will cost.

    Attributes
    ----------
    costs : per kind of device; empty where nothing could be timed.
    untimed : why something was not timed, and how to have it timed.
    """

    costs: tuple[Cost, ...] = ()
    untimed: tuple[str, ...] = field(default=())


def estimate(plan: Plan, address: str | None = None, seconds: float = SECONDS) -> Estimate:
    """Time the arms of a study on the kinds of devices that they will run on.

    What runs on CPUs is timed here, or on a worker of the cluster that is given. What runs on GPUs is timed here where
    there is one, else on a worker of the cluster that is given or that this machine belongs to, once per kind of GPU;
    never on a CPU.

    Parameters
    ----------
    address : of a Ray cluster, or ``auto``.
    seconds : after which no further step of an arm is begun.

    Raises
    ------
    UsageError: there is no cluster at the address.
    """
    here = {"cpu": address is None, "cuda": address is None and torch.cuda.is_available()}
    local = [arm for arm in plan.arms if here[arm.resources.trained_on]]
    elsewhere = [arm for arm in plan.arms if not here[arm.resources.trained_on]]
    found = _here(plan, local, seconds)
    if not elsewhere:
        return found
    there = _on_cluster(plan, elsewhere, address, seconds)
    return Estimate((*found.costs, *there.costs), (*found.untimed, *there.untimed))


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


_HOW = "give --address of a Ray cluster with such GPUs, or check on a machine that has one"


def _on_cluster(plan: Plan, arms: Sequence[Arm], address: str | None, seconds: float) -> Estimate:
    where = address or cluster.running_cluster()
    if where is None:
        return Estimate(untimed=(f"this machine has no GPU and belongs to no Ray cluster; {_HOW}",))
    try:
        with cluster.connected(where) as nodes:
            return _of_kinds(plan, arms, nodes, where, seconds)
    except UsageError as error:
        if address is not None:
            raise
        return Estimate(untimed=(f"this machine has no GPU, and of the cluster that it belongs to: {error}; {_HOW}",))


def _of_kinds(plan: Plan, arms: Sequence[Arm], nodes: Sequence[Node], where: str, seconds: float) -> Estimate:
    costs: list[Cost] = []
    untimed: list[str] = []
    on_cpu = [arm for arm in arms if arm.resources.trained_on == "cpu"]
    on_gpu = [arm for arm in arms if arm.resources.trained_on == "cuda"]
    wanted: list[tuple[str | None, list[Arm], list[Node]]] = [(None, on_cpu, list(nodes))] if on_cpu else []
    wanted += [(kind, on_gpu, cluster.of_kind(nodes, kind)) for kind in cluster.kinds(nodes) if on_gpu]
    if on_gpu and not cluster.kinds(nodes):
        untimed.append(f"no node of the cluster at {where} has a GPU now; {_HOW}")
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
    """Return what a worker on one kind of device measured."""
    room = Resources(cpus=max(arm.resources.cpus for arm in arms), gpus=0.0 if kind is None else 1.0)
    if fitting(room, nodes) == 0:
        raise UsageError(f"no node of the cluster has {room.cpus} CPUs and {room.gpus:g} GPUs; lower resources.cpus")
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
    )


def batches_of_epoch(arm: Arm, data: DataSet) -> tuple[float, float]:
    """Return how many batches an epoch trains on and evaluates."""
    training, images = arm.config.training, len(data.train.labels)
    held_out = round(images * training.validation_fraction)
    return (images - held_out) / training.batch_size, (held_out + len(data.test.labels)) / training.batch_size


def packing(cost: Cost, resources: Mapping[str, Resources]) -> list[str]:
    """Return notes on how many runs of each arm a device holds by their memory, where its share says otherwise.

    Parameters
    ----------
    resources : what a run of each arm is given.
    """
    return [note for arm, found in cost.arms.items() if (note := _packing(arm, found, cost, resources[arm]))]


def _packing(arm: str, found: ArmCost, cost: Cost, given: Resources) -> str:
    if found.peak_bytes is None:
        return ""
    if cost.device == "cpu":
        together = cost.parallel * found.peak_bytes
        return (
            ""
            if together <= cost.total_bytes
            else (
                f"arms.{arm}: {cost.parallel} runs at once take {together / 1e9:.1f} GB, and this machine has "
                f"{cost.total_bytes / 1e9:.1f}; give a run more CPUs (resources.cpus), so that fewer run at once"
            )
        )
    taken = found.peak_bytes + found.context_bytes + found.data_bytes
    size = f"arms.{arm}: a run takes {taken / 1e9:.2f} GB of {cost.total_bytes / 1e9:.1f} of {cost.kind or 'a GPU'}"
    by_memory = runs_per_device(taken, cost.total_bytes)
    if by_memory == 0:
        return f"{size}: it does not fit; lower training.batch_size"
    if given.gpus_auto:
        return f"{size}: gpus: auto: {_runs(found.fitting)} per GPU"
    if 0 < given.gpus <= 1 and found.fitting != int(1 / given.gpus + 1e-9):
        return f"{size}: {found.fitting} fit on one GPU: arms.{arm}.resources: {{gpus: {share(found.fitting):g}}}"
    return ""


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
