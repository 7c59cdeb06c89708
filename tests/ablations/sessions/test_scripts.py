"""Scripts that call `ablations.run`, with or without a main guard, have one session each, no matter what starts
processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers import ONE_THREAD
from tiny_study import TINY, planned

import ablations
from ablations.sessions.reentry import only_session
from aimlib.errors import UsageError

RUN = f"""
import ablations
print("this script runs", flush=True)
session = ablations.run({TINY!r}, "out", executor=EXECUTOR)
print(session, flush=True)
"""
START = """
import multiprocessing
process = multiprocessing.get_context(METHOD).Process(target=print, args=("in the process", ))
process.start()
process.join()
print("ended with", process.exitcode, flush=True)
"""
LOADER = """
import torch
data = torch.utils.data.TensorDataset(torch.arange(4))
loader = torch.utils.data.DataLoader(data, num_workers=2, multiprocessing_context=METHOD)
try:
    print(list(loader))
except RuntimeError as error:
    print("RuntimeError:", str(error).splitlines()[0], flush=True)
"""
OTHERS = ((START, "forkserver"), (LOADER, "spawn"), (LOADER, "forkserver"))


def script(folder: Path, text: str, **names: str) -> subprocess.CompletedProcess[str]:
    for name, value in names.items():
        text = text.replace(name, repr(value))
    (folder / "script.py").write_text(text, encoding="utf-8")
    env = os.environ | ONE_THREAD
    return subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=folder, env=env)


@pytest.mark.parametrize(
    # Workers that import code from a script are tested in test_own_code_runs.py
    "executor",
    [
        pytest.param("inline", marks=pytest.mark.slow),  # test_own_code_runs.py also runs a script inline
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.xdist_group("ray")]),
    ],
)
def test_a_script_without_a_guard_runs_its_study_once(executor: str, tmp_path: Path) -> None:
    done = script(tmp_path, RUN, EXECUTOR=executor)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("this script runs") == 1
    assert "4 runs: 4 completed, 0 failed, 0 open" in done.stdout
    assert len(planned(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("starts", "method"),
    [(START, "spawn"), *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)],
    ids=["process-spawn", "process-forkserver", "loader-spawn", "loader-forkserver"],
)
def test_a_process_that_imports_the_script_again_is_refused_with_the_reason(
    starts: str, method: str, tmp_path: Path
) -> None:
    done = script(tmp_path, RUN + starts, EXECUTOR="inline", METHOD=method)
    assert done.stdout.count("4 runs: 4 completed") == 1, done.stdout + done.stderr
    assert done.stdout.count("this script runs") <= 4  # one error for each process; none of them starts other processes
    assert "in the process" not in done.stdout
    assert "a worker process imports this script again" in done.stderr
    assert "put the call below `if __name__ == '__main__':`" in done.stderr


@pytest.mark.slow
def test_processes_that_import_the_script_again_work_with_a_guard(tmp_path: Path) -> None:
    body = RUN + START
    guarded = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in body.splitlines())
    done = script(tmp_path, guarded, EXECUTOR="inline", METHOD="spawn")
    assert done.stdout.count("this script runs") == 1
    assert "in the process" in done.stdout
    assert "ended with 0" in done.stdout


@pytest.mark.slow
def test_a_forked_process_does_not_import_the_script_again(tmp_path: Path) -> None:
    done = script(tmp_path, RUN + START, EXECUTOR="inline", METHOD="fork")
    assert done.stdout.count("this script runs") == 1
    assert "ended with 0" in done.stdout


def test_a_nested_session_is_refused_but_a_later_session_is_not() -> None:
    with only_session(), pytest.raises(UsageError, match="called while this process already runs a study"):
        ablations.run(TINY, executor="inline")
    with only_session():
        pass
