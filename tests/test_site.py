"""The documentation site: its pages about the command line and the Python names are generated from the source code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import surface

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_conf", ROOT / "docs" / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(found)
    sys.path[:] = before
    return found


def test_the_command_line_page_contains_every_command_and_option(conf: ModuleType) -> None:
    page = conf.command_line()
    recorded = surface.COMMAND_LINE.read_text(encoding="utf-8")
    commands = [line for line in recorded.splitlines() if line.startswith("ablate ")]
    assert len(commands) > 15
    for command in commands:
        assert f"## `{command}`" in page, command
    assert "--until-verdict" in page


def test_there_is_a_page_for_every_documented_module(conf: ModuleType, tmp_path: Path) -> None:
    conf.write_reference(tmp_path)
    assert {path.stem for path in tmp_path.glob("*.rst")} == {*surface.MODULES, "python"}
    before = (tmp_path / "ablations.rst").stat().st_mtime_ns
    conf.write_reference(tmp_path)
    assert (tmp_path / "ablations.rst").stat().st_mtime_ns == before, "an unchanged page is not rebuilt"


def test_the_sections_of_a_docstring_become_fields(conf: ModuleType) -> None:
    lines = [
        "Return |a - b|, see `c * d`.",
        "",
        "Parameters",
        "----------",
        "a, *rest : first",
        "    and more.",
        "b : second.",
        "",
        "Returns",
        "-------",
        "[n] values.",
        "",
        "Raises",
        "------",
        "UsageError: it is wrong.",
    ]
    conf._as_fields(lines)
    assert [line for line in lines if line] == [
        r"Return \|a - b\|, see `c * d`.",
        ":param a: first",
        ":param rest: first",
        "    and more.",
        ":param b: second.",
        ":returns:",
        "    [n] values.",
        ":raises UsageError: it is wrong.",
    ]


def test_links_to_files_outside_the_site_become_plain_names(conf: ModuleType) -> None:
    source = ["See [the example](../examples/own_code) and [`README.md`](../README.md#start), [study](study.md)."]
    conf._without_links_outside(None, "page", source)
    assert source == ["See the example (`examples/own_code`) and `README.md`, [study](study.md)."]


@pytest.mark.slow  # imports all modules, and needs the packages of `make docs`
@pytest.mark.timeout(600)
def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="make docs installs it")
    pytest.importorskip("myst_parser", reason="make docs installs it")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ablations.run" in (tmp_path / "reference" / "ablations.html").read_text(encoding="utf-8")
