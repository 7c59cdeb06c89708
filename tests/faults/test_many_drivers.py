"""Dozens of drivers compute one study at the same time: every run exists once, with the results of a single driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import Farm
from kinds import record
from tiny_study import changed, failures, litter, numbers, planned, rows, write


@pytest.fixture
def farm() -> Iterator[Farm]:
    """Return a process that starts drivers without the cost of imports."""
    farm = Farm()
    yield farm
    farm.end()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sixty_four_drivers_compute_one_study(farm: Farm, tmp_path: Path) -> None:
    path = write(tmp_path, changed({"seeds": 32, "base.training.epochs": 1, "base.data.size": 8}))
    assert farm.wait(farm.run(path, tmp_path / "alone")) == 0
    expected = numbers(tmp_path / "alone")
    began = time.monotonic()
    drivers = [farm.run(path, tmp_path / "out") for _ in range(64)]
    codes = [farm.wait(driver) for driver in drivers]
    print(f"64 drivers, {len(expected)} runs: {time.monotonic() - began:.0f} s")
    assert codes == [0] * 64
    found = numbers(tmp_path / "out")
    assert found == expected
    assert set(planned(tmp_path / "out")) == set(expected)
    assert failures(tmp_path / "out") == []
    assert litter(tmp_path / "out") == []
    doubled = len(rows(tmp_path / "out")) - len(found)
    record("64 drivers", injected=63, runs=len(found), lost=0, doubled=doubled, wrong=0)
