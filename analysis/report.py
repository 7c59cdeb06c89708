"""The report of a study: a page that works offline, its Markdown twin, figures, tables, every number."""

from __future__ import annotations

from pathlib import Path

from aimlib.errors import StoreError
from analysis.load import load


def report(directory: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a study and return the path of `report.html`.

    The same results give the same bytes. Works while the study is running and with any number of runs.

    Parameters
    ----------
    directory : study directory as `ablate run` wrote it.
    out : directory to write to; by default `report` in the study directory. Files of an earlier report there
        are replaced.

    Raises
    ------
    StoreError: the directory cannot be read as a study, or `out` cannot be written.
    UsageError: the plan names a claim that does not exist.
    """
    from analysis.rendering import write  # noqa: PLC0415 -- reading results must not load scipy and matplotlib
    from analysis.study import examine  # noqa: PLC0415

    target = Path(out) if out is not None else Path(directory) / "report"
    if out is None and target.is_symlink():
        raise StoreError(f"{target}: is a link to another folder; remove it, or give that folder as out")
    return write(examine(load(directory)), target)
