"""The harness of all benchmarks, and the pages to which it writes the results."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from bench import harness, summary

REMEDY = "run `python -m bench.summary`, which writes it, and commit what it wrote"
MAKEFILE = (harness.ROOT / "Makefile").read_text(encoding="utf-8")
ASKED = re.search(r"^ASKED\s*:=(.*)$", MAKEFILE, flags=re.M)[1].split()
PARTS = ["Question", "Rivals", "Measured", "Reached"]
SOURCE = '''"""How soon?

Question: How long
    until it is done?

Rivals: none, with a backslash \\\\d.

Measured: not yet.

Reached: nothing yet.
"""

MEASURED = "Measured: this is code"
'''


def test_rounds_alternate_and_the_warm_up_is_discarded():
    called = []

    def subject(name):
        def call():
            called.append(name)
            return float(len(called))

        return call

    found = harness.rounds_of({name: subject(name) for name in "abc"}, rounds=3, warm_up=1, say=False)
    assert called == list("abcbcacababc")
    assert found == {"a": [6.0, 8.0, 10.0], "b": [4.0, 9.0, 11.0], "c": [5.0, 7.0, 12.0]}


def test_ratios_are_computed_within_each_round():
    assert harness.ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        harness.ratios([1.0, 2.0], [1.0])


def test_a_row_contains_the_median_and_the_extremes():
    found = harness.row("case", "who", [3.0, 1.0, 8.0], "s")
    assert (found.figure, found.low, found.high, found.rounds) == (3.0, 1.0, 8.0, 3)


def test_timed_repeats_calls_and_returns_the_seconds_per_call():
    called = []
    assert harness.timed(lambda: called.append(1), times=5)() < 1
    assert len(called) == 5


def test_a_command_that_fails_is_reported_with_its_output():
    code = "import sys; print('so far so good'); sys.exit('out of luck')"
    with pytest.raises(RuntimeError, match="exited with 1") as error:
        harness.wall([sys.executable, "-c", code])
    assert "so far so good" in str(error.value)
    assert "out of luck" in str(error.value)


def test_a_command_that_does_not_exist_is_reported():
    with pytest.raises(RuntimeError, match="no_such_command"):
        harness.wall(["no_such_command"])


def test_a_command_runs_with_its_environment_and_in_its_folder(tmp_path):
    code = "import os, pathlib; pathlib.Path('here').write_text(os.environ['GREETING'])"
    harness.process([sys.executable, "-c", code], env={"GREETING": "good day"}, cwd=tmp_path)
    assert (tmp_path / "here").read_text() == "good day"


def test_a_process_is_timed_and_only_its_own_memory_is_measured():
    ballast = bytearray(200 * 2**20)  # in this process, not in the measured process
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])
    small = harness.process([sys.executable, "-S", "-c", "import time; time.sleep(0.2)"])
    large = harness.process([sys.executable, "-S", "-c", "x = bytearray(64 * 2**20); x[::2**12] = x[::2**12]"])
    assert 0.2 <= small.wall < 10
    assert 2 < small.peak < 100
    assert 60 < large.peak - small.peak < 80


def test_cpu_seconds_include_all_processes_and_exclude_sleep():
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys, time; time.sleep(0.5); subprocess.run([sys.executable, '-S', '-c', {busy!r}])"
    spent = harness.process([sys.executable, "-S", "-c", parent])
    assert 0.3 <= spent.cpu < spent.wall


def test_peak_resident_memory_includes_what_was_allocated_and_freed():
    """The test runs in a separate process, so memory that other tests freed has no effect.

    The watcher may miss memory that is freed within its interval; on a busy machine, the interval is longer.
    """
    code = (
        "import time; import numpy as np; from bench import harness\n"
        "with harness.peak_resident() as most: held = np.ones(64 * 2**20, dtype=np.uint8); time.sleep(0.2); del held\n"
        "with harness.peak_resident() as nothing: pass\n"
        "print(most[0], nothing[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=harness.ROOT)
    most, nothing = map(float, done.stdout.split())
    assert 60 < most < 100
    assert nothing < 5


def test_a_goal_is_met_at_its_limit_and_not_beyond_it():
    for sense, reached, met in (
        ("most", 1.0, True),
        ("most", 1.01, False),
        ("least", 1.0, True),
        ("least", 0.99, False),
    ):
        assert harness.Goal("x", reached, 1.0, sense).met is met


def test_an_answer_is_stored_unless_the_run_was_quick(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    answer = harness.Answer(
        [harness.row("case", "who", [1.0], "s")],
        [harness.Goal("good", 1, 2, "most"), harness.Goal("better", 3, 2, "most", "The reason.")],
        ["A note."],
        {"rival": "1.2"},
    )
    seen = []

    def measure(asked):
        seen.append(asked)
        return answer

    monkeypatch.setattr(sys, "argv", ["bench/question.py", "--quick"])
    harness.main("What?", measure)
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(sys, "argv", ["bench/question.py"])
    harness.main("What?", measure)
    assert [asked.quick for asked in seen] == [True, False]
    kept = json.loads((tmp_path / "results" / "question.json").read_text(encoding="utf-8"))
    assert kept["question"] == "question"
    assert [goal["met"] for goal in kept["goals"]] == [True, False]
    assert kept["versions"]["rival"] == "1.2"
    assert kept["rows"] == [
        {"case": "case", "subject": "who", "figure": 1.0, "unit": "s", "low": 1.0, "high": 1.0, "rounds": 1}
    ]
    said = capsys.readouterr().out
    assert "NOT MET better: 3 <= 2" in said
    assert "The reason." in said


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A benchmark without results, in a separate checkout."""
    monkeypatch.setattr(summary, "ROOT", tmp_path)
    path = tmp_path / "bench" / "question.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    return path


def result(**changes):
    row = {"case": "c", "subject": "who", "figure": 2.0, "unit": "s", "low": 1.0, "high": 3.0, "rounds": 5}
    goals = [
        {"text": r"seconds of \d+ runs", "reached": 12.3456, "limit": 20.0, "sense": "most", "why": "", "met": True},
        {"text": "speed", "reached": 1234.5, "limit": 2000.0, "sense": "least", "why": "The disk.", "met": False},
    ]
    machine = {"cpu": "A CPU", "cores": 2, "memory_gib": 24, "system": "Linux 6", "python": "3.11.7"}
    found = {"when": "2026-11-24", "seconds": 7, "machine": machine, "versions": {"torch": "2.14.1"}, "notes": []}
    return found | {"rows": [row, row | {"rounds": 15}], "goals": goals} | changes


def test_the_measurements_are_written_to_the_header_and_nothing_else_changes(module):
    written = summary.rewritten("question", result())
    module.write_text(written, encoding="utf-8")
    found = summary.header("question")
    assert found["Measured"] == summary.measured(result())
    assert found["Measured"] == (
        "2026-11-24, A CPU, 2 cores, 24 GiB, Linux 6, Python 3.11.7; torch 2.14.1; medians of 5 to 15 rounds, 7 s in "
        "all."
    )
    assert found["Reached"] == r"seconds of \d+ runs: 12.3 (≤ 20); NOT MET: speed: 1,234 (≥ 2,000)."
    assert max(map(len, written.splitlines())) <= 120

    def kept(text):
        before, rest = text.split("Measured: ", 1)
        return before, rest.split('\n"""\n', 1)[1]

    assert kept(written) == kept(SOURCE)
    assert written.split('"""')[1].count("\n\n") == 4


def test_a_header_is_read_as_it_was_written(module):
    found = result(versions={f"package-{number}": "1.0-rc1" for number in range(40)})
    module.write_text(summary.rewritten("question", found), encoding="utf-8")
    assert summary.header("question")["Measured"] == summary.measured(found), "hyphens stand at ends of lines, too"


def test_writing_a_header_twice_changes_nothing(module):
    once = summary.rewritten("question", result())
    module.write_text(once, encoding="utf-8")
    assert summary.rewritten("question", result()) == once
    module.write_text(summary.rewritten("question", result(seconds=8)), encoding="utf-8")
    assert summary.rewritten("question", result()) == once


def test_a_section_states_why_a_goal_is_not_met(module):
    said = summary.section("question", result(notes=["A note."]))
    assert said.startswith("## How long until it is done?\n")
    assert "| speed | 1,234 | ≥ 2,000 | **not met** |" in said
    assert "Not met: speed. The disk." in said
    assert "| c | who | 2 s | 1 to 3 | 15 |" in said
    assert "A note." in said


def test_every_question_is_on_the_page():
    assert list(summary.ORDER) == ASKED
    on_gpu = re.search(r"^ON_GPU\s*:=(.*)$", MAKEFILE, flags=re.M)[1].split()
    assert set(on_gpu) <= set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_every_question_has_a_module_with_four_paragraphs_and_results(name):
    path = harness.ROOT / "bench" / f"{name}.py"
    assert path.exists(), f"{path}: the Makefile asks for it and it is not there"
    parts = summary.header(name)
    assert list(parts) == PARTS
    assert all(parts.values())
    kept = harness.RESULTS / f"{name}.json"
    assert kept.exists(), f"{kept}: not measured yet; run `python -m bench.{name}`"
    found = json.loads(kept.read_text(encoding="utf-8"))
    assert found["question"] == name
    assert found["rows"]
    for goal in found["goals"]:
        assert goal["met"] or goal["why"], f"{goal['text']}: not met, and `why` does not say what the limit is"
    source = path.read_text(encoding="utf-8")
    assert "\ndef measure(asked: Asked) -> Answer:\n" in source
    assert source == summary.rewritten(name, found), f"{path}: not what was measured; {REMEDY}"


def test_the_page_states_the_measurements():
    assert summary.PAGE.exists(), f"{summary.PAGE} is not there; {REMEDY}"
    assert summary.PAGE.read_text(encoding="utf-8") == summary.page(), f"{summary.PAGE} is out of date; {REMEDY}"
