"""A study's interactive page: tables, curves and charts that follow a filter, in one file or served live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimlib.errors import UsageError
from aimlib.paths import ObjectPath, Place, place
from aimlib.records import SETTLED
from analysis.load import load

if TYPE_CHECKING:
    from analysis.browse.logs import Outputs
    from analysis.results import Studies

_PAGE = "browse.html"
INTERVAL_S = 5.0
"""Seconds between two updates of a served page."""


def browse(
    directories: str | Place | Iterable[str | Place],
    out: str | Path | None = None,
    *,
    serve: bool = False,
    port: int = 0,
    unblind: bool = False,
    hosts: bool = False,
    states: Callable[[], Mapping[str, str]] | None = None,
    outputs: Outputs | None = None,
    announce: Callable[[str], None] = print,
) -> Path | None:
    """Write a page for one or several studies, or serve it on this machine until interrupted.

    Until a study's verdict is due, the page shows only validation measures. It never contains paths, users or logins.

    Parameters
    ----------
    directories : study directory that `ablate run` wrote, or ``s3://bucket/folder``; or several of these.
    out : file for the page. By default, this is `browse.html` in the study directory, or in the current directory for
        several studies and for a study in object storage.
    serve : serve the page at a local address instead of writing it; the page is updated while the study is running.
    port : port of the local address; 0 uses a free port.
    unblind : show test measures even before the verdict. The study records this, and its report mentions it.
    hosts : show the names of machines.
    states : returns the states of runs in active sessions, by run id; with None, runs without a row are shown as
        waiting. The command provides both this and `outputs`.
    outputs : returns the kept output of a study's runs, by run id; with None, no output is shown.
    announce : receives the address of the served page.

    Returns
    -------
    The path of the file, or None if the page was served.

    Raises
    ------
    StoreError: a directory cannot be read as a study, or a file cannot be written.
    UsageError: a package that the page needs is not installed, or options contradict each other.
    """
    from analysis.browse.libraries import libraries  # noqa: PLC0415 -- jinja2 and scripts only when they are needed

    sources = [directories] if isinstance(directories, (str, Place)) else list(directories)
    if not sources:
        raise UsageError("give at least one study directory")
    if serve and out is not None:
        raise UsageError("--serve does not write a file; omit --out, or write the page without --serve")
    if port and not serve:
        raise UsageError("--port is only used with --serve")
    libraries()
    if unblind:
        _record(_studies(sources, epochs=False))

    def read() -> Any:
        from analysis.browse.content import content  # noqa: PLC0415

        live = states() if states is not None else None
        return content(_studies(sources), unblind=unblind, hosts=hosts, states=live, outputs=outputs)

    if serve:
        _serve(read, port, announce)
        return None
    from analysis.browse.page import render, write  # noqa: PLC0415

    target = Path(out) if out is not None else _default(sources)
    write(target, render(read()))
    return target


def _studies(sources: list[str | Place], *, epochs: bool = True) -> Studies:
    from analysis.results import Studies  # noqa: PLC0415

    return Studies.of([load(source, epochs=epochs) for source in sources])  # one at a time: each must be a study


def _default(sources: list[str | Place]) -> Path:
    source = place(sources[0])
    return Path(_PAGE) if len(sources) > 1 or isinstance(source, ObjectPath) else source / _PAGE


def _record(studies: Studies) -> None:
    """Store a record that test measures are shown in every study whose verdict is not due."""
    from analysis.browse.content import is_early  # noqa: PLC0415 -- imports scipy only if needed
    from analysis.reading import unblinding  # noqa: PLC0415

    for each in studies.results.values():
        if is_early(each):
            settled = int(each.runs["status"].isin(SETTLED).sum())
            unblinding.add(each.directory, "ablate browse --unblind", settled, len(each.plan.runs))


def _serve(read: Callable[[], Any], port: int, announce: Callable[[str], None]) -> None:
    from analysis.browse.server import Feed, Server  # noqa: PLC0415

    with Server(Feed(read, INTERVAL_S), port, INTERVAL_S) as server:
        announce(server.address)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
