"""Information about this machine's GPUs from NVML, the driver's own library; reading it creates no CUDA context."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU. Nothing is known about one that no longer answers: its UUID is empty.

    Attributes
    ----------
    uuid : ``GPU-`` and 32 hexadecimal digits.
    name : its model.
    capability : compute capability, major and minor; None if unknown.
    """

    uuid: str = ""
    name: str = ""
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver, and the GPUs in the order of their positions on the bus.

    Attributes
    ----------
    version : of the driver.
    cuda : the newest CUDA version that it supports, major and minor.
    """

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def driver() -> Driver | None:
    """Return NVML's information; None without NVML, a driver, or the package that reads it."""
    try:
        import pynvml  # noqa: PLC0415 -- an environment may lack it
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
    except nvml.NVMLError:  # it is lost
        return Gpu()
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return Gpu(uuid, name)
    return Gpu(uuid, name, (int(major), int(minor)))


def visible(gpus: Sequence[Gpu], listed: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA lets a process see, in CUDA's order.

    The list is read as CUDA reads it: it ends before the first entry that names no GPU, and is void if it names a GPU
    twice. The order of GPUs that are named by number is the bus's only if all are of one model, or CUDA is told so
    (`numbered_by_bus`).

    Parameters
    ----------
    listed : ``CUDA_VISIBLE_DEVICES``: numbers, UUIDs or beginnings of them, or MIG instances, which are returned as
        GPUs of which only that name is known; None lists all.
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
    """Return whether CUDA numbers these GPUs as NVML does: by default it puts the fastest model first.

    A GPU that no longer answers has a number in NVML, but perhaps none in CUDA.
    """
    if not all(gpu.uuid for gpu in gpus):
        return False
    return os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in gpus}) <= 1
