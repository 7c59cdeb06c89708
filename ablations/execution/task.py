"""The description of a run for a worker.

This module does not import torch, because most of its importers only pass tasks on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs to know about a run, as plain values.

    Attributes
    ----------
    directory : the study directory.
    mark : identifies the driver's study directory; see `ResultStore.mark`.
    config : the RunConfig as JSON; the worker validates it again.
    costs : the columns of the run's row that are known before the network is trained.
    device, threads : device and number of CPU threads for the training.
    gpus : number of GPUs; a fraction limits how much of a GPU's memory the run may use.
    accelerator : type of GPU that the run needs, so that all runs of a seed use the same type; empty means any.
    memory_bytes : host memory that a node reserves for the run; 0 if none is reserved.
    custom : custom resources that the run takes from a node, by name.
    session : name of the session that computes the run, which may be asked to stop; empty if there is none.
    until : number of epochs after which the run saves its state and pauses; None means that the run does not pause.
    grace_seconds : time that the run has to save its state when its process or node must end.
    left_out : names of the excluded GPUs, and of machines whose CPUs are excluded.
    integrity : with ``spot``, the device computes the reference step, and some training steps are repeated; with
        ``reference``, only the reference step is computed; with ``off``, neither is done.
    outage_seconds : how long the run waits for unavailable storage.
    keep : which trained network is stored: ``best``, ``last`` or ``none``.
    keep_scores : how the scores of the test images are stored: ``float16`` or ``none``.
    own_code : the user's own code that the run needs, with its hashes; see `aimlib.own_code.parts`.
    repeat : whether the user's own training code computes the run a second time, to compare the predictions.
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
    memory_bytes: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    outage_seconds: float = 0.0
    integrity: Literal["spot", "reference", "off"] = "off"
    keep: Literal["best", "last", "none"] = "none"
    keep_scores: Literal["none", "float16"] = "none"
    own_code: tuple[Mapping[str, Any], ...] = ()
    repeat: bool = False


def as_json(task: Task) -> dict[str, Any]:
    """Return the task as plain values, in the form sent to a worker."""
    return asdict(task)
