"""Shares of a GPU for ``resources: {gpus: auto}``: as many runs per GPU as the memory measurements allow."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from ablations.execution.capacity import Node, holds, needed
from ablations.execution.measurement import Measurement, versions
from ablations.execution.ray import measurement as cluster
from ablations.planning.arms import Arm
from ablations.planning.plan import Plan
from ablations.spec.resources import Resources
from ablations.store import ResultStore
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import ConfigError, UsageError, counted
from aimlib.training.footprint import runs_per_device
from aimlib.training.loaders import LARGEST_SHARE, resident_bytes

MOST_RUNS = 8
"""Maximum number of runs per GPU; with more runs, their steps would only wait for each other."""


def runs_per_gpu(found: Measurement, data_bytes: int, resources: Resources, nodes: Iterable[Node]) -> int:
    """Return how many runs of an arm share one GPU, or 0 if not even one fits.

    The number is limited by the GPU's memory, by `MOST_RUNS`, and by the number of CPUs per GPU on a node: without CPUs
    for more runs, a smaller share would only leave GPU memory unused.

    Parameters
    ----------
    data_bytes : bytes of images that every process keeps on its GPU.
    nodes : nodes with this kind of GPU.
    """
    if found.peak_bytes is None:
        return 1
    fitting = runs_per_device(found.peak_bytes + found.context_bytes + data_bytes, found.total_bytes)
    for node in nodes:
        by_cpus = int(node.get("CPU", 0) / max(1.0, node.get("GPU", 0)) / resources.cpus)
        fitting = min(fitting, max(1, by_cpus))
    return min(fitting, MOST_RUNS)


def packed_runs(arm: Arm, found: Measurement, data: DataSet, nodes: Sequence[Node]) -> tuple[int, int]:
    """Return how many runs of an arm share one GPU, and the bytes of images that each run keeps on that GPU.

    With ``data_on: auto``, the images are kept on the GPU only if they take up a small part of a run's share of the
    GPU's memory.
    """
    held = resident_bytes(arm.config, data)
    runs = runs_per_gpu(found, held, arm.resources, nodes)
    if arm.config.training.data_on == "auto" and held > LARGEST_SHARE * found.total_bytes * share(runs):
        return runs_per_gpu(found, 0, arm.resources, nodes), 0
    return runs, held


def share(runs: int) -> float:
    """Return the GPU share for one of `runs` runs, rounded down so that all of them fit."""
    return 1.0 if runs <= 1 else math.floor(1000 / runs) / 1000


def packed(arms: Sequence[Arm], shares: Mapping[str, float]) -> tuple[Arm, ...]:
    """Return the arms, in which ``gpus: auto`` is replaced by the computed share."""
    return tuple(
        replace(arm, resources=arm.resources.model_copy(update={"gpus": shares[arm.name]}))
        if arm.resources.gpus_auto and arm.name in shares
        else arm
        for arm in arms
    )


def settle_shares(plan: Plan, nodes: Sequence[Node], store: ResultStore, console: Console) -> Plan:
    """Return the plan with a GPU share for every arm with ``gpus: auto``.

    Earlier measurements with the same configuration, kind of device and versions are read from the study directory.
    Missing measurements are made on the connected cluster and stored. The share applies to all available kinds of GPU;
    the kind on which the fewest runs fit determines the share.

    Raises
    ------
    UsageError: no GPU is available for the measurement, or an arm does not fit on any GPU.
    """
    asking = [arm for arm in plan.arms if arm.resources.gpus_auto]
    if not asking:
        return plan
    there = cluster.kinds(nodes)
    if not there:
        raise UsageError(f"resources.gpus: auto: {_NO_GPU}")
    measured = _measured(asking, there, nodes, store, console)
    shares = {arm.name: _share(arm, plan, measured, nodes) for arm in asking}
    for arm in asking:
        console.print(_notice(arm, shares[arm.name], measured), soft_wrap=True, markup=False, highlight=False)
    return replace(plan, arms=packed(plan.arms, shares))


_NO_GPU = "no GPU is available for the measurement; set the share of a run, e.g. --set resources.gpus=1"


def _share(arm: Arm, plan: Plan, measured: Mapping[tuple[str, str], Measurement], nodes: Sequence[Node]) -> float:
    counts = {
        kind: packed_runs(arm, found, plan.data[arm.name], cluster.of_kind(nodes, kind))[0]
        for (name, kind), found in measured.items()
        if name == arm.name
    }
    if not any(counts.values()):
        raise UsageError(f"arms.{arm.name}: a run does not fit on any GPU in the cluster; lower training.batch_size")
    return share(min(count for count in counts.values() if count))


def _notice(arm: Arm, found: float, measured: Mapping[tuple[str, str], Measurement]) -> str:
    taken = ", ".join(
        f"{each.peak_bytes / 1e9:.2f} GB of {each.total_bytes / 1e9:.1f} on {each.device_name}"
        for (name, _), each in measured.items()
        if name == arm.name and each.peak_bytes is not None
    )
    runs = math.floor(1 / found + 1e-9)
    return f"arms.{arm.name}: gpus: auto: {counted(runs, 'run')} per GPU (gpus: {found:g}; {taken})"


def _measured(
    asking: Sequence[Arm], there: Sequence[str], nodes: Sequence[Node], store: ResultStore, console: Console
) -> dict[tuple[str, str], Measurement]:
    """Return a measurement for every arm on every kind of GPU; those that are not stored yet are made now.

    Measurements on a GPU without a name are not stored, because the next GPU without a name may be of a different kind.
    """
    kept = store.measurements()
    found: dict[tuple[str, str], Measurement] = {}
    for kind in there:
        known = {arm.name: _parsed(kept.get(key_of(arm, kind))) if kind else None for arm in asking}
        missing = [arm for arm in asking if known[arm.name] is None and _holds(arm, nodes, kind)]
        if missing:
            with console.status(f"measuring {counted(len(missing), 'arm')} on a GPU ({kind or 'kind unknown'})"):
                answers = cluster.measure([cluster.Job.of(arm) for arm in missing], kind)
            for name, error in answers.errors.items():
                raise UsageError(f"resources.gpus: auto: arms.{name}: {error}")
            known |= answers.measured
            if kind:
                kept |= {key_of(arm, kind): answers.measured[arm.name].model_dump(mode="json") for arm in missing}
                store.keep_measurements(kept)
        found |= {(name, kind): each for name, each in known.items() if each is not None}
    return found


def _holds(arm: Arm, nodes: Sequence[Node], kind: str) -> bool:
    return any(holds(node, needed(arm.resources)) for node in cluster.of_kind(nodes, kind))


def key_of(arm: Arm, kind: str) -> str:
    """Return the key of an arm's measurement on one kind of GPU: a hash of all inputs except the seed."""
    content = {"run": _without_seed(arm.config), "cpus": arm.resources.cpus, "kind": kind, **versions()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _without_seed(config: RunConfig) -> dict[str, Any]:
    document = config.model_dump(mode="json")
    return {"model": document["model"], "training": document["training"], "data": config.data.identity()}


def _parsed(content: Any) -> Measurement | None:
    try:
        return Measurement.parse(content)
    except ConfigError:  # not stored, or stored by a different version of this package
        return None
