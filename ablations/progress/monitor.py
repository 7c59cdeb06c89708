"""`ablate watch`: the view of a study from another terminal or machine. It reads, and leaves the study alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from ablations.progress.formatting import clean
from ablations.progress.gathering import Gathering
from ablations.progress.history import Store
from ablations.progress.picture import Picture
from ablations.progress.sentences import summary
from ablations.progress.views import html as page
from ablations.progress.views.terminal import View
from aimlib.errors import StoreError
from aimlib.records import STUDY_FILE

_HEARTBEAT = 60.0
_READING = 1.0
"""Seconds of a look in which rows of settled runs are read; at the start of a watch there may be thousands."""
_PAGE = 4.0
"""Seconds between two pages at least."""


def watch(
    directory: str | Path,
    console: Console,
    *,
    once: bool = False,
    interval: float = 2.0,
    html: str | Path | None = None,
    store: Store | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Picture:
    """Show a study until it is complete, or until the last driver that was seen at work has ended; return the end.

    Parameters
    ----------
    directory : of the study; or its URL, where the store knows object storage.
    once : show it once.
    interval : seconds between looks.
    html : file of an overview page, rewritten every few seconds.
    store : of the same directory; None opens it.

    Raises
    ------
    StoreError: no study directory, a broken file in it, or the page cannot be written.
    """
    gathering, place = _gathering(directory, store)
    target = None if html is None else Path(html)
    every = max(interval, _PAGE)

    written = float("-inf")

    def look() -> Picture:
        nonlocal written
        shown = gathering.look() if once else gathering.look(_READING)
        if target is not None and (_over(gathering, shown) or time.monotonic() - written >= every):
            page.write(target, shown, gathering.history, place, every, live=not once)
            written = time.monotonic()
        return shown

    if once:
        return _once(look(), console)
    show = _drawn if console.is_terminal and not console.is_dumb_terminal else _printed
    return show(gathering, look, console, interval, sleep)


def _gathering(directory: str | Path, store: Store | None) -> tuple[Gathering, Any]:
    """Return what looks at the study, and where the study is: a directory, or a folder in object storage."""
    from ablations.store import ResultStore  # noqa: PLC0415

    where: Any = directory if "://" in str(directory) else Path(directory)
    if store is None and isinstance(where, Path):
        _refuse_no_study(where)
    opened: Any = ResultStore(where) if store is None else store
    document = opened.read_plan()
    if document is None:
        raise StoreError(f"{directory}: {STUDY_FILE} is missing; give the directory that `ablate run` writes")
    place = opened.place if hasattr(opened, "place") else opened.directory
    return Gathering(place, opened, document), place


def _refuse_no_study(directory: Path) -> None:
    """Refuse before a store is opened, which would make its folders."""
    if (directory / STUDY_FILE).is_file():
        return
    within = [path.parent for path in sorted(directory.glob(f"*/{STUDY_FILE}"))]
    advice = "give the directory that `ablate run` writes"
    if within:
        advice = f"it holds the studies {', '.join(map(str, within))}: give one of them"
    raise StoreError(f"{directory}: {STUDY_FILE} is missing; {advice}")


def _once(shown: Picture, console: Console) -> Picture:
    if console.is_terminal:
        console.print(View(shown))
    else:  # a script's: nothing is cut to a height that nobody sees
        console.print(View(shown, height=10_000))
    return shown


def _over(gathering: Gathering, shown: Picture) -> bool:
    return shown.complete or (gathering.ended and not gathering.alive)


def _drawn(
    gathering: Gathering,
    look: Callable[[], Picture],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Picture:
    """Draw on a screen of its own, which a change of size does not spoil, and leave the last state behind."""
    shown = look()
    try:
        with Live(View(shown), console=console, auto_refresh=False, screen=True) as live:
            while not _over(gathering, shown):
                sleep(interval)
                shown = look()
                live.update(View(shown), refresh=True)
    finally:
        console.print(View(shown))
    return shown


def _printed(
    gathering: Gathering,
    look: Callable[[], Picture],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Picture:
    """Print a line when a count or an alert has changed, and once a minute."""
    said, at, before = "", float("-inf"), None
    while True:
        shown = look()
        counts = [shown.count(state) for state in ("settled", "failed")], shown.alerts
        if counts != before or time.monotonic() - at >= _HEARTBEAT:
            said = "; ".join((summary(shown), *map(clean, shown.alerts)))
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            before, at = counts, time.monotonic()
        if _over(gathering, shown):
            return shown
        sleep(interval)
