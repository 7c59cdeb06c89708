"""The commands that `make test` would run, as printed by make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def told(*arguments: str, **environment: str) -> list[str]:
    """Return the commands that make would run, without messages about nested make calls."""
    done = subprocess.run(
        ["make", "-n", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("make[")]


def checks(venv: Path) -> list[str]:
    return [
        f"{venv}/bin/ruff check .",
        f"{venv}/bin/ruff format --check .",
        f"{venv}/bin/mypy",
        f"{venv}/bin/lint-imports",
        f'PYTHONDONTWRITEBYTECODE= {venv}/bin/python -m pytest -q -m "not slow" -n auto --dist loadgroup',
    ]


def test_a_fresh_clone_gets_an_environment_and_then_runs_every_check(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    commands = told("test", f"VENV={venv}")
    assert commands[-5:] == checks(venv)
    assert [line for line in commands[:-5] if " -m venv " in line] == [f"python3 -m venv {venv}"]
    assert commands[-6] == f"touch {venv}/.installed"


@pytest.mark.parametrize(
    "environment",
    [{}, {"MAKEFLAGS": "w", "MAKELEVEL": "1"}, {"MAKEFLAGS": " -j4 --jobserver-auth=3,4", "MAKELEVEL": "2"}],
    ids=["alone", "nested in another make", "nested in another make with jobs"],
)
def test_an_existing_environment_is_checked_immediately(tmp_path: Path, environment: dict[str, str]) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    stamp = venv / ".installed"
    stamp.touch()
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    os.utime(stamp, (newest + 10, newest + 10))
    assert told("test", f"VENV={venv}", **environment) == checks(venv)


def test_slow_tests_run_after_all_others(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    slow = f"AIM_FAULTS_RESULTS={ROOT}/tests/data/faults.json {venv}/bin/python -m pytest -q -m slow"
    table = f"{venv}/bin/python tests/faults/table.py"
    assert told("test-all", f"VENV={venv}")[-7:] == [*checks(venv), slow, table]


def test_the_pipeline_runs_the_checks() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make test" in lines


def test_ci_checks_hashes_before_installing_other_packages(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    installs = [line for line in told("setup", f"VENV={venv}", "LOCKED=1") if "pip install" in line]
    assert len(installs) == 3
    assert installs[0].endswith("--no-deps --require-hashes -r requirements.lock")
    assert "export LOCKED=1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert not [line for line in told("setup", f"VENV={venv}") if "--require-hashes" in line]


def test_the_lock_file_contains_a_hash_for_every_file_and_the_constraints_versions() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(entries) > 90
    assert [line for line in entries if not re.search(r"^[a-z0-9-]+==\S+.* --hash=sha256:[0-9a-f]{64}", line)] == []
    locked = {match[1]: match[2] for line in entries if (match := re.match(r"([a-z0-9-]+)==(\S+)", line))}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-zA-Z0-9._-]+)==(\S+)", constraints, re.MULTILINE)
    names = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pinned}
    assert {name for name in names if name not in locked} <= {
        "torch",
        "torchvision",
        "mlflow-skinny",
        "tensorboard",
        "wandb",
    }
    assert {name: locked[name] for name in names if name in locked} == {n: v for n, v in names.items() if n in locked}


def test_commit_hooks_run_the_checks_without_downloads() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    called = {hook["entry"].partition(" -")[0] for hook in hooks}
    assert called == {re.sub(r" --?\w+| \.$", "", line) for line in checks(Path(".venv"))[:4]}
    configures = [hook["id"] for hook in hooks if re.search(hook["files"], "pyproject.toml")]
    assert configures == ["lint", "types", "contracts"]
