"""Fake programs that do nothing but record their calls."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Programs:
    """A folder of fake programs that comes first on the path. Every call is recorded as a line in `calls`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "fakes"
        self.folder.mkdir()
        self._log = folder / "calls"
        self._log.touch()

    def make(self, name: str, script: str = "") -> None:
        path = self.folder / name
        path.write_text(f'#!/usr/bin/env bash\nprintf "%s %s\\n" "{name}" "$*" >>"{self._log}"\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines()

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
        return kept | {"PATH": f"{self.folder}:{os.environ['PATH']}"} | more
