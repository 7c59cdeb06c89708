"""A disk that is full or slow, or that sometimes fails, does not cause wrong or lost results, or tracebacks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import FAULTS, compiled, compiler, environment, injected
from histories.checker import check
from histories.events import History, parsed
from kinds import KINDS, record
from scene import Scene
from store.sample import identity
from test_real_histories import Processes
from tiny_study import changed, numbers, write

from ablations.sessions.launch import run

RUNS = 30
MORE_IN_A_SESSION = {"disk: link error": 4, "disk: open error": 4}
"""Factor by which the failure rate is increased for calls that are rare in a session."""
SHORT: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 30, "seeds": 3}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that makes calls on files fail; skip the test if there is no compiler."""
    if compiler() is None:
        pytest.skip("no C compiler (cc or gcc), which the fault library needs")
    return compiled(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return a study file and the results of its runs on a working disk."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write(folder, changed(SHORT))
    assert run(path, folder / "out", executor="inline").open == ()
    return path, numbers(folder / "out")


def on_a_faulty_disk(library: Path, folder: Path, kind: str, roles: tuple[str, ...], runs: int, seed: int) -> History:
    """Compute a study on a failing disk, then finish it on a working disk; return the errors that the processes saw."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(seed)
    faulty = environment(library, folder / "study", kind, folder / "faults", seed)
    processes = Processes(str(folder / "study"), folder / "history", runs, chance)
    try:
        for role in roles:
            processes.start(role, **faulty)
        processes.wait(200)
        processes.start("last")
        processes.wait(60)
    finally:
        processes.end()
    return parsed((folder / "history").read_text().splitlines(keepends=True))


def assert_sound(history: History, runs: int) -> None:
    found = check(history, [identity(number) for number in range(runs)])
    assert not found, "\n".join(map(str, found))
    repaired = [each.result for each in history.operations if each.name == "repair" and each.outcome == "ok"]
    assert all(result == [] for result in repaired), f"intact files were set aside: {repaired}"


@pytest.mark.slow  # quick tests of the store and of checkpoints cover single write errors
@pytest.mark.parametrize("kind", ["disk: write error"])
def test_a_failing_disk_does_not_cause_wrong_results(library: Path, tmp_path: Path, kind: str) -> None:
    for seed in range(1, 11):  # which calls fail depends on how the two processes alternate
        folder = tmp_path / str(seed)
        history = on_a_faulty_disk(library, folder, kind, ("worker", "driver"), RUNS // 2, seed)
        assert_sound(history, RUNS // 2)
        assert injected(folder / "faults")
        if any(each.outcome == "unknown" and "Input/output error" in str(each.result) for each in history.operations):
            return
    pytest.fail("no operation failed, so no fault was tested")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", FAULTS)
def test_many_failing_disks_do_not_cause_wrong_results(library: Path, tmp_path: Path, kind: str) -> None:
    roles = ("worker", "worker", "driver", "reader")
    faults = runs = 0
    for seed in range(2):
        folder = tmp_path / str(seed)
        assert_sound(on_a_faulty_disk(library, folder, kind, roles, RUNS, seed), RUNS)
        faults += injected(folder / "faults").total()
        runs += RUNS
    assert faults > 10
    record(kind, "store", injected=faults, runs=runs, lost=0, doubled=0, wrong=0)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_session_on_a_failing_disk_does_not_settle_wrong_results(
    library: Path,
    tmp_path: Path,
    undisturbed: tuple[Path, dict[str, str]],
    mark: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    alone, log = Scene(undisturbed[0], tmp_path / "study", undisturbed[1], None, mark), tmp_path / "faults"
    with monkeypatch.context() as patch:
        times = MORE_IN_A_SESSION.get(kind, 1)
        for name, value in environment(library, alone.directory, kind, log, 1, times).items():
            patch.setenv(name, value)
        driver = alone.start("--executor", "inline")
        driver.wait(900)
    assert "Traceback" not in alone.log.read_text(), alone.log.read_text()[-3000:]
    alone.finish()
    assert injected(log)
    counts = {name: alone.counts[name] for name in ("runs", "lost", "doubled")}
    record(kind, "session", injected=injected(log).total(), **counts, wrong=0)


def test_every_disk_fault_is_in_the_list_of_kinds() -> None:
    assert {kind for kind in KINDS if kind.startswith("disk: ")} == set(FAULTS)
