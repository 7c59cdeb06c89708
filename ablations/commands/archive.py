"""`ablate archive`: pack a study so that reviewers can compute its verdict again. In Python: `ablations.archive`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory, console
from aimlib.errors import counted

if TYPE_CHECKING:
    from ablations.store.archive import Archive
    from aimlib.paths import Place


def command(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; by default NAME.tar.gz in the current folder.", show_default=False),
    ] = None,
) -> None:
    """Pack a study for reviewers: rows, plan, ledger and code, without photos, paths or machine names."""
    from aimlib.records.escaping import printable

    shown_on = console()
    for line in _lines(archive(directory, out)):
        shown_on.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def archive(directory: str | Place, out: str | Path | None = None) -> Archive:
    """Pack a study so that a reviewer elsewhere can compute its verdict again; see `ablations.store.archive`.

    The archive contains the rows, the plan, the ledger, the labels of the test images, the user's own code and this
    package. It contains no photos, networks, paths, or names of machines or people.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    out : the file to write, by default the study's name with ``.tar.gz`` in the current folder.

    Raises
    ------
    StoreError: the directory is not a study directory, a row contradicts its predictions or the ledger, or the file
        cannot be written.
    UsageError: the file already exists, or its name does not end in .tar.gz.
    """
    import analysis
    from ablations.store.archive import pack

    findings = analysis.examine(analysis.load(directory))
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in findings.results.plan.name)
    return pack(findings, Path(out) if out is not None else Path(f"{name}.tar.gz"))


def _lines(packed: Archive) -> list[str]:
    """Return the lines to print about an archive that has been written."""
    size = packed.path.stat().st_size / 1e6
    text = [
        f"archive: {packed.path} ({counted(packed.rows, 'settled run')}, {size:.1f} MB)",
        f"the study's verdict: {packed.verdict}",
        f"A reviewer can compute the verdict again with `ablate recompute {packed.path.name}`.",
    ]
    if packed.ledger_head:
        text.append(f"Also publish the current head of the study's ledger: {packed.ledger_head}")
    if packed.looks_private:
        text.append(
            "The archive still contains these names of folders or machines, because hashes in the study depend on "
            "these names:"
        )
        text += [f"  {each}" for each in packed.looks_private]
    return text
