"""Checks of processors and GPUs by `ablate doctor`: which devices torch can use, and which Ray assigns to runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from ablations.commands.doctor.finding import Finding

_GIB = 2**30
_ONE_COUNT = "GPUs counted by Ray"


def devices() -> Iterable[Finding]:
    """Check the processors, the driver, and every GPU that torch can use."""
    import torch

    cpus = os.cpu_count() or 1
    yield Finding("CPU", "ok", f"{cpus} logical processors, {torch.get_num_threads()} torch threads by default")
    yield from _driver()
    shown = torch._C._cuda_getDeviceCount() if torch.cuda.is_available() else 0
    for number in range(shown):
        yield _gpu(number)


def _driver() -> Iterable[Finding]:
    import torch

    from aimlib.training import nvml
    from aimlib.training.devices import shortfall, usable_gpus

    driver, missing = nvml.driver(), shortfall()
    if driver is not None:
        serves = f"{driver.cuda[0]}.{driver.cuda[1]}"
        message = f"{driver.version} supports CUDA {serves}; this torch is built for {torch.version.cuda or 'none'}"
        yield Finding("GPU driver", "ok", message)
    if missing is not None:
        message = f"NVML lists {missing.listed}, but torch can use {missing.usable}: {missing.reason}"
        yield Finding("GPUs", "problem", message, missing.remedy)
    elif usable_gpus() == 0:
        remedy = "check the driver with nvidia-smi" if torch.version.cuda and shutil.which("nvidia-smi") else ""
        yield Finding("GPU", "note", "none: studies run on the CPU", remedy)


def _gpu(number: int) -> Finding:
    import torch

    from aimlib.training.devices import has_kernels

    subject = f"GPU {number}"
    try:
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        return Finding(subject, "problem", str(error).splitlines()[0], "check nvidia-smi and dmesg")
    described = f"{name}, compute capability {capability[0]}.{capability[1]}"
    if not has_kernels(capability):
        return Finding(subject, "problem", f"{described}: this torch build has no kernels for it", "exclude this GPU")
    return Finding(subject, "ok", f"{described}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free")


def counted_by_ray(counted: float) -> Iterable[Finding]:
    """Compare the number of GPUs that Ray counts on this machine with the number that torch can use.

    Parameters
    ----------
    counted : number of GPUs that Ray counts, using NVML.
    """
    from aimlib.training.devices import shortfall, usable_gpus

    usable = usable_gpus()
    if counted > usable:
        missing = shortfall()
        remedy = missing.remedy if missing else "check nvidia-smi, or set the number: ray start --num-gpus=N"
        message = f"{counted:g}, but torch can use {usable}: runs on the others would fail immediately"
        yield Finding(_ONE_COUNT, "problem", message, remedy)
    elif counted < usable:
        message = f"{counted:g} of the {usable} that torch can use; the others stay idle"
        remedy = f"set the number: ray start --head --num-gpus={usable}; without NVML, Ray does not detect any GPUs"
        yield Finding(_ONE_COUNT, "note", message, remedy)
    elif counted:
        yield Finding(_ONE_COUNT, "ok", f"{counted:g}, all usable by torch")
