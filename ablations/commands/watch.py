"""`ablate watch`: a running study as another terminal or machine sees it. In Python: `progress.monitor.watch`."""

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
        typer.Argument(help="With --html: where the page goes; default: DIRECTORY/overview.html.", show_default=False),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Keep an overview page for a browser, too.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Show it once and exit, for scripts.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two updates.")] = 2.0,
) -> None:
    """Watch a study from another terminal or machine, until it is complete. Ctrl-C leaves the study alone."""
    from ablations.progress.monitor import watch

    page = _page(directory, file) if html else None
    if file is not None and page is None:
        raise UsageError(f"{file}: this is where the page goes; give --html with it")
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
        raise UsageError(f"{directory}: the study is in object storage; say which file of this machine --html writes")
    return file or Path(directory) / "overview.html"
