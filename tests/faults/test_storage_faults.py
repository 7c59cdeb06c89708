"""Storage that is full or slow, and clocks that are wrong: waited out, and every number as ever."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scene import HERE, Scene, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 12 MB; skipped where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_waited_out(calm: tuple[Path, dict[str, str]], small_disk: Path, tmp_path: Path) -> None:
    path, expected = calm
    scene = Scene(path, small_disk / "study", expected, None, log=tmp_path / "log")
    driver = scene.start()
    assert scene.wait(scene.computing, driver)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for _ in range(12 * 1024):  # to the last byte
            try:
                file.write(b"0" * 1024)
            except OSError:
                break
    assert scene.wait(lambda: "no run is begun until there is room" in scene.log.read_text(), driver)
    time.sleep(20.0)  # whatever is running meets the full disk
    assert driver.poll() is None, scene.log.read_text()[-3000:]
    filler.unlink()
    assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
    assert "are free again: going on" in scene.log.read_text()
    scene.check()
    report("storage full for 20 s", injected=1, **scene.counts)


@pytest.mark.parametrize(
    ("fault", "environment"),
    [
        ("storage slow: 0.3 s more for every synchronisation and link", {"FAULT_SLOW": "0.3"}),
        ("clock jumps two days ahead", {"FAULT_CLOCK": "172800", "FAULT_AFTER": "12"}),
        ("clock jumps a day back", {"FAULT_CLOCK": "-86400", "FAULT_AFTER": "12"}),
    ],
)
def test_slow_storage_and_wrong_clocks(
    alone: Scene, monkeypatch: pytest.MonkeyPatch, fault: str, environment: dict[str, str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE / "site"), prepend=":")
        for name, value in environment.items():
            patch.setenv(name, value)
        wrong = alone.start()
        alone.wait(alone.computing, wrong)
    right = alone.start("--executor", "inline")  # another driver, whose clock and storage are sound
    ends: list[Any] = [wrong.wait(900), right.wait(900)]
    assert ends == [0, 0], alone.log.read_text()[-3000:]
    alone.check()
    report(fault, injected=1, **alone.counts)
