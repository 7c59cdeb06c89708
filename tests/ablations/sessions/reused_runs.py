"""Small real studies whose runs are reused by other studies, and rows that were changed on purpose."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from ablations.sessions import launch
from ablations.sessions.result import SessionResult
from aimlib.records import run_schema, write_table


def run(study: Path, out: Path | str, *overrides: str, **options: Any) -> tuple[SessionResult, str]:
    """Run a study in this process. Return the session and its output."""
    text = io.StringIO()
    console = Console(file=text, width=500)
    return launch.run(study, out, overrides, executor="inline", console=console, **options), text.getvalue()


def change(path: Path, **values: Any) -> None:
    """Change columns in a run file, as damage or an edit would."""
    (row,) = pq.ParquetFile(path).read().to_pylist()
    path.unlink()
    write_table(pa.Table.from_pylist([row | values], schema=run_schema()), path)


def run_files(directory: Path) -> list[Path]:
    return sorted((directory / "runs").glob("*.parquet"))


def digests(directory: Path) -> dict[str, str]:
    """Return a digest of every file in a directory, by relative path."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
