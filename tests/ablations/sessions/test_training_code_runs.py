"""Runs of a user's own training code have the same rows from a file and a script, inline, on Ray and after kills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers import ONE_THREAD, until
from tiny_runs import restored_registries
from tiny_study import failures, numbers, planned, rows
from training_code_study import CODE, HELPER, training_code_study

import ablations
import analysis
from analysis.report.methods import methods

ROOT = Path(__file__).parents[3]
SCRIPT = f"""
{CODE}
import ablations
study = ablations.Study(
    "own_loop",
    train=train,
    seeds=2,
    base={{
        "data": {{"name": "digits", "size": 8, "train_images": 100}},
        "training": {{"epochs": 3}},
        "options": {{"rate": 0.5, "sleep": 0.0}},
    }},
    arms={{"slow": {{}}, "fast": {{"options": {{"rate": 0.9}}}}}},
)
session = ablations.run(study, "out", executor=EXECUTOR)
print(session.computed, session.failed, session.open)
"""


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the study, which was computed in this process."""
    folder = tmp_path_factory.mktemp("training_code")
    with restored_registries():
        session = ablations.run(training_code_study(folder), folder / "out", executor="inline", trust=True)
    assert (session.computed, session.failed) == (4, {})
    return folder / "out"


def script(folder: Path, executor: str) -> dict[str, str]:
    training_code_study(folder)
    (folder / "loop.py").unlink()
    (folder / "mine.py").write_text(SCRIPT.replace("EXECUTOR", repr(executor)))
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "4 {} ()", done.stderr
    return numbers(folder / "out")


def test_a_row_of_own_training_code_contains_only_the_known_values(computed: Path) -> None:
    for row in rows(computed):
        assert row["parameters"] is None
        assert row["step"] is None
        assert "own code: loop.py" in row["plugins"]
    runs = analysis.load(computed).runs
    assert runs["repeated"].notna().sum() == 1
    assert list(runs.sort_values(["seed"])["repeated"].dropna()) == ["same"]
    assert set(runs["rate"]) == {0.5, 0.9}, "an option that differs between arms is a column"
    verified = ablations.verify(computed)
    assert verified.is_intact


def test_the_methods_section_says_who_trained_and_what_was_repeated(computed: Path) -> None:
    text = " ".join(methods(analysis.examine(analysis.load(computed)))[0])
    assert "trained by the study’s own training code (train)" in text
    assert "One run was computed twice, with the same predictions." in text
    assert "the order of the images and the augmentation" not in text


def test_an_edit_makes_runs_obsolete_and_a_notice_reports_it(computed: Path, tmp_path: Path) -> None:
    edited = training_code_study(tmp_path, helper=HELPER.replace("mean(axis=0)", "mean(0)"))
    notes = " ".join(ablations.check(edited, timing=False, trust=True, out=computed).notes)
    assert (
        "training code 'train' changed since the stored plan (centroids.py: centroids); 4 settled runs belong" in notes
    )


def test_a_study_with_more_seeds_copies_runs_from_another_study(computed: Path, tmp_path: Path) -> None:
    path = training_code_study(tmp_path, {"seeds": 3, "name": "more"})
    session = ablations.run(path, tmp_path / "out", executor="inline", trust=True, reuse=computed)
    assert (session.reused, session.computed, session.failed) == (4, 2, {})
    assert numbers(tmp_path / "out").items() >= numbers(computed).items()


def test_a_run_that_was_ended_early_by_its_own_code_is_copied(tmp_path: Path) -> None:
    early = CODE.replace("        with tempfile", "        if epoch == 2:\n            return\n        with tempfile")
    path = training_code_study(tmp_path, code=early)
    ablations.run(path, tmp_path / "out", executor="inline", trust=True)
    assert set(analysis.load(tmp_path / "out").runs["epochs_run"]) == {2}
    again = ablations.run(path, tmp_path / "again", executor="inline", trust=True, reuse=tmp_path / "out")
    assert (again.reused, again.computed) == (4, 0)


def test_code_that_does_not_reproduce_its_results_causes_a_caution(tmp_path: Path) -> None:
    drifting = CODE.replace(
        "centres = centroids", "import os; drift += int.from_bytes(os.urandom(1)) / 1000; centres = centroids"
    )
    path = training_code_study(tmp_path, {"seeds": 1}, code=drifting)
    session = ablations.run(path, tmp_path / "out", executor="inline", trust=True)
    assert session.failed == {}
    from analysis.report.cautions import cautions

    said = " ".join(each.text for each in cautions(analysis.examine(analysis.load(tmp_path / "out"))))
    assert "own training code does not reproduce its results: the run of slow with seed 0 was computed twice" in said


def test_the_row_of_a_failure_in_the_code_contains_the_line(tmp_path: Path) -> None:
    broken = CODE.replace("centres = centroids", "1 / 0; centres = centroids")
    session = ablations.run(training_code_study(tmp_path, code=broken), tmp_path / "out", executor="inline", trust=True)
    assert len(session.failed) == 4
    for row in failures(tmp_path / "out"):
        assert re.fullmatch(
            r"ZeroDivisionError: division by zero \(loop\.py \[own code \w{8}\], line \d+, in train\)", row["reason"]
        )
        assert 'File "loop.py [own code ' in row["traceback"]


@pytest.mark.slow  # a script and a file with a network are compared in test_own_code_runs.py
def test_a_script_has_the_same_run_ids_and_numbers_as_the_file(computed: Path, tmp_path: Path) -> None:
    assert script(tmp_path, "inline") == numbers(computed)


@pytest.mark.slow  # workers receive the user's code as in test_own_code_runs.py
@pytest.mark.xdist_group("ray")
def test_results_on_ray_are_the_same(computed: Path, tmp_path: Path) -> None:
    assert script(tmp_path, "ray") == numbers(computed)


@pytest.mark.slow  # a different driver with the user's own code is killed in test_own_code_runs.py
def test_a_killed_driver_continues_from_the_last_checkpoint(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    base = {
        "data": {"name": "digits", "size": 8, "train_images": 100},
        "training": {"epochs": 6},
        "options": {"rate": 0.5, "sleep": 0.05},
    }
    path = training_code_study(tmp_path, {"base": base})
    with restored_registries():
        ablations.run(path, tmp_path / "whole", executor="inline", trust=True)
    slower = command("run", path, "--out", tmp_path / "out", "--executor", "inline", "--trust", _code(path))
    until(lambda: list((tmp_path / "out").glob("checkpoints/*/.previous.pt")) or slower.poll() is not None, 120)
    time.sleep(0.05)
    slower.kill()
    slower.wait()
    assert len(numbers(tmp_path / "out")) < 4
    again = command("run", path, "--out", tmp_path / "out", "--executor", "inline")
    _, error = again.communicate()
    assert again.returncode == 0, error
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")
    assert set(numbers(tmp_path / "out")) == set(planned(tmp_path / "out"))
    attempts = analysis.load(tmp_path / "out").runs["attempts"]
    assert attempts.max() == 2, "one run continued from a checkpoint"


def _code(path: Path) -> str:
    from ablations.planning import own_code
    from ablations.spec.study import read_study

    (bundle,) = own_code.files_of(read_study(path)).values()
    return bundle.hash
