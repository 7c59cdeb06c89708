"""A run's share of a GPU's memory, and whether a failure was a lack of memory."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import data_set, run_config

from aimlib.errors import UsageError
from aimlib.training.devices import is_out_of_memory, limit_memory, limited_memory
from aimlib.training.loop import train

GPU, CPU = torch.device("cuda", 1), torch.device("cpu")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record what is asked of CUDA instead of asking it."""
    made: list[Any] = []
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: made.append((share, device))
    )
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: made.append("emptied"))
    return made


def test_a_share_of_a_gpu(calls: list[Any]) -> None:
    limit_memory(GPU, 0.25)
    assert calls == [(0.25, GPU)]


def test_the_cpu_has_no_limit(calls: list[Any]) -> None:
    limit_memory(CPU, 0.25)
    with limited_memory(CPU, 0.5):
        pass
    assert calls == []
    assert train(run_config(), data_set(), memory_share=0.5).status == "finished"
    assert calls == []


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_shares_that_are_none(share: float, calls: list[Any]) -> None:
    for device in (GPU, CPU):
        with pytest.raises(UsageError, match="above 0 and up to 1"):
            limit_memory(device, share)
    with pytest.raises(UsageError, match="memory_share"):
        train(run_config(), data_set(), memory_share=share)
    assert calls == []


def test_a_limit_ends_with_the_run(calls: list[Any]) -> None:
    with limited_memory(GPU, 0.5):
        assert calls == [(0.5, GPU)]
    assert calls == [(0.5, GPU), (1.0, GPU), "emptied"]


def test_a_limit_ends_with_a_run_that_fails(calls: list[Any]) -> None:
    with pytest.raises(torch.OutOfMemoryError), limited_memory(GPU, 0.5):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert calls == [(0.5, GPU), (1.0, GPU), "emptied"]


def test_a_run_without_a_limit_touches_none(calls: list[Any]) -> None:
    with limited_memory(GPU, None):
        pass
    assert calls == ["emptied"]


LACKING: dict[str, BaseException] = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "caching allocator of old": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; ...)"),
    "driver": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn 8": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn 9": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cusolver": RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you"),
    "python": MemoryError(),
    "system": OSError(errno.ENOMEM, "Cannot allocate memory"),
}
OTHERS: dict[str, BaseException] = {
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "words of a user": ValueError("CUDA out of memory is what this message is about"),
    "stop": KeyboardInterrupt(),
}


def raised(error: BaseException, *, by: BaseException, hidden: bool = False) -> BaseException:
    """Return `error` as it is when it is raised while `by` is handled; hidden: ``from None``."""
    error.__context__, error.__suppress_context__ = by, hidden
    return error


@pytest.mark.parametrize("kind", LACKING)
def test_a_lack_of_memory(kind: str) -> None:
    error = LACKING[kind]
    assert is_out_of_memory(error)
    outer = RuntimeError("the run failed")
    outer.__cause__ = error
    assert is_out_of_memory(outer)
    assert is_out_of_memory(raised(ValueError("clearing up failed"), by=error))
    assert is_out_of_memory(raised(ValueError("clearing up failed"), by=error, hidden=True))
    assert is_out_of_memory(BaseExceptionGroup("both", [ValueError(), error]))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_failures(kind: str) -> None:
    assert not is_out_of_memory(OTHERS[kind])
    assert not is_out_of_memory(raised(ValueError(), by=OTHERS[kind]))


def test_a_chain_that_bites_its_tail() -> None:
    first, second = ValueError(), RuntimeError()
    first.__cause__, second.__context__ = second, first
    assert not is_out_of_memory(first)


def test_real_lacks_of_memory() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(of_torch.value)
    with pytest.raises(MemoryError) as of_numpy:
        np.ones(2**60, dtype=np.uint8)
    assert is_out_of_memory(of_numpy.value)
