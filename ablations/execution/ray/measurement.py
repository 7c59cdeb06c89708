"""Measuring a study's arms on a worker in a cluster, because a head or login node may not have a GPU.

One small task per kind of device is sent to Ray. It receives and returns plain JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablations.execution.capacity import ACCELERATOR_TYPE, LITTLE_OF_TYPE, Node, accelerators
from ablations.execution.measurement import SECONDS, Measurement
from ablations.execution.ray.connection import Connection
from ablations.planning.arms import Arm
from aimlib.errors import UsageError
from aimlib.own_code import parts

_START_S = 120.0
"""Timeout in seconds for the start of a worker; Ray waits without a message while all GPUs are in use."""
_ARM_S = 60.0
"""Timeout in seconds for each arm."""


@dataclass(frozen=True)
class Job:
    """An arm to measure.

    Attributes
    ----------
    name : key of the answer.
    config : the run as JSON.
    threads : number of CPUs per run.
    seconds : time after which no further steps start.
    own_code : as in `ablations.execution.task.Task`.
    """

    name: str
    config: dict[str, Any]
    threads: int
    seconds: float = SECONDS
    own_code: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, arm: Arm, seconds: float = SECONDS) -> Job:
        """Return the job for an arm."""
        own_code = tuple(parts.payloads(arm.config))
        return cls(arm.name, arm.config.model_dump(mode="json"), arm.resources.cpus, seconds, own_code)


@dataclass(frozen=True)
class Answers:
    """What a worker found.

    Attributes
    ----------
    measured : measurements, by job name.
    errors : why a job could not be measured, by job name.
    """

    measured: dict[str, Measurement]
    errors: dict[str, str]


@contextlib.contextmanager
def connected(address: str) -> Iterator[list[Node]]:
    """Connect to a cluster, yield the resources of its nodes, and close the connection.

    Raises
    ------
    UsageError: there is no cluster at the address.
    """
    connection = Connection(address)
    try:
        connection.wait()
        import ray  # noqa: PLC0415 -- takes seconds

        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        connection.end()


def running_cluster() -> str | None:
    """Return the address of the cluster to which this machine belongs, or None. Ray is not imported."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    noted = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"  # noqa: S108 -- Ray's own
    try:
        return noted.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def kinds(nodes: Iterable[Node]) -> list[str]:
    """Return the kinds of GPU in a cluster, the most frequent first; ``""`` stands for GPUs without a name in Ray."""
    there = list(nodes)
    counts = accelerators(there)
    nameless = sum(node.get("GPU", 0) for node in there if not any(name.startswith(ACCELERATOR_TYPE) for name in node))
    found = {**counts, **({"": nameless} if nameless else {})}
    return sorted(found, key=lambda kind: (-found[kind], kind))


def of_kind(nodes: Iterable[Node], kind: str) -> list[Node]:
    """Return the nodes that have GPUs of this kind."""
    return [
        node
        for node in nodes
        if node.get("GPU", 0) > 0
        and (ACCELERATOR_TYPE + kind in node if kind else not any(name.startswith(ACCELERATOR_TYPE) for name in node))
    ]


def measure(jobs: Sequence[Job], kind: str | None, device: Literal["cpu", "cuda"] = "cuda") -> Answers:
    """Measure arms, one after another, on one worker in the cluster that this process is connected to.

    Parameters
    ----------
    kind : kind of GPU that is assigned to the worker; ``""`` means any GPU, and None means no GPU.
    device : device on which the worker computes, by default the assigned GPU. Tests with declared GPUs pass cpu.

    Raises
    ------
    UsageError: no worker took the task, the worker did not answer in time, or the worker died.
    """
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError  # noqa: PLC0415

    limit = _START_S + _ARM_S * len(jobs)
    where = "a CPU in the cluster" if kind is None else f"a GPU in the cluster ({kind or 'kind unknown'})"
    wanted = json.dumps({"device": device, "jobs": [vars(job) for job in jobs]})
    reference = _task(jobs, kind).remote(wanted)
    ready, _ = ray.wait([reference], timeout=limit)
    if not ready:
        ray.cancel(reference, force=True)
        raise UsageError(
            f"{where} did not answer within {limit:.0f} s; all such devices may be in use, so try again later"
        )
    try:
        answer = json.loads(ray.get(reference))
    except RayError as error:
        gist = str(error).strip().splitlines()[-1][:300]
        raise UsageError(f"{where}: the worker could not measure: {gist}") from error
    measured = {name: Measurement.parse(content) for name, content in answer["measured"].items()}
    return Answers(measured, answer["errors"])


def _task(jobs: Sequence[Job], kind: str | None) -> Any:
    """Return a Ray remote function with its resources; its process ends after the call, which frees the GPU."""
    import ray  # noqa: PLC0415

    given: dict[str, Any] = {"num_cpus": max(job.threads for job in jobs), "num_gpus": 0 if kind is None else 1}
    if kind:
        given["resources"] = {ACCELERATOR_TYPE + kind: LITTLE_OF_TYPE}
    return ray.remote(max_calls=1, max_retries=0, **given)(carry_out)


def carry_out(wanted: str) -> str:
    """Measure on this machine, which is a worker; the argument and the result are JSON texts."""
    task = json.loads(wanted)
    measured: dict[str, Any] = {}
    errors: dict[str, str] = {}
    missing = _missing(task["device"])
    if missing:
        return json.dumps({"measured": {}, "errors": {job["name"]: missing for job in task["jobs"]}})
    from ablations.execution.measurement import Meter  # noqa: PLC0415

    meter = Meter(task["device"])
    for job in task["jobs"]:
        try:
            measured[job["name"]] = _measured(meter, job).model_dump(mode="json")
        except Exception as error:  # noqa: BLE001 -- reported to the caller, and the other arms continue
            gist = (str(error).strip().splitlines() or [""])[0][:300]
            errors[job["name"]] = f"{type(error).__name__}: {gist} (on {socket.gethostname()})"
    return json.dumps({"measured": measured, "errors": errors})


def _measured(meter: Any, job: dict[str, Any]) -> Measurement:
    from aimlib.config import RunConfig  # noqa: PLC0415

    parts.install(job["own_code"])
    found: Measurement = meter.measure(RunConfig.parse(job["config"]), job["threads"], job["seconds"])
    return found


def _missing(device: str) -> str:
    """Return why a worker cannot compute on its device; empty if there is no problem."""
    import torch  # noqa: PLC0415

    if device == "cpu" or torch.cuda.is_available():
        return ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return (
        f"torch sees no usable GPU on {socket.gethostname()} (torch {torch.__version__}, {built}), though Ray "
        "assigned one: run `nvidia-smi` and `ablate doctor` there; if the driver is old, update it or install an "
        "older torch"
    )
