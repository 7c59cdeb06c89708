"""Drivers are killed with -9 at random times: no run is lost or stored twice, and every number is the same."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from drivers import Farm, until
from tiny_study import changed, failures, litter, numbers, planned, write

SMALL: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 4, "seeds": 2}


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], float]:
    """Return a study file, the results of its runs without interruption, and the seconds that these runs take."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write(folder, changed(SMALL))
    began = time.monotonic()
    assert farm.wait(farm.run(path, folder / "out")) == 0
    return path, numbers(folder / "out"), time.monotonic() - began


def assert_whole(directory: Path, expected: dict[str, str]) -> None:
    assert numbers(directory) == expected
    assert set(planned(directory)) == set(expected)
    assert failures(directory) == []
    assert litter(directory) == []


@pytest.mark.parametrize(
    ("most", "seed"),
    [(2, 7), pytest.param(12, 8, marks=pytest.mark.slow)],  # one driver and two drivers take turns
)
def test_killed_drivers_neither_lose_nor_duplicate_runs(
    farm: Farm, undisturbed: tuple[Path, dict[str, str], float], tmp_path: Path, most: int, seed: int
) -> None:
    path, expected, seconds = undisturbed
    chance = random.Random(seed)
    kills = rounds = 0
    directories = [tmp_path / "out-0"]
    while kills < most:
        directory = directories[-1]
        drivers = [farm.run(path, directory) for _ in range(1 + rounds % 2)]
        time.sleep(chance.uniform(0.1, 0.8 * seconds))
        rounds += 1
        victims = drivers if len(drivers) == 1 or chance.random() < 0.5 else [chance.choice(drivers)]
        killed = [farm.kill(driver) for driver in victims]
        kills += sum(killed)
        ends = [farm.wait(driver) for driver in drivers if driver not in victims]
        assert set(ends) <= {0}, "the remaining driver computes the runs that the dead driver had started"
        if ends or not all(killed):
            assert set(numbers(directory)) == set(expected)
            directories.append(tmp_path / f"out-{len(directories)}")
    print(f"seed {seed}: {kills} kills in {rounds} rounds over {len(directories)} studies")
    for directory in directories:
        assert farm.wait(farm.run(path, directory)) == 0
        assert_whole(directory, expected)


@pytest.mark.parametrize(
    "settled_when_killed", [(1,), pytest.param((0, 1), marks=pytest.mark.slow)], ids=["once", "twice"]
)
def test_a_killed_command_continues_when_it_is_run_again(
    farm: Farm,
    undisturbed: tuple[Path, dict[str, str], float],
    tmp_path: Path,
    command: Any,
    settled_when_killed: tuple[int, ...],
) -> None:
    path, expected, _ = undisturbed
    directory = tmp_path / "out"
    checkpoints, finished = directory / "checkpoints", directory / "runs"
    for settled in settled_when_killed:
        process = command("run", path, "--out", directory, "--executor", "inline")
        until(lambda: list(checkpoints.glob("*/checkpoint.pt")) and len(list(finished.glob("*.parquet"))) >= settled)  # noqa: B023
        process.kill()
        assert process.wait() == -9
        assert settled <= len(numbers(directory)) < len(expected)
    assert farm.wait(farm.run(path, directory)) == 0
    assert_whole(directory, expected)
