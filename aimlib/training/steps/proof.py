"""Verify that a captured graph computes exactly the bits of eager steps, once per arm, device kind and versions.

The proof takes three steps in both ways from the same state, each with a different batch and learning rate. It compares
every bit of the parameters, buffers, optimizer, losses, correct predictions and generators. The finding is stored in
the process and in the cache folder (`aimlib.datasets.locations.cache_of`, ``steps``). Other runs of the arm on the same
device kind therefore do not repeat the proof. If the folder is deleted, one proof per arm is repeated.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aimlib.config import RunConfig
from aimlib.datasets.locations import cache_of
from aimlib.training import nvml
from aimlib.training.devices import device_name
from aimlib.training.numerics import numerics_of
from aimlib.training.steps.base import Computation, Inputs, Step
from aimlib.training.steps.eager import EagerStep
from aimlib.training.steps.graph import GraphStep, is_capture_failure
from aimlib.training.steps.snapshot import Snapshot, same_bits

_FORMAT = 1
_RATES = (1.0, 0.5, 0.25)
"""Learning rate factors for the steps in a proof; they reveal a graph that keeps the first rate."""


@dataclass(frozen=True)
class Finding:
    """The result of a proof.

    Attributes
    ----------
    equal : whether the graph's results are bitwise identical to those of eager steps.
    reason : why the graph could not be captured, or which values differ; empty if the results are identical.
    """

    equal: bool
    reason: str = ""


_known: dict[str, Finding] = {}


def key_of(config: RunConfig, computation: Computation, inputs: Inputs) -> str:
    """Return a hash of everything that a finding depends on: the arm without its seed, batch, device and versions."""
    device = computation.device
    content = {
        "format": _FORMAT,
        "model": config.model.identity(),
        "training": config.training.identity(),
        "numerics": numerics_of(config),
        "parameters": [list(parameter.shape) for parameter in computation.network.parameters()],
        "inputs": [[str(tensor.dtype), list(tensor.shape)] for tensor in inputs.tensors()],
        "device": [device.type, device_name(device)],
        "package": _package_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,  # type: ignore[no-untyped-call]
        "driver": _driver(device),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _package_version() -> str:
    try:
        return importlib.metadata.version("aim-ablations")
    except importlib.metadata.PackageNotFoundError:  # running from a checkout that is not installed
        return "unknown"


def _driver(device: torch.device) -> str | None:
    """Return the driver version; None if unknown."""
    found = nvml.driver() if device.type == "cuda" else None
    return found.version if found is not None else None


def known(key: str) -> Finding | None:
    """Return an earlier finding, from this or a different process; None if there is none."""
    if key not in _known:
        found = _read(_file(key), key)
        if found is None:
            return None
        _known[key] = found
    return _known[key]


def keep(key: str, finding: Finding) -> None:
    """Store a finding; if the cache folder is not writable, keep it only in this process."""
    _known[key] = finding
    file = _file(key)
    content = {"format": _FORMAT, "key": key, "equal": finding.equal, "reason": finding.reason}
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as out:
            out.write(json.dumps(content) + "\n")
        temporary.replace(file)


def _file(key: str) -> Path:
    return cache_of("steps") / f"{key}.json"


def _read(file: Path, key: str) -> Finding | None:
    """Return the finding in a file; None if there is no file, or if it is damaged or belongs to a different arm."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or (content.get("format"), content.get("key")) != (_FORMAT, key):
        return None
    equal, reason = content.get("equal"), content.get("reason")
    return Finding(equal, reason) if isinstance(equal, bool) and isinstance(reason, str) else None


def compare(computation: Computation, inputs: Inputs) -> tuple[Finding, GraphStep | None]:
    """Compare graph and eager steps without changing the run's state; return the finding and the captured step.

    Parameters
    ----------
    inputs : a full batch.

    Raises
    ------
    RuntimeError: something other than the capture failed, including insufficient memory (`torch.OutOfMemoryError`).
    """
    before = Snapshot(computation)
    try:
        eagerly = _taken(EagerStep(computation), inputs)
        after = Snapshot(computation)
        before.put_back()
        graph_step = GraphStep(computation)
        captured = _taken(graph_step, inputs)
        differing = [*_differing(eagerly, captured), *after.differences()]
    except RuntimeError as error:
        if not is_capture_failure(error):
            raise
        return Finding(False, f"it could not be captured ({_short(error)})"), None
    finally:
        before.put_back()
    if differing:
        listed = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
        return Finding(False, f"it is not bitwise identical to eager steps in {listed}"), None
    return Finding(True), graph_step


def _differing(one: list[Tensor], other: list[Tensor]) -> list[str]:
    """Return the names of the return values that differ."""
    return [] if all(same_bits(a, b) for a, b in zip(one, other, strict=True)) else ["losses"]


def _taken(step: Step, inputs: Inputs) -> list[Tensor]:
    """Take the steps of a proof; return their results."""
    returned: list[Tensor] = []
    with _learning_rates(step.computation) as rates:
        for number, factor in enumerate(_RATES):
            for group, rate in zip(step.computation.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            returned += [part.to("cpu", copy=True) for part in step.take(_turned(inputs, number))]
    return returned


@contextlib.contextmanager
def _learning_rates(computation: Computation) -> Iterator[list[Any]]:
    """Yield the groups' learning rates, and restore them at the end."""
    groups = computation.optimizer.param_groups
    rates = [group["lr"] for group in groups]
    try:
        yield rates
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate


def _turned(inputs: Inputs, by: int) -> Inputs:
    """Return the batch with its draws shifted to the next images, so that the inputs differ but have the same sizes."""
    draws_PBD, targets_BC = inputs.draws_PBD, inputs.targets_BC
    return Inputs(
        inputs.x_BCHW.flip(3) if by % 2 else inputs.x_BCHW,
        inputs.labels_B.roll(by),
        None if draws_PBD is None else draws_PBD.roll(by, dims=1),
        None if targets_BC is None else targets_BC.roll(by, dims=0),
    )


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
