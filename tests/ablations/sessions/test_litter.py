"""Files left behind by a killed worker are removed when the session ends, not only in the next session."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from tiny_study import changed, litter, write

from ablations.sessions import launch, session
from ablations.store import files


def test_temporary_files_of_killed_workers_are_removed_at_the_end_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    out, left = tmp_path / "out", f".{uuid.uuid4().hex}.{files.host_name()}.{gone.pid}.tmp"
    register = session.register

    def registered(*arguments: Any) -> None:
        register(*arguments)
        (out / "runs" / left).write_bytes(b"PAR1 and no more")

    monkeypatch.setattr(session, "register", registered)
    path = write(tmp_path, changed({"base.data.size": 8, "base.training.epochs": 1, "seeds": 1}))
    assert launch.run(path, out, executor="inline").open == ()
    assert litter(out) == []
