"""What a worker is told of a run. Light: whoever only passes it on, or waits for it, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aimlib.component import is_local

if TYPE_CHECKING:
    from ablations.planning.plan import Plan, PlannedRun
    from ablations.store import ResultStore
    from aimlib.config import RunConfig


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs to know of a run, as plain values.

    Attributes
    ----------
    directory : the study directory.
    mark : what marks it as the driver's own directory, see `ResultStore.mark`.
    config : the RunConfig as JSON; validated again by the worker.
    costs : the columns of its row that are known of the network before it is trained.
    device, threads : where it is trained.
    gpus : GPUs that it is given; a fraction bounds the memory that it may take of one.
    accelerator : type of GPU that it needs, so that the runs of a seed have the same; empty: any.
    session : name of the session that computes it, which may be asked to stop; empty: none.
    until : it pauses after so many epochs, its state kept; None: it goes to its end.
    grace_seconds : it has so long to save its state when its process or node is told to end.
    left_out : names of GPUs on which nothing may begin, as they failed.
    """

    directory: str
    mark: str
    study: str
    arm: str
    run_id: str
    fingerprint: str
    config: dict[str, Any]
    costs: dict[str, int]
    device: Literal["cpu", "cuda"]
    threads: int
    gpus: float = 0.0
    accelerator: str = ""
    session: str = ""
    until: int | None = None
    grace_seconds: float = 25.0
    left_out: tuple[str, ...] = ()


def as_json(task: Task) -> dict[str, Any]:
    """Return the task as plain values, for the way to a worker."""
    return asdict(task)


def tasks(
    plan: Plan,
    store: ResultStore,
    runs: list[PlannedRun],
    session: str = "",
    until: Mapping[str, int] | None = None,
) -> list[Task]:
    """Return the task of every given run."""
    costs = ("parameters", "trainable_parameters", "multiply_adds")
    mark, until = store.mark(), until or {}
    resources = {arm.name: arm.resources for arm in plan.arms}
    return [
        Task(
            directory=store.location,
            mark=mark,
            study=plan.study.spec.name,
            arm=run.arm,
            run_id=run.run_id,
            fingerprint=run.fingerprint,
            config=_with_absolute_paths(run.config).model_dump(mode="json"),
            costs={name: getattr(plan.summaries[run.arm], name) for name in costs},
            device=resources[run.arm].trained_on,
            threads=resources[run.arm].cpus,
            gpus=resources[run.arm].gpus,
            session=session,
            until=until.get(run.run_id),
            grace_seconds=resources[run.arm].grace_seconds,
        )
        for run in runs
    ]


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the run with the places of its data as absolute paths: a worker may stand in another folder."""
    fields = type(config.data).model_fields
    given = {name: getattr(config.data, name) for name, field in fields.items() if is_local(field)}
    places = {name: str(Path(place).expanduser().absolute()) for name, place in given.items() if place is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=places)})
