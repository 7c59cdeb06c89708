"""Information about this machine's GPUs from NVML, the driver's own library, without creating a CUDA context."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU. If a GPU no longer responds, nothing is known about it, and its UUID is empty.

    Attributes
    ----------
    uuid : ``GPU-`` and 32 hexadecimal digits.
    name : model of the GPU.
    capability : compute capability, major and minor; None if unknown.
    """

    uuid: str = ""
    name: str = ""
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver, and the GPUs in bus order.

    Attributes
    ----------
    version : version of the driver.
    cuda : newest CUDA version that the driver supports, major and minor.
    """

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def driver() -> Driver | None:
    """Return NVML's information; None if NVML, the driver, or the package that reads it is missing."""
    try:
        import pynvml  # noqa: PLC0415 -- not installed in all environments
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _described(pynvml)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _described(nvml: Any) -> Driver:
    newest = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    return Driver(str(nvml.nvmlSystemGetDriverVersion()), (newest // 1000, newest % 1000 // 10), gpus)


def _gpu(nvml: Any, index: int) -> Gpu:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:  # the GPU is lost
        return Gpu()
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return Gpu(uuid, name)
    return Gpu(uuid, name, (int(major), int(minor)))


def visible(gpus: Sequence[Gpu], listed: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs visible to a process through CUDA, in CUDA's order.

    The list is interpreted as in CUDA: it ends before the first entry that does not identify a GPU, and counts as empty
    if it contains a GPU twice. Numbers refer to bus order only if all GPUs are the same model, or if CUDA is told to
    use bus order (`numbered_by_bus`).

    Parameters
    ----------
    listed : ``CUDA_VISIBLE_DEVICES``: numbers, UUIDs, beginnings of UUIDs, or MIG instances. For a MIG instance, the
        result contains only its identifier. None: all GPUs.
    """
    if listed is None:
        return tuple(gpus)
    found: list[Gpu] = []
    for entry in (part.strip() for part in listed.split(",")):
        gpu = _named(gpus, entry)
        if gpu is None:
            break
        if gpu in found and gpu.uuid:
            return ()
        found.append(gpu)
    return tuple(found)


def _named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.startswith("MIG-"):
        return Gpu(entry)
    if entry.startswith("GPU-"):
        meant = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
        return meant[0] if len(meant) == 1 else None
    if entry.isdecimal() and int(entry) < len(gpus):
        return gpus[int(entry)]
    return None


def numbered_by_bus(gpus: Sequence[Gpu]) -> bool:
    """Return whether CUDA numbers these GPUs as NVML does; by default, CUDA puts the fastest model first.

    A GPU that no longer responds has a number in NVML, but possibly none in CUDA.
    """
    if not all(gpu.uuid for gpu in gpus):
        return False
    return os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in gpus}) <= 1
