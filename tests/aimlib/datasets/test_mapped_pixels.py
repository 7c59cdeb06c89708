"""Pixel files that do not fit into the RAM are read image by image; this does not change the images."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimlib.datasets import mapped_pixels
from aimlib.datasets.base import Images
from aimlib.datasets.mapped_pixels import announce, mapped, ram_bytes
from aimlib.training.inputs import load_batch, standardization

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs madvise and /proc, which exist on Linux")


def flags(path: Path) -> str:
    """Return the kernel's flags for the memory map of a file."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("VmFlags:"):
            return line
    raise AssertionError(f"{path} is not mapped")


def written(path: Path, images: int = 40, side: int = 30) -> Any:
    values = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    path.write_bytes(values.tobytes())
    return values


def test_only_a_file_that_does_not_fit_is_read_image_by_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = tmp_path / "small.pixels", tmp_path / "large.pixels"
    values = written(small, 40), written(large, 80)
    monkeypatch.setattr(mapped_pixels, "ram_bytes", lambda: 2.0 * small.stat().st_size)
    found = mapped(small, "|u1"), mapped(large, "|u1")
    assert " rr" not in flags(small)
    assert " rr" in flags(large)
    for whole, pixels in zip(values, found, strict=True):
        assert np.array_equal(pixels.reshape(whole.shape), whole)
        assert not pixels.flags.writeable


@given(numbers=st.lists(st.integers(0, 59), max_size=20), side=st.integers(1, 60), left_out=st.integers(0, 20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_every_image_in_a_batch_is_announced_and_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int], side: int, left_out: int
) -> None:
    path = tmp_path / f"{side}.pixels"
    whole = written(path, 60 + left_out, side)[left_out:]
    announced: list[tuple[int, int]] = []
    original = mapped_pixels._ranges
    with monkeypatch.context() as patch:
        patch.setattr(mapped_pixels, "SHARE", 0.0)
        patch.setattr(mapped_pixels, "_ranges", lambda *given: announced.extend(original(*given)) or original(*given))
        pixels = mapped(path, "|u1").reshape(-1, side, side, 3)[left_out:]
        chosen = np.array(numbers, dtype=np.int64)
        announce(pixels, chosen)
        assert np.array_equal(pixels[chosen], whole[chosen])
    size = side * side * 3
    for number in numbers:
        first = (left_out + number) * size
        assert any(start <= first and first + size <= end for start, end in announced)
    assert all(start % mmap.PAGESIZE == 0 and end <= path.stat().st_size for start, end in announced)
    assert announced == sorted(announced)
    assert sum(end - start for start, end in announced) <= len(set(numbers)) * (size + mmap.PAGESIZE)


def test_batches_and_statistics_do_not_depend_on_memory_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path := tmp_path / "train.pixels")
    labels, names = np.arange(40), tuple(map(str, range(40)))
    usual = Images(mapped(path, "|u1").reshape(40, 30, 30, 3), labels, names)
    monkeypatch.setattr(mapped_pixels, "SHARE", 0.0)
    by_image = Images(mapped(path, "|u1").reshape(40, 30, 30, 3), labels, names)
    chosen, device = np.array([7, 3, 39, 0, 7]), torch.device("cpu")
    for one, other in zip(load_batch(usual, chosen, device), load_batch(by_image, chosen, device), strict=True):
        assert torch.equal(one, other)
    one, other = (standardization(images.pixels, np.arange(40)) for images in (usual, by_image))
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.sd, other.sd)


def test_pixels_that_are_not_mapped_are_not_announced() -> None:
    announce(np.zeros((4, 2, 2, 3), dtype=np.uint8), np.array([1, 2]))


@pytest.mark.parametrize(
    ("line", "name"), [("0::/a/b\n", "memory.max"), ("9:cpu:/c\n4:memory:/a/b\n", "memory.limit_in_bytes")]
)
def test_a_control_groups_limit_counts_as_the_ram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str
) -> None:
    top = tmp_path / ("" if name == "memory.max" else "memory")
    (top / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(mapped_pixels, "_CONTROL_GROUPS", tmp_path)
    (tmp_path / "of_this_process").write_text(line)
    monkeypatch.setattr(mapped_pixels, "_GROUPS_OF_THIS_PROCESS", tmp_path / "of_this_process")
    machine = ram_bytes()
    (top / "a" / "b" / name).write_text("max\n")
    assert ram_bytes() == machine > 2**28
    (top / "a" / name).write_text("200000000\n")
    assert ram_bytes() == 2e8
    (top / "a" / "b" / name).write_text("100000000\n")
    assert ram_bytes() == 1e8
