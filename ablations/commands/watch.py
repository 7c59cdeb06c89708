"""`ablate watch`: follow a running study. In Python: `ablations.progress.monitor.watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.commands.options import Directory, console
from aimlib.errors import UsageError


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
    """Watch a study from another terminal or machine until it is complete. Ctrl-C does not affect the study."""
    from ablations.progress.monitor import watch

    page = _page(directory, file) if html else None
    if file is not None and page is None:
        raise UsageError(f"{file}: a file is only used for the page; add --html")
    shown_on = console()
    if page is not None:
        shown_on.print(f"page: {page.absolute()}", soft_wrap=True, highlight=False, markup=False)
    try:
        shown = watch(directory, shown_on, once=once, interval=interval, html=page)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if shown.count("failed"):
        raise typer.Exit(1)


def _page(directory: str, file: Path | None) -> Path:
    if file is None and "://" in directory:
        raise UsageError(f"{directory}: the study is in object storage; give a local file for the page of --html")
    return file or Path(directory) / "overview.html"
