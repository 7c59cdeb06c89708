from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from ablations.execution import provenance as module
from ablations.execution.provenance import checkout_state, plugins_of, provenance
from aimlib.component import ComponentConfig, Frozen
from aimlib.records import RUN_COLUMNS
from aimlib.registry import ComponentOf, PluginInfo, Registry

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Return a function that runs git in a new repository with a tracked `package/__init__.py`."""

    def run(*arguments: str) -> str:
        identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "first")
    return run


def test_a_clean_checkout_has_a_commit_and_no_changes(tmp_path: Path, git: Git) -> None:
    (tmp_path / "ignored").mkdir()
    (tmp_path / "ignored" / "anything").write_text("x")
    assert checkout_state(tmp_path / "package") == (git("rev-parse", "HEAD"), None)


def test_every_change_has_a_different_hash(tmp_path: Path, git: Git) -> None:
    tracked, untracked = tmp_path / "package" / "__init__.py", tmp_path / "new ü\n.py"
    seen = []
    for path, text in ((tracked, "a = 1"), (tracked, "a = 2"), (untracked, "b = 1"), (untracked, "b = 2")):
        path.write_text(text)
        commit, dirty = checkout_state(tmp_path / "package")
        assert commit == git("rev-parse", "HEAD")
        assert len(dirty) == 20
        assert checkout_state(tmp_path / "package") == (commit, dirty)
        seen.append(dirty)
    git("add", "package")
    assert checkout_state(tmp_path / "package")[1] == dirty, "whether staged or not, it is the same change"
    tracked.write_bytes(b"\0binary 1")
    seen.append(checkout_state(tmp_path / "package")[1])
    tracked.write_bytes(b"\0binary 2")
    seen.append(checkout_state(tmp_path / "package")[1])
    assert len(set(seen)) == 6


def test_results_in_the_checkout_are_not_changes(tmp_path: Path, git: Git) -> None:
    study = tmp_path / "outcome" / "study"
    (study / "runs").mkdir(parents=True)
    (study / "study.json").write_text("{}")
    (study / "runs" / "1.parquet").write_text("row")
    assert checkout_state(tmp_path / "package")[1] is None
    git("add", "outcome")
    git("commit", "--quiet", "-m", "results")
    (study / "runs" / "2.parquet").write_text("row")
    assert checkout_state(tmp_path / "package")[1] is None
    (tmp_path / "outcome" / "code.py").write_text("")
    assert checkout_state(tmp_path / "package")[1] is not None


def test_an_unreadable_file_is_included_by_its_name(tmp_path: Path, git: Git) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert checkout_state(tmp_path / "package")[1] is not None


def test_an_installation_inside_a_repository_is_not_a_checkout(tmp_path: Path, git: Git) -> None:
    installed = tmp_path / "ignored" / "site-packages" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert checkout_state(installed) == (None, None)


def test_provenance_works_without_a_checkout_a_commit_or_git(tmp_path: Path, monkeypatch) -> None:
    assert checkout_state(tmp_path) == (None, None)
    assert checkout_state(tmp_path / "missing") == (None, None)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "__init__.py").write_text("")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert checkout_state(tmp_path) == (None, None), "there are no commits yet"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_state(tmp_path) == (None, None)


def test_the_callers_git_variables_are_ignored(tmp_path: Path, git: Git, monkeypatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert checkout_state(tmp_path / "package")[0] is not None


def slow_git(folder: Path, on: str) -> None:
    """Put a `git` into `folder` that hangs when `on` is among its arguments."""
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    script = folder / "git"
    script.write_text(f'#!/bin/sh\ncase " $* " in *" {on} "*) exec sleep 30;; esac\nexec {real} "$@"\n')
    script.chmod(0o755)


@pytest.mark.parametrize(("on", "dirty"), [("diff", "unknown"), ("ls-files", None)])
def test_a_hanging_git_is_abandoned(tmp_path: Path, git: Git, monkeypatch, on: str, dirty: str | None) -> None:
    (tmp_path / "ignored").mkdir()
    slow_git(tmp_path / "ignored", on)
    commit = git("rev-parse", "HEAD") if dirty else None
    monkeypatch.setenv("PATH", str(tmp_path / "ignored"), prepend=os.pathsep)
    monkeypatch.setattr(module, "_TIME_LIMIT", 0.5)
    begin = time.monotonic()
    assert checkout_state(tmp_path / "package") == (commit, dirty)
    assert time.monotonic() - begin < 3


def test_the_keys_are_columns_and_the_versions_are_the_installed_versions(monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "do-not-record-me")
    found = provenance()
    assert set(found) == {"host", "git_commit", "git_dirty", "versions"}
    assert set(found) <= {column.name for column in RUN_COLUMNS}
    assert "do-not-record-me" not in json.dumps(found)
    versions = json.loads(found["versions"])
    assert versions.pop("python") == platform.python_version()
    assert versions == {name: importlib.metadata.version(name) for name in module.DISTRIBUTIONS}
    found["host"] = "changed"
    assert provenance()["host"] == platform.node(), "callers do not share one mapping"


def test_a_missing_distribution_is_null(monkeypatch) -> None:
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("numpy", "no-such-distribution"))
    assert json.loads(module.versions())["no-such-distribution"] is None


def family(name: str, plugins: dict[str, str]) -> Registry:
    """Return a registry whose plugins come from the given distributions."""
    registry = Registry(name, name, "aimlib.nowhere")
    registry.plugins = lambda: [  # type: ignore[method-assign]
        PluginInfo(name, plugin, distribution, "") for plugin, distribution in plugins.items()
    ]
    for plugin in plugins:
        registry.register(plugin)(type(plugin, (), {}))
    return registry


def test_provenance_lists_plugins_from_every_family() -> None:
    inner = family("inner", {"noise": "other 2.0"})

    class Nested(ComponentConfig):
        source: Annotated[ComponentConfig, ComponentOf(inner)]

    outer = family("outer", {"plain": "aim-ablations", "noise": "third 3.1", "idle": "unused 1"})
    nested = type("nested", (), {"Config": Nested})
    outer.register("nested")(nested)
    outer.plugins = lambda: [  # type: ignore[method-assign]
        PluginInfo("outer", name, where, "")
        for name, where in (("plain", "aim-ablations"), ("noise", "third 3.1"), ("nested", "fourth 4"))
    ]

    class Part(Frozen):
        many: tuple[Annotated[ComponentConfig, ComponentOf(outer)], ...] = ()
        union: Annotated[ComponentConfig, ComponentOf(outer)] | None = None

    class Whole(Frozen):
        one: Annotated[ComponentConfig, ComponentOf(outer)]
        absent: Annotated[ComponentConfig | None, ComponentOf(inner)] = None
        part: Part = Part()

    document = {
        "one": {"name": "nested", "source": "noise"},
        "part": {"many": ("plain",), "union": "noise"},
    }
    assert json.loads(plugins_of(Whole.model_validate(document))) == {
        "inner/noise": "other 2.0",
        "outer/nested": "fourth 4",
        "outer/noise": "third 3.1",
        "outer/plain": "aim-ablations",
    }
