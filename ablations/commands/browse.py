"""`ablate browse`: a web page for exploring the results of one or more studies. In Python: `ablations.browse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aimlib.paths import Place

Directories = Annotated[
    list[str],
    typer.Argument(
        metavar="DIRECTORY...",
        help="Study directories written by `ablate run`, or their s3://, gs:// or az:// URLs; several studies are "
        "shown side by side.",
        show_default=False,
    ),
]


def command(
    directories: Directories,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the page; the default is DIRECTORY/browse.html, or browse.html in the current folder "
            "for several studies.",
            show_default=False,
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Serve the page to this machine and keep the page up to date until Ctrl-C is pressed."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for --serve; 0 picks a free port.", show_default=False)
    ] = 0,
    unblind: Annotated[
        bool,
        typer.Option(
            "--unblind", help="Show test results before the verdict; the study and its report will record that."
        ),
    ] = False,
    hosts: Annotated[bool, typer.Option("--hosts", help="Show machine names.")] = False,
) -> None:
    """Write a page with tables, curves and charts that can be filtered, or serve the page while a study runs."""
    written = browse(directories, out, serve=serve, port=port, unblind=unblind, hosts=hosts)
    if written is not None:
        console().print(f"page: {written.absolute()}", soft_wrap=True, highlight=False, markup=False)


def browse(
    directories: str | Place | Iterable[str | Place],
    out: str | Path | None = None,
    *,
    serve: bool = False,
    port: int = 0,
    unblind: bool = False,
    hosts: bool = False,
) -> Path | None:
    """Write the page for one or several studies, or serve the page on this machine until interrupted.

    This function adds the states of runs in active sessions and the runs' stored output to the page that
    `analysis.browse` writes.

    Parameters
    ----------
    directories : study directory written by `ablate run`, or ``s3://bucket/folder``; or several of these.
    out, serve, port, unblind, hosts : as in `analysis.browse`.

    Returns
    -------
    The path of the page, or None if the page was served.

    Raises
    ------
    StoreError: a directory cannot be read as a study, or a file cannot be written.
    UsageError: a package that the page needs is not installed, or two options contradict each other.
    """
    import analysis
    from ablations.store import run_logs
    from aimlib.paths import Place

    sources = [directories] if isinstance(directories, (str, Place)) else list(directories)
    return analysis.browse(
        sources,
        out,
        serve=serve,
        port=port,
        unblind=unblind,
        hosts=hosts,
        states=_states(sources),
        outputs=run_logs.outputs,
        announce=_announce,
    )


def _announce(address: str) -> None:
    shown_on = console()
    shown_on.print(f"page: {address}", soft_wrap=True, highlight=False, markup=False)
    shown_on.print("Only this machine can open the page. Press Ctrl-C to stop serving it.", highlight=False)


def _states(directories: list[str | Place]) -> Callable[[], dict[str, str]]:
    """Return a function that returns the states of the runs in the studies' active sessions."""
    from ablations.progress.session_state import active_runs
    from aimlib.paths import place

    places = [place(directory) for directory in directories]
    return lambda: {run_id: state for each in places for run_id, state in active_runs(each).items()}
