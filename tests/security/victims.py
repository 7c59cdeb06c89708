"""A finished study into which files are planted, and the effects that reading the study must not have."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from aimlib.records.checksums import with_checksum

STUDY: dict[str, Any] = {
    "name": "planted",
    "base": {
        "data": {"name": "digits", "size": 8, "train_images": 40},
        "model": {"backbone": {"name": "small_resnet", "widths": [4, 4, 8]}},
        "training": {
            "epochs": 1,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 2e-3},
            "selection": "best_validation",
            "validation_fraction": 0.25,
        },
    },
    "arms": {"baseline": {}, "aim": {"model": {"memory": "conv_ones", "placement": "block_entry"}}},
    "seeds": 1,
    "looks": [5],
}


class Bomb:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (str(self.sentinel),)


@functools.cache
def _command() -> Any:
    """Return the command-line application, which is built only once: building it takes as long as many commands."""
    from typer.main import get_command

    from ablations.commands.app import app

    return get_command(app)


class Victim:
    """A copy of a finished study, the files next to the copy, and a sentinel that only a payload creates."""

    def __init__(self, folder: Path, finished: Path) -> None:
        self.folder = folder
        self.study = folder / "study.yaml"
        self.study.write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
        self.directory = folder / "results"
        shutil.copytree(finished, self.directory)
        self.outside = folder / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_text("precious")
        self.sentinel = folder / "sentinel"
        self.bomb = pickle.dumps(Bomb(self.sentinel))

    @property
    def runs(self) -> list[Path]:
        return sorted((self.directory / "runs").iterdir())

    def plant(self, name: str, content: bytes | str | None = None) -> Path:
        """Replace a file in the study directory, by default with a pickle that executes code."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        content = self.bomb if content is None else content
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def plan(self) -> dict[str, Any]:
        """Return the plan without its checksum, so that it can be changed and planted again."""
        document: dict[str, Any] = json.loads((self.directory / "study.json").read_text())
        del document["checksum"]
        return document

    def plant_plan(self, document: dict[str, Any], name: str = "study.json") -> Path:
        """Plant a plan with a correct checksum."""
        return self.plant(name, json.dumps(with_checksum(document)))

    def state(self) -> dict[str, bytes | str | None]:
        """Return the state of all files below the folder, except in the study directory."""
        found: dict[str, bytes | str | None] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_relative_to(self.directory) or "cache" in path.relative_to(self.folder).parts:
                continue
            name = str(path.relative_to(self.folder))
            found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        return found

    def read(self, *, report: bool = True) -> dict[str, str]:
        """Call every public function that reads a study; return ``ok`` or the error message for each function. Errors
        other than UsageError are raised."""
        import analysis

        def tables() -> None:
            results = analysis.load(self.directory)
            for table in ("runs", "epochs", "predictions", "models"):
                assert len(getattr(results, table).columns)

        entries: dict[str, Callable[[], object]] = {
            "load": tables,
            "load several": lambda: analysis.load([self.directory]),
            "examine": lambda: analysis.examine(analysis.load(self.directory)).headline,
            "status": lambda: self.ablate("status", self.directory),
            "results": lambda: self.ablate("results", self.directory, "--columns", "all"),
            "results --csv": lambda: self.ablate("results", self.directory, "--csv", "-", "--table", "models"),
        }
        if report:
            entries["report"] = lambda: self.ablate("report", self.directory)
        return self._said(entries)

    def run(self, *arguments: object) -> dict[str, str]:
        """Run the study again in this process; return its output."""
        call = ("run", self.study, "--out", self.directory, "--executor", "inline", *arguments)
        return self._said({"run": lambda: self.ablate(*call)})

    def _said(self, entries: dict[str, Callable[[], object]]) -> dict[str, str]:
        from aimlib.errors import UsageError

        before = self.state()
        said = {}
        for name, entry in entries.items():
            try:
                entry()
                said[name] = "ok"
            except UsageError as error:
                said[name] = str(error)
        assert not self.sentinel.exists(), "a payload was executed"
        assert self.state() == before, "something outside the study directory changed"
        return said

    def ablate(self, *arguments: object) -> str:
        """Run a command in this process; return its output. A `UsageError` is raised."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
            _command().main([str(argument) for argument in arguments], prog_name="ablate")
        self.printed = out.getvalue()
        return self.printed
