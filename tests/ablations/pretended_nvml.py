"""Simulated NVML C functions, used by pynvml's own Python code."""

from __future__ import annotations

import ctypes
from typing import Any

import pynvml
import pytest

UUIDS = tuple(f"GPU-{digit * 8}-2222-3333-4444-555555555555" for digit in "abc")


class PretendedNvml:
    """A driver with GPUs.

    Attributes
    ----------
    uuids, names, capabilities : properties of the GPUs.
    lost : indices of GPUs that no longer answer.
    cuda : the newest CUDA version that the driver supports, as NVML reports it: 13.0 is 13000.
    opened : number of times that the library has been opened and not yet closed.
    """

    def __init__(self, patch: pytest.MonkeyPatch, uuids: tuple[str, ...] = UUIDS) -> None:
        self.uuids, self.names = uuids, ["NVIDIA H100"] * len(uuids)
        self.capabilities = [(9, 0)] * len(uuids)
        self.lost: set[int] = set()
        self.cuda, self.version, self.opened = 13000, "580.65.06", 0
        patch.setattr(pynvml, "nvmlLib", self)
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def nvmlInitWithFlags(self, _flags: int) -> int:
        self.opened += 1
        return 0

    def nvmlShutdown(self) -> int:
        self.opened -= 1
        return 0

    def nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int:
        version._obj.value = self.cuda
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, _length: Any) -> int:
        text.value = self.version.encode()
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.uuids)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        number = int(index.value)
        if number in self.lost:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        ctypes.c_void_p.from_address(ctypes.addressof(handle._obj)).value = number + 1
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, _length: Any) -> int:
        text.value = self.uuids[_number(handle)].encode()
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, _length: Any) -> int:
        text.value = self.names[_number(handle)].encode()
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = self.capabilities[_number(handle)]
        return 0


def _number(handle: Any) -> int:
    return int(ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1
