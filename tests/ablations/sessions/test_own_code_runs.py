"""Runs with the user's own code: the same rows inline and on Ray, records that are never imported, and reported
edits."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from drivers import ONE_THREAD, until
from in_process import ablate
from own_study import HELPER, PLUGIN, own_study
from rich.console import Console
from tiny_runs import restored_registries
from tiny_study import failures, numbers, planned, rows

import ablations
import analysis
from ablations.execution.run_task import execute
from ablations.planning import own_code
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.errors import UsageError

ROOT = Path(__file__).parents[3]
SCRIPT = f"""
{PLUGIN}
import ablations
print("begun")
session = ablations.run("study.yaml", "out", executor=EXECUTOR)
print(session.computed, session.failed, session.open)
"""


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def compute(path: Path, directory: Path) -> tuple[ablations.sessions.result.Session, str]:
    shown = io.StringIO()
    session = run(path, directory, executor="inline", trust=True, console=Console(file=shown, width=500))
    return session, shown.getvalue()


def test_a_row_contains_the_origin_of_its_code_and_the_code_is_recorded(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    path = own_study(tmp_path)
    session, _ = compute(path, directory)
    assert (session.computed, session.failed) == (4, {})
    plan = json.loads((directory / "study.json").read_text())
    code = plan["code"]["placements/own_head"]
    for row in rows(directory):
        stored = json.loads(row["plugins"]).get("placements/own_head")
        assert stored == (f"own code: my_net.py, sha256 {code}" if row["arm"] == "aim" else None)
        assert (f'"code":"{code}"' in row["identity"]) == (row["arm"] == "aim")
    record = json.loads((directory / "code" / f"{code}.json").read_text())
    assert record["file"] == "my_net.py"
    assert set(record["definitions"]) >= {"helper.py: last_ones", "my_net.py: OwnHead.reads", "helper.py: FIRST"}
    assert str(tmp_path) not in json.dumps(record)
    assert "return names[-count:]" in record["modules"]["helper"]["pieces"][0][1]


def test_a_session_says_which_runs_an_edit_makes_obsolete_before_it_starts_any_run(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    compute(own_study(tmp_path), directory)
    before = numbers(directory)
    _, quiet = compute(own_study(tmp_path, helper=f"# comment\n{HELPER}"), directory)
    assert "changed since" not in quiet

    edited = own_study(tmp_path, helper=HELPER.replace("names[-count:]", "list(names)[-count:]"))
    told = "placement 'own_head' changed since the stored plan (helper.py: last_ones); 2 settled runs belong to the "
    assert any(note.startswith(told) for note in ablations.check(edited, timing=False, trust=True, out=directory).notes)
    session, shown = compute(edited, directory)
    assert session.computed == 2
    assert f"{told}earlier code (aim: 2)" in shown
    assert shown.index(told) < shown.index("settled, 0 running")
    assert numbers(directory).items() >= before.items(), "the old rows are kept"
    assert set(analysis.load(directory).runs["run_id"]) == set(planned(directory))

    verified = ablations.verify(directory)
    assert verified.is_intact, "rows of the earlier code do not contradict anything, even where the later code is known"
    assert sum(verified.unproven.values()) == 2

    session, shown = compute(own_study(tmp_path), directory)
    assert session.computed == 0, "the earlier code counts again"
    assert len(list((directory / "code").iterdir())) == 2


def test_a_kept_network_is_not_loaded_with_edited_code(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    compute(own_study(tmp_path, {"keep": "last", "seeds": 1}), directory)
    assert ablations.network(directory, "aim/0")
    own_code.enter(read_study(own_study(tmp_path, helper=HELPER.replace("names[-count:]", "names[:count]"))), True)
    with pytest.raises(
        UsageError, match=r"was computed with code of placement 'own_head' that differs from the code registered"
    ):
        ablations.network(directory, "aim/0")
    assert ablations.network(directory, "baseline/0")


def test_stored_code_is_never_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None) -> None:
    """Reports, results and verification run in a process without the user's own code, and state what they cannot
    check."""
    directory = tmp_path / "out"
    ran = tmp_path / "ran"
    plugin = PLUGIN.replace("def reads", f"mark = open({str(ran)!r}, 'w').close()\n\n    def reads")
    compute(own_study(tmp_path, plugin=plugin), directory)
    assert ran.exists()
    ran.unlink()
    for name in ("my_net.py", "helper.py"):
        (tmp_path / name).unlink()
    program = (
        "import sys, analysis, ablations\n"
        "found = ablations.verify(sys.argv[1])\n"
        "assert found.is_intact and found.inspection.read['code'] == 1, found\n"
        "analysis.examine(analysis.load(sys.argv[1]))\n"
        "assert not [name for name in sys.modules if name.startswith('aim_own_')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not ran.exists()
    (record,) = (directory / "code").iterdir()
    record.write_text(record.read_text().replace("names", "names_"))
    code, out, _ = ablate(capsys, "verify", directory)
    assert code == 1
    assert f"code/{record.name} is damaged (its checksum does not match its content)" in " ".join(out.split())


def test_a_worker_refuses_code_that_does_not_match_the_plan(tmp_path: Path) -> None:
    path = own_study(tmp_path)
    own_code.enter(read_study(path), True)
    plan = planning.plan(read_study(path))
    store = ResultStore(tmp_path / "out")
    todo = next(task for task in tasks(plan, store, list(plan.runs)) if task.arm == "aim")
    sent = json.loads(json.dumps(todo.own_code))
    sent[0]["modules"]["helper"]["pieces"][0][1] = HELPER.replace("names[-count:]", "names[:count]")
    ending = execute(replace(todo, own_code=tuple(sent)))
    assert ending.end == "failed"
    assert "none of it was run" in ending.reason
    ending = execute(replace(todo, own_code=()))
    assert ending.end == "finished", "this process has the code"


def test_the_row_of_a_failure_in_own_code_contains_the_line_of_code(tmp_path: Path) -> None:
    update = '''
from aimlib.updates import MemoryUpdate
from aimlib.registry import updates

@updates.register("own_update")
class OwnUpdate(MemoryUpdate):
    """Fails where it computes."""

    def forward(self, features, memory_NCHW):
        if features.device.type != "meta":
            raise ZeroDivisionError("my own fault")
        return memory_NCHW
'''
    path = own_study(
        tmp_path, {"arms.aim.model.placement": "block_entry", "arms.aim.model.update": "own_update"}, plugin=update
    )
    session, _ = compute(path, tmp_path / "out")
    assert len(session.failed) == 2
    for row in failures(tmp_path / "out"):
        assert re.fullmatch(
            r"ZeroDivisionError: my own fault \(my_net\.py \[own code \w{8}\], line \d+, in forward\)", row["reason"]
        )
        assert 'File "my_net.py [own code ' in row["traceback"]
        assert 'raise ZeroDivisionError("my own fault")' in row["traceback"]
        assert "own code: my_net.py, sha256 " in row["plugins"]


def python(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_script_without_a_main_guard_runs_once_with_the_same_run_ids_as_the_file(tmp_path: Path) -> None:
    path = own_study(tmp_path / "file")
    own_code.enter(read_study(path), True)
    expected = {run.run_id for run in planning.plan(read_study(path)).runs}
    folder = tmp_path / "script"
    own_study(folder, {"plugins": []})
    (folder / "my_net.py").unlink()
    (folder / "train.py").write_text(SCRIPT.replace("EXECUTOR", '"inline"'))
    done = python(folder, "train.py")
    assert done.stdout.split("\n")[:2] == ["begun", "4 {} ()"], done.stderr
    assert set(numbers(folder / "out")) == expected


@pytest.mark.xdist_group("ray")
def test_results_on_ray_are_the_same_as_in_this_process(tmp_path: Path) -> None:
    """The study is in a script without a main guard, so workers could not import its class by name."""
    path = own_study(tmp_path / "file")
    session, _ = compute(path, tmp_path / "inline")
    assert session.failed == {}
    folder = tmp_path / "script"
    own_study(folder, {"plugins": []})
    (folder / "my_net.py").unlink()
    (folder / "train.py").write_text(SCRIPT.replace("EXECUTOR", '"ray"'))
    done = python(folder, "train.py")
    assert done.stdout.split("\n")[:2] == ["begun", "4 {} ()"], done.stderr
    assert numbers(folder / "out") == numbers(tmp_path / "inline")


def test_a_killed_driver_can_be_resumed(tmp_path: Path, command: Callable[..., subprocess.Popen[str]]) -> None:
    path = own_study(tmp_path, {"base.training.epochs": 3})
    directory = tmp_path / "out"
    arguments = ("run", path, "--out", directory, "--executor", "inline", "--trust", _code(path))
    process = command(*arguments)
    until(lambda: list(directory.glob("runs/*.parquet")) or process.poll() is not None, 120)
    process.kill()
    process.wait()
    assert 0 < len(numbers(directory)) < 4
    again = command(*arguments[:-2])  # the approval was remembered
    _, error = again.communicate()
    assert again.returncode == 0, error
    assert set(numbers(directory)) == set(planned(directory))


def _code(path: Path) -> str:
    (bundle,) = own_code.files_of(read_study(path)).values()
    return bundle.hash


def test_the_example_runs_unchanged(tmp_path: Path) -> None:
    session, _ = compute(ROOT / "examples" / "own_code" / "study.yaml", tmp_path / "out")
    assert (session.computed, session.failed) == (3, {})


def test_commands_load_a_network_with_own_code_from_the_file_that_registers_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "out"
    with restored_registries():
        compute(own_study(tmp_path, {"keep": "best"}), directory)
    wanted = ("predict", directory, "--run", "aim/0")
    code, _, said = ablate(capsys, *wanted)
    assert code == 2
    assert "unknown placement 'own_head'" in said
    assert "give the file that registers it with --plugin FILE" in said
    file = tmp_path / "my_net.py"
    code, _, refusal = ablate(capsys, *wanted, "--plugin", file)
    assert code == 2
    assert f"--plugin {file}: own code: you have not approved the code in my_net.py with helper.py" in refusal
    digits = refusal.split("sha256 ")[1].split("…")[0]
    code, out, _ = ablate(capsys, *wanted, "--plugin", file, "--trust", digits)
    assert code == 0
    assert "100 images, 10 classes" in out
    program = tmp_path / "aim.pt2"
    assert ablate(capsys, "export", directory, "--run", "aim/0", "--out", program, "--plugin", file)[0] == 0
    assert program.stat().st_size > 0


def test_commands_refuse_a_file_whose_code_differs_from_the_code_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "out"
    with restored_registries():
        compute(own_study(tmp_path, {"keep": "best"}), directory)
    (tmp_path / "helper.py").write_text(HELPER.replace("FIRST = 1", "FIRST = 2"), encoding="utf-8")
    file = tmp_path / "my_net.py"
    with restored_registries():
        own_code.enter_files([file], trust=True)
        with pytest.raises(UsageError, match="differs from the code"):
            ablations.predict(directory, "aim/0")
    absent = tmp_path / "absent.py"
    code, _, said = ablate(capsys, "predict", directory, "--run", "aim/0", "--plugin", absent)
    assert code == 2
    assert f"error: --plugin: {absent}: " in said
