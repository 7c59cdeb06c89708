"""Conversion of planned runs to tasks for workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ablations.execution.task import Task
from ablations.planning.networks import has_network
from aimlib.own_code import parts

if TYPE_CHECKING:
    from ablations.planning.arms import Arm
    from ablations.planning.plan import Plan, PlannedRun
    from ablations.spec.study_fields import Checks
    from ablations.store import ResultStore
    from aimlib.config import RunConfig


def tasks(
    plan: Plan,
    store: ResultStore,
    runs: list[PlannedRun],
    session: str = "",
    until: Mapping[str, int] | None = None,
) -> list[Task]:
    """Return the task for each given run."""
    costs = ("parameters", "trainable_parameters", "multiply_adds")
    mark, until = store.mark(), until or {}
    networks = {arm.name: has_network(arm.config) for arm in plan.arms}
    resources = {arm.name: arm.resources for arm in plan.arms}
    integrity = {arm.name: integrity_of(plan, arm) for arm in plan.arms}
    own_code = {arm.name: tuple(parts.payloads(arm.config)) for arm in plan.arms}
    repeated = plan.runs[0].run_id if plan.study.spec.train and plan.study.spec.integrity == "spot" else ""
    return [
        Task(
            directory=store.location,
            mark=mark,
            study=plan.study.spec.name,
            arm=run.arm,
            run_id=run.run_id,
            fingerprint=run.fingerprint,
            config=_with_absolute_paths(run.config).model_dump(mode="json"),
            costs={name: getattr(plan.summaries[run.arm], name) for name in costs} if networks[run.arm] else {},
            device=resources[run.arm].trained_on,
            threads=resources[run.arm].cpus,
            gpus=resources[run.arm].gpus,
            accelerator=resources[run.arm].accelerator_type or "",
            memory_bytes=resources[run.arm].memory or 0,
            custom=dict(resources[run.arm].custom),
            session=session,
            until=until.get(run.run_id),
            grace_seconds=resources[run.arm].grace_seconds,
            outage_seconds=resources[run.arm].outage_hours * 3600,
            integrity=integrity[run.arm],
            keep=plan.study.spec.keep,
            keep_scores=plan.study.spec.keep_scores,
            own_code=own_code[run.arm],
            repeat=run.run_id == repeated,
        )
        for run in runs
    ]


def integrity_of(plan: Plan, arm: Arm) -> Checks:
    """Return how computing errors are detected; steps with nondeterministic kernels are not repeated."""
    if arm.integrity == "spot" and arm.resources.trained_on == "cuda":
        return "reference" if plan.summaries[arm.name].nondeterministic_on_gpu else "spot"
    return arm.integrity


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the run with absolute paths to its data, because a worker may have a different working directory."""
    return config.model_copy(update={"data": config.data.with_absolute_paths()})
