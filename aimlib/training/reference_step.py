"""The reference step: a small training step whose results are bitwise identical on all devices of the same kind.

It consists of convolutions, batch normalization, matrix products, their gradients and an optimizer step, on fixed
values. A device kind is defined by everything that may legitimately change the bits, such as the device model, the
libraries, the instruction set, the number of threads and the precision settings.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from torch import Tensor, nn
from torch.nn import functional

from aimlib.training import nvml
from aimlib.training.devices import autocast, device_name, device_uuid

_FORMAT = 1
"""Version of the step, because a different step produces different bits."""
_ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
)
"""Environment variables that make libraries choose different kernels."""
_OF_PROCESSOR = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags", "Features")
"""Lines in /proc/cpuinfo that libraries read to choose kernels and block sizes."""
_CPUINFO = Path("/proc/cpuinfo")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class _Size(NamedTuple):
    images: int
    side: int
    channels: int
    hidden: int


_SIZES = {"cpu": _Size(8, 16, 16, 64), "cuda": _Size(64, 48, 32, 1024)}
"""Sizes by device type; a GPU needs more work to be fully used."""


class Kind(NamedTuple):
    """A device kind, including settings.

    Attributes
    ----------
    key : hash of the text, 16 hexadecimal digits.
    text : everything that defines the kind, as JSON.
    """

    key: str
    text: str


def kind_of(device: torch.device, *, threads: int, tf32: bool, precision: str) -> Kind:
    """Return the kind of a device. All devices of the same kind compute the same bits in the reference step.

    Parameters
    ----------
    threads : number of torch's CPU threads.
    tf32, precision : as in a run's configuration.
    """
    content: dict[str, Any] = {
        "format": _FORMAT,
        "device": device_name(device),
        "torch": [torch.__version__, torch.version.git_version, _hash(torch.__config__.show())],
        "settings": {"precision": precision, "tf32": tf32},
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        driver = nvml.driver()
        content |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": getattr(properties, "multi_processor_count", None),
            "memory": properties.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "driver": None if driver is None else driver.version,
        }
    else:
        content |= {
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "processor": _processor(),
            "processors": os.cpu_count(),
            "threads": threads,
        }
    text = json.dumps(content, sort_keys=True)
    return Kind(_hash(text), text)


def identity_of(device: torch.device) -> str:
    """Return what identifies a device: a GPU's UUID or, for the CPUs of a machine, the machine's boot id.

    Host names do not identify machines: containers on one machine have different names, and different machines may have
    the same name.
    """
    found = device_uuid(device)
    if found:
        return found
    try:
        machine = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        machine = platform.node()
    return f"{machine} {device}"


def described(device: torch.device) -> str:
    """Return the name of a device, for use in messages."""
    uuid = device_uuid(device)
    if uuid:
        return f"{uuid} on {platform.node()}"
    return f"{'CPU' if device.type == 'cpu' else str(device)} of {platform.node()}"


def digest_of(device: torch.device, precision: str) -> str:
    """Compute the reference step and return a hash of all its bits, 16 hexadecimal digits.

    Call this with the global state set as for a run; see `aimlib.training.reproducibility`. No generator is used.
    """
    size = _SIZES["cuda" if device.type == "cuda" else "cpu"]
    network = _network(size)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05)
    x_BCHW = _values(torch.Size((size.images, 3, size.side, size.side)), 99).to(device)
    x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last).requires_grad_()
    labels_B = (torch.arange(size.images) * 7 % 10).to(device)
    with autocast(device, precision):
        logits = network(x_BCHW)
    loss = functional.cross_entropy(logits.float(), labels_B)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert x_BCHW.grad is not None
    state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
    return _digest([loss, logits, x_BCHW.grad, *network.state_dict().values(), *state])


def _network(size: _Size) -> nn.Module:
    """Return a network with fixed values on the CPU; it is built on the meta device, where no values are drawn."""
    with torch.device("meta"):
        network = _layers(size).to_empty(device="cpu")
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values()):
            if tensor.dim() > 1:
                tensor.copy_(_values(tensor.shape, number) / tensor[0].numel() ** 0.5)
            else:
                tensor.fill_(float(tensor.is_floating_point()))
    return network


def _layers(size: _Size) -> nn.Sequential:
    wide = 2 * size.channels
    pooled = wide * (size.side // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(3, size.channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(size.channels),
        nn.ReLU(),
        nn.Conv2d(size.channels, wide, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(pooled, size.hidden),
        nn.Tanh(),
        nn.Linear(size.hidden, 10),
    )


def _values(shape: torch.Size, number: int) -> Tensor:
    """Return fixed values from -1 to 1, each of which is exactly representable as float32."""
    count = torch.arange(shape.numel(), dtype=torch.int64)
    mixed = (count * 2654435761 + number * 40503).remainder(2**32) >> 12
    return ((mixed - 2**19).to(torch.float32) / 2**19).view(shape)


def _digest(tensors: list[Tensor]) -> str:
    found = xxhash.xxh3_64()
    for tensor in tensors:
        content = tensor.detach().cpu().contiguous()
        found.update(content.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@functools.cache
def _processor() -> dict[str, str]:
    """Return what identifies the processor model; empty if unknown."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines}
    return {
        name: _hash(found[name]) if len(found[name]) > 80 else found[name] for name in _OF_PROCESSOR if name in found
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
