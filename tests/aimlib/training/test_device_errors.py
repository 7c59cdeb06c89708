"""Errors are classified correctly: device errors, errors in the user's code, and errors that only look like a lack of
memory."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_cuda import GIB, PretendedCuda, accelerator_error

from aimlib.training.device_errors import DeviceFailure, attach, diagnose, failure_of, refusals

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> PretendedCuda:
    """Simulate two GPUs in use, with a lot of free memory."""
    pretended = PretendedCuda()
    pretended.install(monkeypatch)
    torch.cuda._lazy_init()
    return pretended


def kind(error: BaseException, device: torch.device = GPU, share: float | None = None) -> str | None:
    found = diagnose(error, device, share)
    return None if found is None else found.kind


LACKING: dict[str, BaseException] = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "caching allocator of old": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; ...)"),
    "driver": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "driver, with its code": accelerator_error(2, "out of memory"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cudnn 8": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn 9": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cusolver": RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
    "cufft": RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "triton": RuntimeError("Triton Error [CUDA]: out of memory"),
}
PERHAPS = {
    "engine": "GET was unable to find an engine to execute this computation",
    "engine of a search": "FIND was unable to find an engine to execute this computation",
    "algorithm": "Unable to find a valid cuDNN algorithm to run convolution",
    "cudnn handle": "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cudnn": "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cudnn choice": "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous",
    "cublas handle": "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cublas workspace": "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasLtMatmul(...)`",
    "cusolver handle": "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`",
    "cufft": "cuFFT error: CUFFT_INTERNAL_ERROR",
}
OTHERS: dict[str, BaseException] = {
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "capture": accelerator_error(901, "operation failed due to a previous error during capture"),
    "launch": accelerator_error(701, "too many resources requested for launch"),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "words of a user": ValueError("CUDA out of memory is what this message is about"),
    "a user's initialization": RuntimeError("initialization error of the weights"),
    "the host's memory": MemoryError(),
    "the host's memory, by torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory"),
    "the host's memory, by cudnn": RuntimeError("cuDNN: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    "assertion": AssertionError("x"),
    "stop": KeyboardInterrupt(),
}


def raised(error: BaseException, *, by: BaseException, hidden: bool = False) -> BaseException:
    """Return `error` as if it was raised while `by` was being handled; with `hidden`, as if raised ``from None``."""
    error.__context__, error.__suppress_context__ = by, hidden
    return error


# Lack of memory


@pytest.mark.parametrize("name", LACKING)
def test_errors_that_mean_a_lack_of_memory_are_recognized(name: str, cuda: PretendedCuda) -> None:
    error = LACKING[name]
    outer = RuntimeError("the run failed")
    outer.__cause__ = error
    for each in (
        error,
        outer,
        raised(ValueError("clearing up failed"), by=error),
        raised(ValueError("clearing up failed"), by=error, hidden=True),
        raised(accelerator_error(901, "operation failed due to a previous error during capture"), by=error),
        BaseExceptionGroup("both", [ValueError(), error]),
    ):
        assert diagnose(each, GPU) == DeviceFailure("out_of_memory")
    assert kind(error, CPU) is None


@pytest.mark.parametrize("name", OTHERS)
def test_errors_that_do_not_mean_a_lack_of_memory_are_not_mistaken_for_one(name: str, cuda: PretendedCuda) -> None:
    cuda.free = 0
    assert kind(OTHERS[name]) is None
    assert kind(raised(ValueError(), by=OTHERS[name])) is None


@pytest.mark.parametrize("name", PERHAPS)
def test_ambiguous_errors_mean_a_lack_of_memory_if_little_memory_is_left(name: str, cuda: PretendedCuda) -> None:
    error = RuntimeError(PERHAPS[name])
    assert kind(error) is None, "much memory is free, so there is a different cause"
    cuda.free = GIB
    assert kind(error) == "out_of_memory"


@pytest.mark.parametrize(
    ("free", "total", "reserved", "share", "lacks"),
    [
        (4.1, 80, 70, None, False),
        (3.9, 80, 70, None, True),  # less than a twentieth of the device
        (1.1, 8, 5, None, False),
        (0.9, 8, 5, None, True),  # less than 1 GiB
        (60, 80, 15.9, 0.25, False),
        (60, 80, 16.1, 0.25, True),  # a twentieth of the share's 20 GiB, not of the device
        (60, 80, 16.1, 0.5, False),
        (60, 80, 16.1, 1.0, False),
    ],
)
def test_the_threshold_for_little_memory_is_as_documented(
    free: float, total: float, reserved: float, share: float | None, lacks: bool, cuda: PretendedCuda
) -> None:
    cuda.free, cuda.total, cuda.reserved = int(free * GIB), int(total * GIB), int(reserved * GIB)
    found = diagnose(RuntimeError(PERHAPS["engine"]), GPU, share)
    assert (found is not None) == lacks


def test_an_allocator_that_has_refused_memory_is_recognized(cuda: PretendedCuda) -> None:
    """Torch tries one engine after another; its error does not mention engines for which memory was refused."""
    error = RuntimeError(PERHAPS["engine"])
    cuda.refusals = 3
    before = refusals(GPU)
    assert (before, refusals(CPU)) == (3, 0)
    assert diagnose(error, GPU, 0.25, before) is None
    cuda.refusals = 4
    assert diagnose(error, GPU, 0.25, before) == DeviceFailure("out_of_memory")


@pytest.mark.parametrize(
    ("free", "reserved", "share", "held"),
    [
        (1, 78, None, False),  # the process has used its entire share; the rest is its context
        (1, 40, None, True),
        (1, 76, None, False),  # contexts can use up to 3 GiB
        (1, 10, 0.25, True),  # the process had only half of its 20 GiB
        (1, 19.5, 0.25, False),  # the process had its entire share
        (40, 19.5, 0.25, False),
    ],
)
def test_memory_held_by_other_processes_is_recognized(
    free: float, reserved: float, share: float | None, held: bool, cuda: PretendedCuda
) -> None:
    cuda.free, cuda.reserved = int(free * GIB), int(reserved * GIB)
    found = diagnose(torch.OutOfMemoryError("CUDA out of memory"), GPU, share)
    assert found == DeviceFailure("out_of_memory", held_by_others=held)
    assert found.blame == ("device" if held else "user")
    assert not found.context_lost


def test_too_little_memory_for_a_context_is_recognized(cuda: PretendedCuda) -> None:
    cuda.error, cuda.reserved = accelerator_error(2, "out of memory"), 0
    assert diagnose(cuda.error, GPU) == DeviceFailure("out_of_memory", held_by_others=True)


# The device


def cuda_errors() -> Iterator[tuple[int, str]]:
    """Yield the code and text of all errors in the CUDA version that torch has loaded."""
    with Path("/proc/self/maps").open(encoding="utf-8") as maps:
        files = {line.split()[-1] for line in maps if "libcudart" in line}
    for file in files:
        library = ctypes.CDLL(file)
        library.cudaGetErrorString.restype = library.cudaGetErrorName.restype = ctypes.c_char_p
        for code in range(1, 1000):
            if not library.cudaGetErrorName(code).startswith(b"unrecognized"):
                yield code, library.cudaGetErrorString(code).decode()


def test_codes_and_texts_agree_for_all_cuda_errors(cuda: PretendedCuda) -> None:
    """Torch before 2.8, Triton and the driver provide only the text."""
    errors = dict(cuda_errors())
    if not errors or not hasattr(torch, "AcceleratorError"):
        pytest.skip("this torch has no CUDA, or its errors have no codes")
    for code, text in errors.items():
        by_code = kind(accelerator_error(code, "x"))
        assert kind(accelerator_error(code, text)) == by_code, text
        assert kind(RuntimeError(f"CUDA error: {text}")) == by_code, text
        assert kind(RuntimeError(f"Triton Error [CUDA]: {text}")) == by_code or code == 999, text
    known = {code for code in errors if kind(accelerator_error(code, "x")) == "device_error"}
    assert known >= {46, 100, 214, 220, 700, 702, 714, 716, 719, 802, 805, 810, 999}
    assert not known & {1, 2, 101, 701, 710, 720, 801, 900, 901}


DEVICE: dict[str, BaseException] = {
    "no gpu": RuntimeError("No CUDA GPUs are available"),
    "no driver": RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    "old driver": RuntimeError("The NVIDIA driver on your system is too old (found version 12040)"),
    "unknown": RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"),
    "start": RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    "count": RuntimeError("Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before"),
    "late start": torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization with error: GPU is lost"),
    "driver api": RuntimeError("CUDA driver error: unspecified launch failure"),
    "without cuda": AssertionError("Torch not compiled with CUDA enabled"),
    "lost": RuntimeError("NVML: CUDA device: GPU is lost"),
}


@pytest.mark.parametrize("name", DEVICE)
def test_device_errors_without_a_code_are_recognized(name: str, cuda: PretendedCuda) -> None:
    found = diagnose(raised(ValueError(), by=DEVICE[name]), GPU)
    assert found == DeviceFailure("device_error")
    assert (found.blame, found.context_lost) == ("device", True)
    assert kind(DEVICE[name], CPU) is None


def test_an_assertion_in_a_kernel_is_an_error_in_the_users_code(cuda: PretendedCuda) -> None:
    error = accelerator_error(710, "device-side assert triggered")
    later = raised(accelerator_error(700, "an illegal memory access was encountered"), by=error)
    for each in (error, RuntimeError("CUDA error: device-side assert triggered"), later):
        found = diagnose(each, GPU)
        assert found == DeviceFailure("device_assert")
        assert (found.blame, found.context_lost) == ("user", True)


def test_a_lost_context_takes_precedence_over_a_lack_of_memory(cuda: PretendedCuda) -> None:
    lacking = torch.OutOfMemoryError("CUDA out of memory")
    assert kind(raised(accelerator_error(214, "uncorrectable ECC error encountered"), by=lacking)) == "device_error"


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (700, "an illegal memory access was encountered", "device_error"),
        (710, "device-side assert triggered", "device_assert"),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError(PERHAPS["cudnn"]), OTHERS["cudnn"], KeyError("x")], ids=str)
def test_kernel_errors_that_appear_late_are_recognized(
    error: BaseException, code: int, text: str, expected: str, cuda: PretendedCuda
) -> None:
    """The context is lost regardless of the error that Python raised. Querying the device does not raise an error."""
    cuda.error = accelerator_error(code, text)
    assert kind(error) == expected
    assert error.__context__ is None


def test_no_device_is_queried_before_cuda_is_initialized(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_initialized", False)
    assert kind(KeyError("x")) is None
    assert kind(RuntimeError(PERHAPS["engine"])) is None
    assert kind(torch.OutOfMemoryError("x")) == "out_of_memory"
    assert cuda.calls == []


def test_a_circular_chain_of_errors_does_not_loop_forever(cuda: PretendedCuda) -> None:
    first, second = ValueError(), RuntimeError()
    first.__cause__, second.__context__ = second, first
    assert kind(first) is None
    assert failure_of(first) is None


def test_an_error_is_classified_by_its_message_about_the_device() -> None:
    inner, failure = torch.OutOfMemoryError("x"), DeviceFailure("out_of_memory")
    outer = raised(ValueError(), by=inner)
    assert failure_of(outer) is None
    attach(inner, failure)
    assert failure_of(outer) is failure


def test_a_real_lack_of_host_memory_is_recognized(cuda: PretendedCuda) -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.ones(2**60, dtype=np.uint8)
    assert kind(of_torch.value) is kind(of_numpy.value) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    "ask", [lambda: torch.zeros(1, device=GPU), torch.cuda.synchronize, torch._C._cuda_synchronize]
)
def test_torchs_error_without_a_driver_is_recognized(ask: object) -> None:
    with pytest.raises((RuntimeError, AssertionError)) as caught:
        ask()  # type: ignore[operator]
    assert kind(caught.value) == "device_error"


def test_an_error_that_is_kept_forever_outlives_the_interpreter() -> None:
    """The error's tensors are not freed even when Python exits."""
    code = (
        "from aimlib.training.device_errors import keep_for_ever\n"
        "class Tensor:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def __del__(self): print('freed', self.name)\n"
        "def fail(name):\n"
        "    tensor = Tensor(name)\n"
        "    raise ValueError(name)\n"
        "for name in ('one', 'two'):\n"
        "    try: fail(name)\n"
        "    except ValueError as error:\n"
        "        if name == 'two': keep_for_ever(error)\n"
        "print('end')\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:-1] == ["freed one", "end"]
