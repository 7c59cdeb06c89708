"""Memory that is freed while a run trains on the CPU is reused, and returned to the system at the end."""

from __future__ import annotations

import contextlib
import platform
import resource
from pathlib import Path

import pytest
import torch

from aimlib.training.heap import kept_heap

CPU = torch.device("cpu")
MIB = 2**20
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a different C library")


def faults(mib: int) -> int:
    """Return the number of page faults while a new tensor of `mib` MiB is filled."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(mib * MIB, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> float:
    """Return the resident memory of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


@on_glibc
def test_large_allocations_cause_page_faults_only_once() -> None:
    pages = 16 * MIB // resource.getpagesize()
    with kept_heap(CPU):
        assert min(faults(16) for _ in range(20)) < pages / 10


@on_glibc
def test_kept_memory_is_returned_to_the_system() -> None:
    most = 0.0
    with contextlib.suppress(KeyboardInterrupt), kept_heap(CPU):
        parts = [torch.ones(MIB) for _ in range(50)]
        most = resident()
        del parts
        interrupt()
    assert resident() < most - 150


def interrupt() -> None:
    raise KeyboardInterrupt


def test_nothing_happens_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("no library is called"))
    with kept_heap(torch.device("cuda")):
        pass
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    with kept_heap(CPU):
        pass
