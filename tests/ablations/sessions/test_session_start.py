"""A new study's session starts Ray first, and imports torch while Ray is starting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from ablations.execution.ray.executor import RayExecutor
from ablations.sessions.launch import run

def begin(self):
    print("torch" in sys.modules)
    sys.exit(0)

RayExecutor.begin = begin
run("demo", sys.argv[1])
"""


def test_ray_starts_before_torch_is_imported(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "out")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr[-2000:]
