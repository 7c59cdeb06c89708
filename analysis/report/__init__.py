"""A study's report: a page that works offline, its Markdown version, figures, and tables that contain every number."""

from __future__ import annotations

import re
from pathlib import Path

from aimlib.errors import StoreError
from aimlib.paths import ObjectPath, Place, place
from analysis.load import load


def report(directory: str | Place, out: str | Path | None = None) -> Path:
    """Write the report of a study and return the path of `report.html`.

    The same results produce byte-identical files. A report can be written while the study is running, and for any
    number of runs.

    Parameters
    ----------
    directory : study directory that `ablate run` wrote, or ``s3://bucket/folder``.
    out : directory to write to. By default, this is `report` in the study directory, or ``report-<name of the study>``
        in the current directory if the study is in object storage. Files of an earlier report in this directory are
        replaced.

    Raises
    ------
    StoreError: the directory cannot be read as a study, an accuracy does not match the stored predictions, or
        `out` cannot be written.
    UsageError: the plan names a claim that does not exist.
    """
    from analysis.findings.study import examine  # noqa: PLC0415
    from analysis.report.rendering import write  # noqa: PLC0415 -- reading results must not load scipy and matplotlib

    source = place(directory)
    findings = examine(load(source))
    if out is not None:
        return write(findings, Path(out))
    if isinstance(source, ObjectPath):
        return write(findings, Path(f"report-{_as_name(source)}"))
    target = source / "report"
    if target.is_symlink():
        raise StoreError(f"{target}: is a link to another folder; remove it, or give that folder as out")
    return write(findings, target)


def _as_name(source: ObjectPath) -> str:
    """Return the last part of a URL as a valid name of a local folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", source.name or source.bucket)
