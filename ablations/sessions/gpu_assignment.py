"""Which GPUs a session's runs request: measured shares, and one GPU type for all runs of a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rich.console import Console

from ablations.execution.capacity import accelerators, types_of_seeds
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.task import Task
from ablations.planning.plan import Plan
from ablations.spec.resources import Resources, idle_gpus
from ablations.store import ResultStore


def with_measured_shares(
    plan: Plan, waiting: list[Task], executor: RayExecutor, store: ResultStore, console: Console
) -> tuple[Plan, list[Task]]:
    """Return the plan and the tasks with the measured GPU shares for arms with ``gpus: auto``."""
    if not any(arm.resources.gpus_auto for arm in plan.arms):
        return plan, waiting
    from ablations.estimation.gpu_shares import settle_shares  # noqa: PLC0415 -- imports much of training, which few studies need here

    plan = settle_shares(plan, executor.nodes, store, console)
    executor.give(arm.resources for arm in plan.arms)
    gpus = {arm.name: arm.resources.gpus for arm in plan.arms}
    return plan, [replace(task, gpus=gpus[task.arm]) for task in waiting]


def with_one_type_per_seed(waiting: list[Task], executor: RayExecutor, store: ResultStore) -> list[Task]:
    """Return the tasks with the GPU type that all runs of their seed use, if the cluster has several types."""
    seeds = list(dict.fromkeys(task.config["seed"] for task in waiting if task.device == "cuda"))
    kinds = accelerators(executor.nodes, [wanted for wanted in executor.resources if wanted.gpus > 0])
    types = types_of_seeds(seeds, kinds, _devices_before(kinds, store) if len(kinds) > 1 else None)
    return [
        replace(task, accelerator=types.get(task.config["seed"], task.accelerator)) if task.device == "cuda" else task
        for task in waiting
    ]


def _devices_before(kinds: Iterable[str], store: ResultStore) -> dict[int, str]:
    """Return the GPU type on which each seed's settled runs were computed, if it is still available."""
    import analysis  # noqa: PLC0415 -- pandas, and only a cluster with several types needs it

    if store.read_plan() is None:
        return {}
    rows = analysis.load(store.place, epochs=False).runs[["seed", "device_name"]].dropna()
    by_length = sorted(kinds, key=len, reverse=True)  # A100 before A10
    found: dict[int, str] = {}
    for seed, name in zip(rows["seed"], rows["device_name"], strict=True):
        if kind := next((kind for kind in by_length if kind in name), ""):
            found.setdefault(int(seed), kind)
    return found


def notices(resources: Iterable[Resources], shares: Mapping[str, float]) -> list[str]:
    """Return the messages about GPUs that are shown before runs start.

    Parameters
    ----------
    shares : GPU share with which each arm starts because it ran out of memory with a smaller share.
    """
    idle = dict.fromkeys(text for wanted in resources if (text := idle_gpus(wanted)) is not None)
    grown = [
        f"runs of {arm} start with {share:g} of a GPU, because they ran out of memory with less"
        for arm, share in shares.items()
    ]
    return [*idle, *grown]
