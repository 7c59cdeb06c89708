"""What programs that only read results or list plugins import, imports no torch."""

from __future__ import annotations

import subprocess
import sys

LIGHT = (
    "aimlib",
    "aimlib.config",
    "aimlib.records",
    "aimlib.registry",
    "aimlib.seeding",
    "aimlib.errors",
    "aimlib.component",
    "aimlib.testing",
)


def first_that_imports_torch(*modules: str) -> str:
    """Import one module after the other in a fresh interpreter; return the one after which torch is there."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True)
    return done.stderr.strip()


def test_light_modules_import_no_torch() -> None:
    assert first_that_imports_torch(*LIGHT) == ""


def test_the_check_can_fail() -> None:
    assert first_that_imports_torch("aimlib.seeding", "aimlib.models") == "aimlib.models"
