"""If storage is full or slow, or clocks are wrong, sessions wait, and results do not change."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kinds import record
from scene import HERE, Scene

SmallDisk = Callable[[str], Path]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1500)]


def test_a_session_waits_for_space_on_a_full_disk(
    calm: tuple[Path, dict[str, str]], small_disk: SmallDisk, tmp_path: Path, mark: str
) -> None:
    path, expected = calm
    disk = small_disk("12m")
    scene = Scene(path, disk / "study", expected, None, mark, log=tmp_path / "log")
    driver = scene.start()
    assert scene.wait(scene.computing, driver)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for _ in range(12 * 1024):  # until the storage is completely full
            try:
                file.write(b"0" * 1024)
            except OSError:
                break
    assert scene.wait(lambda: "no runs start until there is more" in scene.log.read_text(), driver)
    time.sleep(20.0)  # by then, all active runs have tried to write
    assert driver.poll() is None, scene.log.read_text()[-3000:]
    filler.unlink()
    assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
    assert "are free again: continuing" in scene.log.read_text()
    scene.check()
    record("storage full", injected=1, **scene.counts)


@pytest.mark.parametrize(
    ("kind", "variant", "environment"),
    [
        ("storage slow", "", {"FAULT_SLOW": "0.3"}),
        ("clock wrong", "two days ahead", {"FAULT_CLOCK": "172800", "FAULT_AFTER": "12"}),
        ("clock wrong", "a day back", {"FAULT_CLOCK": "-86400", "FAULT_AFTER": "12"}),
    ],
)
def test_slow_storage_and_wrong_clocks_do_not_change_results(
    alone: Scene, monkeypatch: pytest.MonkeyPatch, kind: str, variant: str, environment: dict[str, str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE / "site"), prepend=":")
        for name, value in environment.items():
            patch.setenv(name, value)
        wrong = alone.start()
        alone.wait(alone.computing, wrong)
    right = alone.start("--executor", "inline")  # another driver, whose clock and storage work correctly
    ends: list[Any] = [wrong.wait(900), right.wait(900)]
    assert ends == [0, 0], alone.log.read_text()[-3000:]
    alone.check()
    record(kind, variant, injected=1, **alone.counts)
