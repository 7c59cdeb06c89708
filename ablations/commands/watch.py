"""`ablate watch`: follow a running study. In Python: `ablations.watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands import options
from ablations.commands.options import Directory, console
from aimlib.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ablations.progress.snapshot import Snapshot
    from aimlib.paths import Place


def command(
    directory: Directory,
    file: Annotated[
        Path | None,
        typer.Argument(help="With --html: file for the page; default: DIRECTORY/overview.html.", show_default=False),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also write an overview page for a browser.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Show the state once and exit, for scripts.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two updates.")] = 2.0,
) -> None:
    """Watch a study from a different terminal or machine until it is complete. Ctrl-C does not affect the study."""
    try:
        shown = watch(directory, file, html=html, once=once, interval=interval, console=console())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if shown.count("failed"):
        raise typer.Exit(1)


def watch(
    directory: str | Place,
    file: str | Path | None = None,
    *,
    html: bool = False,
    once: bool = False,
    interval: float = 2.0,
    console: Console | None = None,
) -> Snapshot:
    """Show the state of a study until it is complete or its last active session has ended, and return the final state.

    Pressing Ctrl-C, or interrupting a notebook's kernel, ends watching and does not affect the study.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    file : with `html`, the file for the page; by default ``overview.html`` in the study directory.
    html : also write an overview page for a browser and rewrite it every few seconds.
    once : show the state once and return.
    interval : seconds between two updates.
    console : where the state is shown; by default, the cell of a notebook, or standard output.

    Raises
    ------
    StoreError: this is not a study directory, a file is corrupt, or the page cannot be written.
    UsageError: a file was given without `html`, or no file was given for a study in object storage.
    """
    from ablations.progress import monitor
    from ablations.progress.views.notebook import NotebookConsole, in_notebook

    page = _page(directory, None if file is None else Path(file)) if html else None
    if file is not None and page is None:
        raise UsageError(f"{file}: a file is used only for the page; add --html")
    if console is None:
        console = NotebookConsole() if in_notebook() else options.console()
    if page is not None:
        console.print(f"page: {page.absolute()}", soft_wrap=True, highlight=False, markup=False)
    shown = directory if isinstance(directory, (str, Path)) else str(directory)
    return monitor.watch(shown, console, once=once, interval=interval, html=page)


def _page(directory: str | Place, file: Path | None) -> Path:
    if file is None and "://" in str(directory):
        raise UsageError(f"{directory}: the study is in object storage; give a local file for the page of --html")
    return file or Path(str(directory)) / "overview.html"
