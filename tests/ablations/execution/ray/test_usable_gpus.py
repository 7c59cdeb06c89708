"""GPUs that Ray counts but torch cannot use are refused with the machine's name, both numbers and the reason."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.execution.ray import usable_gpus
from ablations.execution.ray.usable_gpus import refuse_unusable, usable_here
from aimlib.errors import UsageError


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU on this machine")
def test_a_machine_whose_gpus_torch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as Ray sets it for a process without GPUs
    with pytest.raises(UsageError) as refused:
        refuse_unusable({"n": {"CPU": 8.0, "GPU": 2.0}, "m": {"CPU": 8.0}}, here=True)
    text = str(refused.value)
    assert text.startswith(f"GPUs that torch cannot use: {socket.gethostname()}: Ray counts 2, and torch can use 0 (")
    assert "NVIDIA driver" in text or "CUDA" in text
    assert "--num-gpus=0" in text


def test_if_no_run_needs_a_gpu_no_machine_is_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **_: started.append(arguments))
    refuse_unusable({"n": {"CPU": 8.0}, "m": {"CPU": 8.0, "GPU": 0.0}}, here=True)
    assert not started


@pytest.mark.parametrize(
    ("program", "limit", "said"),
    [
        ("print('warning'); print('[2, \"\"]')", 60.0, (2, "")),
        (
            "import sys; sys.exit('ImportError: libcudart.so: cannot open')",
            60.0,
            (0, "ImportError: libcudart.so: cannot open"),
        ),
        ("import os; os.abort()", 60.0, (0, "its process ended with code -6")),
        ("import time; time.sleep(60)", 1.0, (0, "torch did not answer within 1 s")),
    ],
)
def test_the_message_from_the_probe_is_passed_on_no_matter_how_the_probe_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, limit: float, said: tuple[int, str]
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$PROGRAM"\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv("PROGRAM", program)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(usable_gpus, "_LIMIT_S", limit)
    assert usable_here() == (socket.gethostname(), *said)
