"""A run's device, its name, and the number of GPUs that torch can use."""

from __future__ import annotations

import sys

import pynvml
import pytest
import torch
from pretended_cuda import UUID, PretendedCuda, accelerator_error
from pretended_nvml import UUIDS, PretendedNvml

from aimlib.training import nvml
from aimlib.training.devices import (
    Shortfall,
    device_name,
    device_uuid,
    has_kernels,
    indexed,
    pick_device,
    shortfall,
    usable_gpus,
    why_unusable,
)

GPU, SECOND, CPU = torch.device("cuda"), torch.device("cuda", 1), torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> PretendedCuda:
    pretended = PretendedCuda()
    pretended.install(monkeypatch)
    return pretended


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> PretendedNvml:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return PretendedNvml(monkeypatch)


# Which device


def test_a_gpu_has_an_index(cuda: PretendedCuda) -> None:
    assert pick_device("cuda") == pick_device("auto") == torch.device("cuda", 0)
    assert cuda.calls == [], "CUDA is not initialized"
    torch.cuda._lazy_init()
    cuda.current = 1
    assert pick_device("cuda") == indexed(GPU) == SECOND
    assert indexed(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert indexed(CPU) == pick_device("cpu") == CPU


def test_a_gpu_has_an_index_without_a_driver_or_context(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.cuda._lazy_init()
    cuda.error = accelerator_error(700, "an illegal memory access was encountered")
    assert pick_device("cuda") == torch.device("cuda", 0)
    monkeypatch.undo()
    assert pick_device("cuda") == torch.device("cuda", 0)
    assert pick_device("auto") == (pick_device("cuda") if torch.cuda.is_available() else CPU)


def test_devices_have_names(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(SECOND) == "Pretended H100"

    def lost(_: int) -> None:
        raise accelerator_error(214, "uncorrectable ECC error encountered")

    monkeypatch.setattr(torch.cuda, "_get_device_properties", lost)
    assert device_name(SECOND) == "unknown"
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    assert device_name(SECOND) == "unknown"
    assert device_name(CPU) not in ("", "unknown")


# UUIDs


def test_the_uuid_of_a_gpu_is_known_before_cuda_is_used(driver: PretendedNvml) -> None:
    assert [device_uuid(torch.device("cuda", index)) for index in range(4)] == [*UUIDS, ""]
    assert device_uuid(GPU) == UUIDS[0]
    assert device_uuid(CPU) == ""
    assert driver.opened == 0, "opened and closed the same number of times"


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("2,0", (UUIDS[2], UUIDS[0])),
        (" 1 ", (UUIDS[1],)),
        ("", ()),
        ("-1", ()),
        ("1,-1,0", (UUIDS[1],)),
        ("0,9,1", (UUIDS[0],)),
        ("1,1", ()),
        ("NoDevFiles", ()),
        (f"{UUIDS[1]},{UUIDS[0]}", (UUIDS[1], UUIDS[0])),
        ("GPU-cc", (UUIDS[2],)),
        ("GPU-", ()),
        ("MIG-aaaa,MIG-bbbb", ("MIG-aaaa", "MIG-bbbb")),
    ],
)
def test_the_visible_devices_of_a_process_are_known(
    listed: str, seen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    found = [device_uuid(torch.device("cuda", index)) for index in range(3)]
    assert tuple(uuid for uuid in found if uuid) == seen


def test_numbers_do_not_identify_gpus_of_different_models(
    driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA lists the fastest GPU first, but NVML uses bus order. By number, a working GPU could therefore be excluded
    instead of a broken GPU.
    """
    driver.names[0] = "NVIDIA T4"
    assert device_uuid(GPU) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", UUIDS[2])
    assert device_uuid(GPU) == UUIDS[2]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert device_uuid(GPU) == UUIDS[2]


def test_torch_reports_the_uuid_once_cuda_is_used(
    cuda: PretendedCuda, driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_uuid(GPU) == UUIDS[0]
    torch.cuda._lazy_init()
    driver.uuids = (UUIDS[0], f"GPU-{UUID}")
    assert device_uuid(GPU) == f"GPU-{UUID}"
    cuda.error = accelerator_error(214, "uncorrectable ECC error encountered")
    assert device_uuid(GPU) == f"GPU-{UUID}"
    driver.uuids = UUIDS
    assert device_uuid(GPU) == f"MIG-{UUID}", "no GPU: part of one"
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", missing_library)
    assert device_uuid(GPU) == f"GPU-{UUID}"


def missing_library() -> None:
    pynvml._nvmlCheckReturn(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def test_a_lost_gpu_is_reported(cuda: PretendedCuda, driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU may also have lost its number in CUDA, so all later GPUs have new numbers."""
    driver.lost.add(0)
    assert [device_uuid(torch.device("cuda", index)) for index in range(3)] == ["", "", ""]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", UUIDS[1])
    assert device_uuid(GPU) == UUIDS[1]
    torch.cuda._lazy_init()
    driver.uuids = (UUIDS[0], f"GPU-{UUID}")
    assert device_uuid(GPU) == f"GPU-{UUID}"


def test_devices_are_named_without_nvml(driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", None)
        assert nvml.driver() is None
        assert device_uuid(GPU) == ""
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", missing_library)
    assert nvml.driver() is None
    assert (device_uuid(GPU), shortfall()) == ("", None)


# Number of GPUs that torch can use


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((7, 5), False),  # older than all compiled kernels
        ((8, 0), True),
        ((8, 9), True),  # a later GPU with the same major version
        ((9, 0), True),
        ((10, 0), False),
        ((12, 0), True),  # compiled from the included PTX code for 12.0
        ((12, 1), True),
        ((10, 3), True),  # compiled for exactly this compute capability
        (None, True),
    ],
)
def test_missing_kernels_are_recognized(
    capability: tuple[int, int] | None, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_80 sm_90 sm_103a compute_120")
    assert has_kernels(capability) == runs


def test_all_gpus_are_usable(cuda: PretendedCuda, driver: PretendedNvml) -> None:
    driver.uuids = UUIDS[:2]
    assert (usable_gpus(), shortfall(), why_unusable()) == (2, None, "")


def test_a_gpu_without_kernels_is_reported(cuda: PretendedCuda, driver: PretendedNvml) -> None:
    driver.uuids, driver.capabilities, driver.names = UUIDS[:2], [(9, 0), (7, 0)], ["NVIDIA H100", "Tesla V100"]
    assert usable_gpus() == 1
    found = Shortfall(
        2,
        1,
        "this torch has kernels for sm_80 sm_90, but none for Tesla V100 (compute capability 7.0)",
        "install a torch build that has them, or exclude these GPUs with CUDA_VISIBLE_DEVICES",
    )
    assert shortfall() == found
    assert why_unusable() == found.reason


def test_an_old_driver_is_reported(driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own count comes from NVML, which does not consider the driver's age."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    driver.cuda, driver.version = 12040, "550.54.15"
    assert usable_gpus() == 0
    assert shortfall() == Shortfall(
        3,
        0,
        "driver 550.54.15 supports CUDA 12.4, but this torch is built for CUDA 13.0",
        "install a newer driver, or a torch build for CUDA 12",
    )


def test_a_cuda_that_cannot_start_is_reported(driver: PretendedNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized\nmore")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_90")
    monkeypatch.setattr(torch._C, "_cuda_init", refuse)
    found = shortfall()
    assert found is not None
    assert found.reason == (
        "CUDA answers: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"
    )


def test_a_gpu_that_cuda_does_not_show_is_reported(cuda: PretendedCuda) -> None:
    assert shortfall() == Shortfall(3, 2, "CUDA shows 2 of them", "check the others with nvidia-smi and dmesg")


def test_gpus_that_are_hidden_from_a_process_are_not_reported_as_missing(
    cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert shortfall() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    assert shortfall() is None


def test_a_torch_without_cuda_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.delattr(torch._C, "_cuda_getDeviceCount")
    assert shortfall() == Shortfall(3, 0, "this torch is built without CUDA", "install a build with CUDA")
