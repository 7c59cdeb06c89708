"""Studies in a notebook: a real kernel shows the progress in place, and continues after an interruption."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers import ONE_THREAD
from kernel import Kernel, Shown
from tiny_runs import restored_registries
from tiny_study import TINY, changed, litter, numbers
from training_code_study import CODE, DOCUMENT, HELPER, training_code_study

import ablations

pytest.importorskip("ipykernel")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Path]]:
    folder = tmp_path_factory.mktemp("notebook")
    env = os.environ | ONE_THREAD | {"AIM_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
    kernel = Kernel(str(folder), env)
    long = changed({"base.training.epochs": 40, "base.data.test_images": 500, "seeds": 1})
    kernel.run(f"import ablations\nTINY = {TINY!r}\nLONG = {long!r}")
    yield kernel, folder
    kernel.end()


def interrupting(kernel: Kernel) -> Callable[[Shown], None]:
    """Return a watcher that interrupts the kernel once, when a run has trained for some epochs."""
    left = [1]

    def watch(shown: Shown) -> None:
        if left[0] and re.search("[12] running", shown.latest) and "epoch" in shown.latest:
            left[0] = 0
            kernel.interrupt()

    return watch


def test_progress_is_shown_in_one_display_that_is_updated_in_place(opened: tuple[Kernel, Path]) -> None:
    kernel, folder = opened
    shown = kernel.run("session = ablations.run(TINY, executor='inline')")
    assert not shown.error
    assert shown.streams == ""
    (pages,) = shown.displays.values()
    assert len(pages) > 4
    assert "4 of 4 runs settled" in pages[-1]
    assert "Ledger head" in pages[-1]
    assert "<script" not in pages[-1]
    assert kernel.run("session").result["text/html"].startswith("<p><b>")
    assert "4 runs: 4 completed, 0 failed, 0 open" in kernel.run("session").result["text/plain"]
    assert len(numbers(folder / "results" / "tiny")) == 4


def test_an_interrupted_kernel_saves_every_run_and_the_same_cell_continues_the_runs(
    opened: tuple[Kernel, Path],
) -> None:
    kernel, folder = opened
    cell = "session = ablations.run(LONG, 'results/long', executor='inline'); session"
    shown = kernel.run(cell, interrupting(kernel))
    assert not shown.error
    assert "interrupted by Ctrl-C" in shown.result["text/plain"]
    assert "Run the same study again to continue" in shown.result["text/html"]
    directory = folder / "results" / "long"
    assert len(list((directory / "checkpoints").iterdir())) == 1
    assert kernel.run("print(len(session.open))").streams == "2\n"
    again = kernel.run(cell)
    assert "2 runs: 2 completed" in again.result["text/plain"]
    assert not litter(directory)
    whole = kernel.run("ablations.run(LONG, 'results/whole', executor='inline')")
    assert not whole.error
    assert numbers(directory) == numbers(folder / "results" / "whole")


def test_a_mistake_is_reported_without_a_traceback(opened: tuple[Kernel, Path]) -> None:
    kernel, _ = opened
    shown = kernel.run("ablations.run({**TINY, 'seed': 3})")
    assert "study 'tiny': seed: unknown key; did you mean 'seeds'?" in shown.error
    assert "Traceback" not in shown.error
    assert "File" not in shown.error


def test_watch_also_shows_the_state_in_place(opened: tuple[Kernel, Path]) -> None:
    kernel, _ = opened
    kernel.run("ablations.run(TINY, executor='inline')")
    shown = kernel.run("shown = ablations.watch('results/tiny')")
    assert not shown.error
    assert shown.streams == ""
    assert "4 of 4 runs settled" in shown.latest


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_an_interrupted_kernel_drains_the_ray_workers(opened: tuple[Kernel, Path]) -> None:
    kernel, folder = opened
    cell = "session = ablations.run(LONG, 'results/on_ray'); session"
    shown = kernel.run(cell, interrupting(kernel))
    assert not shown.error
    assert (shown.streams, len(shown.displays)) == ("", 1)  # no output from Ray
    assert "interrupted by Ctrl-C" in shown.result["text/plain"]
    assert list((folder / "results" / "on_ray" / "checkpoints").iterdir())
    assert "2 runs: 2 completed" in kernel.run(cell).result["text/plain"]


@pytest.mark.slow  # test_session_code.py compares cells and files without a kernel
def test_training_code_from_two_cells_has_the_same_run_ids_as_from_a_file(
    opened: tuple[Kernel, Path], tmp_path: Path
) -> None:
    kernel, folder = opened
    code = CODE.replace("from centroids import centroids, nearest\n", "")
    assert not kernel.run(HELPER).error
    assert not kernel.run(f"{code}\n\nprint('defined')").error
    keys = {key: value for key, value in DOCUMENT.items() if key != "train"}
    shown = kernel.run(f"session = ablations.run(ablations.Study(**{keys!r}, train=train), executor='inline')")
    assert not shown.error
    assert "4 runs: 4 completed" in kernel.run("session").result["text/plain"]
    path = training_code_study(tmp_path, code=HELPER + code)
    with restored_registries():
        expected = {run.run_id for run in ablations.check(path, timing=False, trust=True).plan.runs}
    assert set(numbers(folder / "results" / "own_loop")) == expected
    kernel.run(HELPER.replace("argmin", "argmax"))
    edited = kernel.run(f"session = ablations.run(ablations.Study(**{keys!r}, train=train), executor='inline')")
    assert "changed since the stored plan" in edited.latest, (
        "an edited cell leads to new run ids, and a message says so"
    )
    assert len(numbers(folder / "results" / "own_loop")) == 8
