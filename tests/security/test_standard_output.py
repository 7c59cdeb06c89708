"""A command that cannot write its output ends with a message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "ablations.commands.app", "cluster", "slurm"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_output_device_is_reported_clearly() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the output cannot be written: No space left on device; free up space, or redirect the output "
        "elsewhere\n"
    )


def test_closed_output_is_not_an_error() -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *COMMAND], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
