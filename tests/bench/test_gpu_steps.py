"""A `make gpu` step that raises, hangs or crashes does not affect other steps; figures from CPUs are kept separate."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.gpu import __main__ as command
from bench.gpu import catalogue, page, results, runner
from bench.gpu.catalogue import STEPS, BadSteps, Step, chosen
from bench.gpu.report import Outcome, Report, read
from bench.gpu.steps.busy import covered
from bench.gpu.steps.driver import unmet
from bench.harness import ROOT, Goal

CARD = {"name": "NVIDIA H100 80GB HBM3", "memory_gib": 79.2, "driver": "580.1", "cuda": "13.0", "cudnn": "91900"}
HOW = {"when": "2026-11-26", "command": "make gpu", "commit": "abc", "machine": {"cores": 16}}


@pytest.fixture
def step(tmp_path, monkeypatch):
    """A function that creates a step from source code; `told` is the report in that code."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(code, name="probe", number=1, **options):
        lines = "\n    ".join(code.strip().splitlines())
        (tmp_path / f"{name}_module.py").write_text(f"import os, signal, time\ndef check(told):\n    {lines}\n")
        given = {"needs": (), "limit_s": 30.0, "rehearsal_s": 30.0} | options
        return Step(number, name, f"the step {name}", "something", f"{name}_module", **given)

    return make


@pytest.fixture
def hanging(step, tmp_path):
    """A function that runs a step that hangs after executing the given code.

    It returns the outcome and the limit in seconds.

    On a busy machine, a process starts slowly, so a step that has not executed the code in time is given more time.
    """

    def run(code):
        begun = tmp_path / "begun"
        for limit in (4.0, 16.0, 64.0):
            found = runner.run(
                step(f"{code}\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)", rehearsal_s=limit, least_s=0.1),
                "cpu",
            )
            if begun.exists():
                return found, limit
        pytest.fail("the step never began")

    return run


def test_a_valid_step_passes_with_its_figures(step):
    made = step("told.row('case', 'who', [3.0, 1.0, 2.0], 's')\ntold.expect(True, 'all is well')\ntold.note('a note')")
    found = runner.run(made, "cpu")
    assert (found.status, found.reason, found.notes) == ("PASS", "", ["a note"])
    assert [(row["figure"], row["low"], row["rounds"]) for row in found.rows] == [(2.0, 1.0, 3)]
    assert found.expected == [{"text": "all is well", "holds": True, "found": ""}]
    assert found.card == {}, "a rehearsal has no card"


def test_a_failed_check_fails_only_its_step(step):
    made = step("told.expect(False, 'two is three', 'two is two')\ntold.row('after', 'who', [1.0], 's')")
    found = runner.run(made, "cpu")
    assert found.status == "FAIL"
    assert found.reason == "does not hold: two is three (two is two)"
    assert [row["case"] for row in found.rows] == ["after"]


def test_a_missed_goal_does_not_fail_a_step(step):
    found = runner.run(step("from bench.harness import Goal\ntold.goal(Goal('fast', 1.0, 2.0, 'least'))"), "cpu")
    assert found.status == "PASS"
    assert [(goal["text"], goal["met"]) for goal in found.goals] == [("fast", False)]


def test_a_step_that_raises_an_error_fails_with_that_error_and_keeps_its_output(step):
    made = step("told.row('before', 'who', [1.0], 's')\nraise RuntimeError('no such luck')")
    found = runner.run(made, "cpu")
    assert (found.status, found.reason) == ("FAIL", "RuntimeError: no such luck")
    assert [row["case"] for row in found.rows] == ["before"]
    assert "Traceback" in found.log


def test_a_step_that_hangs_is_ended_and_reports_where_it_was(hanging):
    began = time.monotonic()
    found, limit = hanging("told.note('begun')")
    assert time.monotonic() - began < 300
    assert (found.status, found.reason) == ("FAIL", f"not finished after {limit:.0f} s")
    assert found.notes == ["begun"]
    assert "probe_module.py" in found.log, "the dump of its threads"


def test_a_last_part_that_takes_too_long_does_not_fail_a_step(step, hanging):
    found, _ = hanging("told.expect(True, 'well')\ntold.given_up_without_time('the compiled step')")
    assert (found.status, found.reason) == ("PASS", "")
    assert found.notes == ["not measured: the compiled step: not finished when the time was over"]
    code = "told.given_up_without_time('the compiled step')\nos.kill(os.getpid(), signal.SIGSEGV)"
    assert runner.run(step(code, "crash"), "cpu").reason == "its process was ended by SIGSEGV"


def test_processes_started_by_a_hanging_step_end_with_the_step(hanging, tmp_path):
    code = "import subprocess\np = subprocess.Popen(['sleep', '600'])\n"
    code += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))"
    hanging(code)
    number = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{number}/stat")
    for _ in range(50):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        os.kill(number, 9)
        pytest.fail("its child lives on")


def test_a_step_that_crashes_fails_and_the_signal_is_reported(step):
    found = runner.run(step("told.note('begun')\nos.kill(os.getpid(), signal.SIGSEGV)"), "cpu")
    assert (found.status, found.reason) == ("FAIL", "its process was ended by SIGSEGV")
    assert found.notes == ["begun"]


def test_a_step_that_exits_silently_fails(step):
    found = runner.run(step("os._exit(0)"), "cpu")
    assert found.status == "FAIL"
    assert "before it was done" in found.reason


def test_a_step_whose_package_is_missing_is_skipped_and_the_package_is_named(step):
    found = runner.run(step("raise AssertionError", needs=("json", "no_such_package")), "cpu")
    assert (found.status, found.reason) == ("SKIPPED", "not installed: no_such_package")


def test_a_step_can_skip_itself(step):
    found = runner.run(step("from bench.gpu.report import Skipped\nraise Skipped('no second card')"), "cpu")
    assert (found.status, found.reason) == ("SKIPPED", "no second card")


def test_a_step_that_has_no_time_left_is_skipped(step):
    found = runner.run(step("raise AssertionError"), "cpu", most_s=1.0)
    assert found.status == "SKIPPED"
    assert "left of the time for all steps" in found.reason


def test_without_a_gpu_no_step_runs_as_if_there_were_one(step, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = runner.run(step("told.row('case', 'who', [1.0], 's')"), "cuda")
    assert found.status == "FAIL"
    assert "torch does not see any GPU that it can use" in found.reason
    assert "DEVICE=cpu" in found.reason
    assert found.rows == []


def test_a_truncated_line_is_ignored(tmp_path):
    path = tmp_path / "said"
    Report(path, "cpu", 10.0, tmp_path).note("whole")
    with path.open("a") as file:
        file.write('{"kind": "note", "te')
    assert [said["text"] for said in read(path)] == ["whole"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", list(range(1, 17))),
        ("3", [3]),
        ("1-3", [1, 2, 3]),
        ("8,2", [2, 8]),
        ("1-2, 2-4", [1, 2, 3, 4]),
        (" 12 ", [12]),
    ],
)
def test_steps_are_selected_by_numbers_and_ranges(text, numbers):
    assert [step.number for step in chosen(text)] == numbers


@pytest.mark.parametrize("text", ["x", "1-", "-3", "0", "17", "5-3", "1.5", "1;2"])
def test_an_invalid_list_of_steps_is_refused(text, capsys):
    with pytest.raises(BadSteps, match=re.escape(f"STEPS={text}")):
        chosen(text)
    assert command.main([f"--steps={text}", "--device", "cpu"]) == 2
    assert "STEPS=" in capsys.readouterr().err


def test_the_steps_are_numbered_in_order_and_their_modules_fit_the_time_limit():
    assert [step.number for step in STEPS] == list(range(1, len(STEPS) + 1))
    assert len({step.name for step in STEPS}) == len(STEPS)
    for step in STEPS:
        assert (ROOT / f"{step.module.replace('.', '/')}.py").exists(), step.module
        assert step.least_s < step.limit_s < 120


def _catalogue(monkeypatch, *steps):
    monkeypatch.setattr(command, "chosen", lambda text: list(steps))


def test_a_step_that_fails_does_not_stop_the_others_and_the_exit_code_reflects_the_failure(
    step, tmp_path, monkeypatch, capsys
):
    steps = [step("raise ValueError('bad')", "bad", 1), step("told.note('good')", "good", 2)]
    _catalogue(monkeypatch, *steps)
    assert command.main(["--device", "cpu", "--results", str(tmp_path / "kept")]) == 1
    said = capsys.readouterr().out
    assert re.search(r"1  FAIL .*the step bad", said)
    assert re.search(r"2  PASS .*the step good", said)
    kept = json.loads((tmp_path / "kept" / "gpu-good.rehearsal.json").read_text())
    assert (kept["status"], kept["rehearsal"], kept["notes"]) == ("PASS", True, ["good"])
    assert {"when", "command", "commit", "machine", "versions", "seconds"} <= set(kept)
    _catalogue(monkeypatch, steps[1])
    assert command.main(["--device", "cpu", "--results", str(tmp_path / "kept")]) == 0


def test_without_a_usable_gpu_the_other_steps_are_skipped(step, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(page, "write", lambda: pytest.fail("not into the page"))
    _catalogue(monkeypatch, step("pass", "first", 1, fatal=True), step("pass", "second", 2))
    assert command.main(["--results", str(tmp_path)]) == 1
    found = results.of_cards(tmp_path)
    assert [(each["status"], each["name"]) for each in found] == [("FAIL", "first"), ("SKIPPED", "second")]
    assert found[1]["reason"] == "no usable device (step 1)"


def test_a_rehearsal_changes_neither_the_results_nor_the_page(step, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "write", lambda: pytest.fail("a rehearsal does not write the page"))
    monkeypatch.setattr("bench.harness.RESULTS", tmp_path / "results")
    _catalogue(monkeypatch, step("told.row('case', 'who', [1.0], 's')"))
    assert command.main(["--device", "cpu"]) == 0
    assert not (tmp_path / "results").exists()


def outcome(**changes):
    row = {"case": "c", "subject": "who", "figure": 2.0, "unit": "s", "low": 1.0, "high": 3.0, "rounds": 5}
    goal = {"text": "speed", "reached": 1.0, "limit": 2.0, "sense": "least", "why": "", "met": False}
    made = Outcome(8, "speed", "images per second", "PASS", "", 12.0, "cuda", CARD, {"torch": "2.14.1"}, [row], [goal])
    return replace(made, **changes)


def test_cpu_figures_are_not_stored_as_gpu_figures(tmp_path):
    with pytest.raises(results.NoCard):
        results.keep(outcome(card={}), HOW, tmp_path)
    assert list(tmp_path.iterdir()) == []
    kept = results.keep(outcome(device="cpu", card={}), HOW, tmp_path)
    assert kept.name == "gpu-speed.rehearsal.json"
    assert results.of_cards(tmp_path) == [], "a rehearsal is not read"
    kept.rename(tmp_path / "gpu-speed.json")
    with pytest.raises(results.NoCard, match=r"gpu-speed\.json"):
        results.of_cards(tmp_path)


@pytest.fixture
def own_page(tmp_path, monkeypatch):
    path = tmp_path / "gpu.md"
    path.write_text(f"# A title\n\nBefore.\n\n{page.BEGIN}\nstale\n{page.END}\nAfter.\n", encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", path)
    return path


def test_the_page_states_the_gpu_for_every_figure(own_page, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    empty = page.page(folder)
    assert empty.startswith("# GPUs: none of this project has run on a card yet\n\nBefore.\n")
    assert "stale" not in empty
    assert "| 8 | images per second | | not tried yet | | |" in empty
    results.keep(outcome(), HOW, folder)
    results.keep(
        outcome(number=2, name="share", title="a share", status="FAIL", reason="a|b", rows=[], goals=[]), HOW, folder
    )
    full = page.page(folder)
    assert full.startswith("# GPUs: what ran on NVIDIA H100 80GB HBM3\n")
    assert full.endswith("After.\n")
    section = full.partition("### 8. images per second")[2]
    assert (
        section.index(CARD["name"])
        < section.index("| speed | 1 | ≥ 2 | **not met** |")
        < section.index("| c | who | 2 s |")
    )
    assert "FAIL: a\\|b" in full
    own_page.write_text(full, encoding="utf-8")
    assert page.page(folder) == full, "written twice is written once"


def test_the_page_matches_the_results():
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), (
        "run `python -m bench.gpu.page`, and commit what it wrote"
    )


def test_overlapping_intervals_are_counted_only_once():
    assert covered([(0, 10), (5, 12), (6, 7), (20, 21)]) == 13


def test_goals_and_steps_have_descriptions():
    assert Goal("x", 1.0, 1.0, "least").met
    assert all(step.title and step.proves for step in catalogue.STEPS)


def test_unmet_requirements_are_reported(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\ndependencies = ["pytest>=1", "pydantic<1", "no-such-package>=2"]\n', encoding="utf-8"
    )
    old, missing = unmet(project)
    assert re.fullmatch(r"pydantic \S+ is installed; pydantic<1 is required", old)
    assert missing == "no-such-package is not installed; no-such-package>=2 is required"
