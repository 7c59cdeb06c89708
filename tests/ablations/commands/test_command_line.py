"""The command line returns the right exit codes and responds without importing torch."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate
from tiny_study import changed, numbers, write

from aimlib.errors import UsageError

HELP_OF_ALL = """
import json, sys, time
from ablations.commands.app import main
answers = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["ablate", *words, "--help"]
    try:
        main()
    except SystemExit as end:
        answers[" ".join(words)] = end.code
heavy = {"torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "numpy"}
print(json.dumps([answers, sorted(heavy & set(sys.modules)), time.process_time()]))
"""


def test_help_does_not_import_any_heavy_modules() -> None:
    recorded = Path(__file__).parents[2] / "data" / "surface" / "command_line.txt"
    words = [[], *(line.split()[1:] for line in recorded.read_text().splitlines() if line.startswith("ablate "))]
    assert ["data", "verify"] in words
    process = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers, heavy, seconds = json.loads(process.stdout.splitlines()[-1])
    assert len(answers) == len(words)
    assert set(answers.values()) == {0}
    assert heavy == []
    assert seconds < 10, "of the CPU, for all of them"
    assert process.stdout.count("Usage: ") == len(words)
    for default in ("results/<study>", "$AIM_DATA_ROOT/<name>", "KEY.PATH=VALUE"):
        assert default in process.stdout, "no part of a help is taken for markup"


def cpu_of_children() -> float:
    """Return the CPU seconds of finished child processes. CPU seconds do not depend on the load of the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_printed_quickly(command: Callable[..., Any]) -> None:
    best = 99.0
    for _ in range(3):
        began = cpu_of_children()
        process = command("run", "--help")
        out, _ = process.communicate()
        best = min(best, cpu_of_children() - began)
        assert process.returncode == 0
        assert "--executor" in out
    assert best < 2.5


@pytest.mark.parametrize(
    "module",
    ["analysis", "ablations", "ablations.commands.app", "ablations.spec.study", "ablations.spec.yaml_documents"],
)
def test_commands_that_only_read_data_import_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'ray', 'optuna', 'matplotlib') if m in sys.modules])"
    began = cpu_of_children()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
    assert cpu_of_children() - began < 5


def test_commands_remain_functions_of_the_package_and_planning_imports_torch() -> None:
    """The test above can fail: this process imports torch."""
    code = (
        "import sys, ablations\n"
        "import ablations.commands.check, ablations.sessions.launch, ablations.commands.doctor.machine\n"
        "import aimlib.training.loop\n"
        "print(all(callable(getattr(ablations, name)) for name in ablations.__all__ for _ in 'ab' if name != 'data'))\n"
        "print('torch' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "True\nTrue\n"


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "dmo"), "error: dmo: no such file or shipped study; did you mean 'demo'?"),
        (("run", "demo", "--set", "epochs"), "error: --set epochs: no key with a value; write key.path=value"),
        (("run", "demo", "--address", "auto", "--executor", "inline"), "error: --address names a Ray cluster"),
        (("status", "nowhere"), "nowhere"),
        (("results", "nowhere"), "nowhere"),
        (("report", "nowhere"), "nowhere"),
        (("data", "info", "digit"), "did you mean 'digits'?"),
    ],
)
def test_unusable_input_ends_a_command_with_code_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = ablate(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("chek",), ("run",), ("run", "demo", "--executor", "threads"), ("check", "demo", "--executor", "ray")]
)
def test_an_invalid_command_line_ends_with_code_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ablate(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def test_an_error_in_the_package_itself_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a fault, not a user's mistake")

    monkeypatch.setattr("ablations.commands.doctor.machine.doctor", broken)
    with pytest.raises(ValueError, match="a fault") as fault:
        ablate(capsys, "doctor")
    assert not isinstance(fault.value, UsageError)


# From the study file to the report


def test_run_status_results_and_report_work_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "out"
    document = changed({"seeds": 1})
    document["arms"]["[red]aim[/red]"] = {"of": "aim", "model": {"update": "none"}}
    path = write(tmp_path, document)
    code, out, err = ablate(capsys, "run", path, "--out", directory, "--executor", "inline")
    assert (code, err) == (0, "")
    assert len(numbers(directory)) == 3
    assert "3 computed" in out
    assert "[red]aim[/red], seed 0: finished" in out
    assert "test accurac" not in out.split("report:")[0].split("computed")[0], "no test accuracy while it runs"
    report = Path(out.split("report: ")[1].strip())
    assert report.is_file()

    code, out, _ = ablate(capsys, "run", path, "--out", directory, "--executor", "inline")
    assert code == 0
    assert "3 of 3 runs are already settled and are not repeated." in out

    code, out, _ = ablate(capsys, "status", directory)
    assert code == 0
    assert "[red]aim[/red]" in out

    code, out, _ = ablate(
        capsys, "results", directory, "--where", "arm=aim", "--columns", "arm,seed,status", "--csv", "-"
    )
    assert (code, out) == (0, "arm,seed,status\naim,0,finished\n")
    code, out, _ = ablate(capsys, "results", directory, "--table", "epochs", "--csv", tmp_path / "epochs.csv")
    assert (code, out) == (0, "")
    assert len((tmp_path / "epochs.csv").read_text().splitlines()) == 1 + 3 * 2
    code, _, err = ablate(capsys, "results", directory, "--columns", "acuracy")
    assert code == 2
    assert "acuracy" in err
    code, out, _ = ablate(capsys, "report", directory, "--out", tmp_path / "page")
    assert code == 0
    assert list((tmp_path / "page").iterdir())


def test_status_counts_missing_runs(
    study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablations.sessions.launch import run

    run(study({"seeds": 1}), tmp_path / "out", executor="inline")
    for path in sorted((tmp_path / "out" / "runs").iterdir())[:1]:
        path.unlink()
    code, out, _ = ablate(capsys, "status", tmp_path / "out")
    assert code == 0
    cells = [line.split() for line in out.splitlines()]
    assert ["arm", "finished", "missing"] in cells
    assert sorted(line[1:] for line in cells if line[:1] in (["aim"], ["baseline"])) == [["0", "1"], ["1", "0"]]


def test_plugins_lists_every_family(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from aimlib.registry import FAMILIES

    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = ablate(capsys, "plugins")
    assert code == 0
    listed = {tuple(line.split()[:2]) for line in out.splitlines()}
    for family in FAMILIES:
        assert family.names() or family.family == "trainers", "training code is the user's own"
        for name in family.names():
            assert (family.family, name) in listed
    assert ("memories", "conv_ones") in listed
    assert len(FAMILIES) >= 10


def test_a_process_ends_quickly_and_cleanly(tmp_path: Path) -> None:
    """All output is written, exit handlers are called, and the exit code is passed on."""
    code = (
        "import atexit, sys, tempfile\n"
        "atexit.register(print, 'registered')\n"
        "from ablations.commands.app import command\n"
        "sys.argv = ['ablate', *sys.argv[1:]]\n"
        "command()\n"
    )
    for arguments, expected in ((("plugins",), 0), (("check", "nothing_of_this_name"), 2)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == expected, done.stderr
        assert done.stdout.endswith("registered\n")
        assert "small_resnet" in done.stdout or "no such file" in done.stderr


def test_a_process_waits_for_threads_that_are_still_running() -> None:
    code = (
        "import sys, threading, time\n"
        "from ablations.commands.app import command\n"
        "threading.Thread(target=lambda: (time.sleep(1), print('worked', flush=True))).start()\n"
        "sys.argv = ['ablate', '--help']\n"
        "command()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("worked\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "demo", "--executor", "nonsense"), "'nonsense' is not one of 'ray', 'inline'."),
        (("results", ".", "--table", "nonsense"), "'nonsense' is not one of 'runs', 'epochs'"),
    ],
)
def test_messages_about_options_start_with_the_mistake(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = ablate(capsys, *arguments)
    text = " ".join(err.replace("│", " ").split())
    assert code == 2
    assert f"Invalid value for '{arguments[2]}': {said}" in text
