"""What `ablate doctor` finds out about processors and GPUs: what torch can use, and what Ray gives to runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from ablations.commands.doctor.finding import Finding

_GIB = 2**30
_ONE_COUNT = "GPUs counted by Ray"


def devices() -> Iterable[Finding]:
    """Examine the processors, the driver, and every GPU that torch can use."""
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
        message = f"{driver.version} serves CUDA {serves}; this torch is built for {torch.version.cuda or 'none'}"
        yield Finding("GPU driver", "ok", message)
    if missing is not None:
        message = f"NVML lists {missing.listed}, torch can use {missing.usable}: {missing.reason}"
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
        return Finding(subject, "problem", str(error).splitlines()[0], "see what nvidia-smi and dmesg say of it")
    said = f"{name}, compute capability {capability[0]}.{capability[1]}"
    if not has_kernels(capability):
        return Finding(subject, "problem", f"{said}: this torch has no kernels for it", "leave it out, or take another")
    return Finding(subject, "ok", f"{said}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free")


def counted_by_ray(counted: float) -> Iterable[Finding]:
    """Compare the number of GPUs that a Ray on this machine gives to runs with those that torch can use.

    Parameters
    ----------
    counted : by Ray, which asks NVML.
    """
    from aimlib.training.devices import shortfall, usable_gpus

    usable = usable_gpus()
    if counted > usable:
        missing = shortfall()
        remedy = missing.remedy if missing else "see what nvidia-smi says, or tell Ray: ray start --num-gpus=N"
        message = f"{counted:g}, and torch can use {usable}: runs on the others would fail at once"
        yield Finding(_ONE_COUNT, "problem", message, remedy)
    elif counted < usable:
        message = f"{counted:g} of the {usable} that torch can use; the others stay idle"
        remedy = f"tell Ray: ray start --head --num-gpus={usable}; without NVML it finds none by itself"
        yield Finding(_ONE_COUNT, "note", message, remedy)
    elif counted:
        yield Finding(_ONE_COUNT, "ok", f"{counted:g}, which torch can use")
