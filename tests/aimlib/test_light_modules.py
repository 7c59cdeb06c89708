"""Modules for reading results and listing plugins do not import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = (
    "aimlib",
    "aimlib.config",
    "aimlib.records",
    "aimlib.registry",
    "aimlib.seeding",
    "aimlib.errors",
    "aimlib.component",
    "aimlib.training.image_order",
    "aimlib.own_code.parts",
    "aimlib.own_code.sessions",
    "aimlib.testing",
)


def first_that_imports_torch(*modules: str) -> str:
    """Import modules one after another in a new interpreter, and return the first module that loads torch."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True)
    return done.stderr.strip()


def test_light_modules_do_not_import_torch() -> None:
    assert first_that_imports_torch(*LIGHT) == ""


def test_the_check_of_light_modules_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty module replaces torch here, because loading the real torch takes seconds."""
    (tmp_path / "torch.py").touch()
    (tmp_path / "heavy.py").write_text("import torch\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert first_that_imports_torch("aimlib.seeding", "heavy", "aimlib.registry") == "heavy"
