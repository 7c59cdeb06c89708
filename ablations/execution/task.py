"""What a worker is told of a run. Light: whoever only passes it on, or waits for it, imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


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
