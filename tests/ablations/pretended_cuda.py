"""A simulated GPU: torch's Python code runs unchanged, and its C functions are replaced.

Tensors stay on the CPU: within `PretendedCuda.placing`, every torch function that is called with a CUDA device uses the
CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

GIB = 2**30
UUID = "11111111-2222-3333-4444-555555555555"


class PretendedCuda:
    """What torch's C functions would report about two GPUs, and a record of their calls; the context uses 1 of 80 GiB.

    Attributes
    ----------
    calls : name and arguments of every call to the device, in order.
    free, total, reserved : bytes; reserved is the memory that torch's allocator holds in this process.
    refusals : how often the allocator has refused to allocate memory.
    error : the error raised by every function that needs the context; None while the context is intact.
    on_empty : called when the allocator is told to release cached memory.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.free, self.total, self.reserved, self.refusals = 75 * GIB, 80 * GIB, 4 * GIB, 0
        self.error: BaseException | None = None
        self.on_empty: Callable[[], None] = lambda: None
        self.current = 0

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """Return the calls with these names."""
        return [call for call in self.calls if call[0] in names]

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Replace the C functions and `_lazy_init`."""
        for module in (torch.cuda, torch.cuda.memory, torch.cuda.random):
            patch.setattr(module, "_lazy_init", self._lazy_init)
        patch.setattr(torch.cuda, "_initialized", False)
        patch.setattr(torch.cuda, "_cached_device_count", None)
        patch.setattr(torch.cuda, "_queued_calls", [])
        patch.setattr(torch.cuda, "default_generators", (torch.Generator(), torch.Generator()))
        patch.setattr(torch.cuda, "_exchange_device", self._exchange)
        patch.setattr(torch.cuda, "_maybe_exchange_device", self._exchange)
        patch.setattr(torch.cuda, "_get_device_properties", self._properties, raising=False)
        patch.setattr(torch.cuda, "_cudart", SimpleNamespace(cudaMemGetInfo=self._memory_info))
        own: dict[str, Callable[..., Any]] = {
            "_cuda_getDeviceCount": lambda: 2,
            "_cuda_getArchFlags": lambda: "sm_80 sm_90",
            "_cuda_isCurrentStreamCapturing": lambda: False,
            "_accelerator_getDeviceIndex": lambda: self.current,
            "_accelerator_getStream": lambda _: SimpleNamespace(is_capturing=lambda: False),
            "_cuda_getDevice": lambda: self._ask("getDevice", answer=self.current),
            "_cuda_synchronize": lambda: self._ask("synchronize"),
            "_cuda_setMemoryFraction": lambda share, index: self._ask("setMemoryFraction", share, index),
            "_cuda_emptyCache": self._empty,
            "_cuda_clearCublasWorkspaces": lambda: self._ask("clearCublasWorkspaces"),
            "_cuda_resetPeakMemoryStats": self._reset_peaks,
            "_cuda_memoryStats": lambda _: {
                "num_ooms": self.refusals,
                "reserved_bytes": {"all": {"current": self.reserved}},
            },
        }
        for name, function in own.items():
            patch.setattr(torch._C, name, function, raising=False)  # some versions do not have all of them
        imported = "_cuda_isCurrentStreamCapturing"
        patch.setattr(torch.cuda.graphs, imported, own[imported], raising=False)  # torch with CUDA does this itself

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Make torch functions use the CPU if they are called with a CUDA device."""
        with _OnCpu():
            yield

    def _lazy_init(self) -> None:
        torch.cuda._initialized = True

    def _ask(self, name: str, *arguments: Any, answer: Any = None) -> Any:
        self.calls.append((name, *arguments))
        if self.error is not None:
            raise self.error
        return answer

    def _exchange(self, index: int) -> int:
        before, self.current = self.current, index
        self._ask("exchangeDevice", index)
        return before

    def _reset_peaks(self, index: int) -> None:
        if not torch.cuda._initialized:
            raise RuntimeError("Invalid device argument ")  # as torch does
        self._ask("resetPeakMemoryStats", index)

    def _empty(self) -> None:
        self.on_empty()
        self._ask("emptyCache")

    def _memory_info(self, index: int) -> tuple[int, int]:
        self._ask("memGetInfo", index)
        return self.free, self.total

    def _properties(self, index: int) -> Any:
        return SimpleNamespace(name="Pretended H100", uuid=UUID, total_memory=self.total, major=9, minor=0)


class _OnCpu(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.pin_memory:
            return args[0]
        return function(*map(_on_cpu, args), **{name: _on_cpu(value) for name, value in (kwargs or {}).items()})


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        torch.cuda._lazy_init()  # as torch does for every placement
        return torch.device("cpu")
    return value


def accelerator_error(code: int, text: str) -> BaseException:
    """Return the error that torch raises for a value of ``cudaError_t``."""
    kind = getattr(torch, "AcceleratorError", RuntimeError)  # before torch 2.8, only the text is available
    error: BaseException = kind(f"CUDA error: {text}\nCUDA kernel errors might be asynchronously reported ...")
    if kind is not RuntimeError:
        error.error_code = code  # type: ignore[attr-defined]
    return error
