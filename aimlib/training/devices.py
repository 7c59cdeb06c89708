"""The device to train on, its properties, and the number of GPUs in this machine that torch can use."""

from __future__ import annotations

import contextlib
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from aimlib.training import nvml


def pick_device(name: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """Return the device to train on; ``auto`` selects CUDA's current device if CUDA is available.

    This does not initialize CUDA; until CUDA is initialized, the current device is the first one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return indexed(torch.device(name))


def indexed(device: torch.device) -> torch.device:
    """Return the device with its index; a GPU without an index gets the index of the current device."""
    index: int | None = device.index  # torch's annotation omits None
    if device.type != "cuda" or index is not None:
        return device
    current = 0
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with contextlib.suppress(RuntimeError):  # the context is lost, so there is no better answer
            current = torch.cuda.current_device()
    return torch.device("cuda", current)


def device_name(device: torch.device) -> str:
    """Return the model of the device; "unknown" if the device is on a different machine or no longer responds."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError, AssertionError):
            return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "unknown"
        return "unknown"
    return _cpu_model()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 -- not a user's file
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")
    except OSError:
        return "cpu"


def device_uuid(device: torch.device) -> str:
    """Return a GPU's UUID in NVML's format, ``GPU-...`` or ``MIG-...``; empty for a CPU, or if the UUID is unknown.

    This neither needs nor creates a CUDA context. Call it before a run starts: once NVML has also lost the GPU, only
    processes that used the GPU earlier still know the UUID.
    """
    if device.type != "cuda":
        return ""
    listed, index = os.environ.get("CUDA_VISIBLE_DEVICES"), device.index or 0
    driver, known = nvml.driver(), _uuid_of_torch(index)
    gpus = driver.gpus if driver is not None else ()
    seen = nvml.visible(gpus, listed)
    if known:
        if any(gpu.uuid == f"MIG-{known}" for gpu in seen):
            return f"MIG-{known}"
        return f"GPU-{known}" if not gpus or any(gpu.uuid == f"GPU-{known}" for gpu in gpus) else f"MIG-{known}"
    by_name = listed is not None and not listed.lstrip()[:1].isdecimal()
    if index < len(seen) and (by_name or nvml.numbered_by_bus(gpus)):
        return seen[index].uuid
    return ""


def _uuid_of_torch(index: int) -> str:
    """Return torch's own UUID for a device once CUDA is initialized; empty before that, and in older versions."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with contextlib.suppress(RuntimeError, AssertionError):
            return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))
    return ""


def usable_gpus() -> int:
    """Return how many GPUs torch can use in this process.

    Torch's own count, like Ray's, may come from NVML, which may list more GPUs.

    CUDA reads ``CUDA_VISIBLE_DEVICES`` on the first call, and never again in this process.
    """
    counted = _counted_by_cuda()
    driver = nvml.driver() if counted else None
    if driver is None:
        return counted
    seen = nvml.visible(driver.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))[:counted]
    return counted - sum(not has_kernels(gpu.capability) for gpu in seen)


@dataclass(frozen=True)
class Shortfall:
    """A shortfall of GPUs: torch can use fewer GPUs than NVML lists for this process and Ray assigns to runs.

    Attributes
    ----------
    remedy : what to do.
    """

    listed: int
    usable: int
    reason: str
    remedy: str


def shortfall() -> Shortfall | None:
    """Return why torch cannot use all GPUs here; None if it can, or if NVML does not report how many there are."""
    driver = nvml.driver()
    seen = nvml.visible(driver.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")) if driver is not None else ()
    usable = usable_gpus()
    if driver is None or usable >= len(seen):
        return None
    return Shortfall(len(seen), usable, *_reason(driver, seen))


def why_unusable() -> str:
    """Return the reason for the shortfall; empty if there is none."""
    found = shortfall()
    return "" if found is None else found.reason


def _reason(driver: nvml.Driver, seen: tuple[nvml.Gpu, ...]) -> tuple[str, str]:
    """Return the reason for a shortfall, and a remedy."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA", "install a build with CUDA"
    shown = _counted_by_cuda()
    if shown == 0 and driver.cuda[0] < int(torch.version.cuda.split(".")[0]):
        return (
            f"driver {driver.version} supports CUDA {driver.cuda[0]}.{driver.cuda[1]}, but this torch is built for "
            f"CUDA {torch.version.cuda}",
            f"install a newer driver, or a torch build for CUDA {driver.cuda[0]}",
        )
    old = [gpu for gpu in seen if not has_kernels(gpu.capability)]
    if old:
        names = ", ".join(f"{gpu.name} (compute capability {_written(gpu.capability)})" for gpu in old)
        return (
            f"this torch has kernels for {_kernels()}, but none for {names}",
            "install a torch build that has them, or exclude these GPUs with CUDA_VISIBLE_DEVICES",
        )
    answer = _refusal() if shown == 0 else f"CUDA shows {shown} of them"
    return answer, "check the others with nvidia-smi and dmesg"


def _counted_by_cuda() -> int:
    if not hasattr(torch._C, "_cuda_getDeviceCount"):
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without a GPU is not a reason to warn
        return int(torch._C._cuda_getDeviceCount())


def _refusal() -> str:
    """Return CUDA's error message if CUDA shows no device at all."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return f"CUDA answers: {str(error).splitlines()[0]}"
    return "CUDA shows none"


def has_kernels(capability: tuple[int, int] | None) -> bool:
    """Return whether this torch runs on GPUs with a given compute capability; True if the capability is unknown.

    Compiled kernels (``sm_80``) run on later GPUs with the same major version; kernels for one architecture
    (``sm_90a``) run only on that architecture. PTX (``compute_80``) can be compiled for all later GPUs.
    """
    return capability is None or any(_runs_on(kernel, capability) for kernel in _kernels().split())


def _kernels() -> str:
    flags: str | None = torch._C._cuda_getArchFlags() if hasattr(torch._C, "_cuda_getArchFlags") else None
    return flags or ""


def _runs_on(kernel: str, capability: tuple[int, int]) -> bool:
    kind, _, number = kernel.partition("_")
    digits = number.rstrip("af")
    if not digits.isdecimal():
        return False
    built = int(digits[:-1]), int(digits[-1])
    if number.endswith("a"):
        return built == capability
    return built <= capability if kind == "compute" else built[0] == capability[0] and built[1] <= capability[1]


def _written(capability: tuple[int, int] | None) -> str:
    return "unknown" if capability is None else f"{capability[0]}.{capability[1]}"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context manager for a forward pass in `precision`."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
