"""`ablate watch`: the view of a study from another terminal or machine. It reads, and leaves the study alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from ablations.progress.formatting import clean, summary
from ablations.progress.history import Store
from ablations.progress.snapshot import Snapshot
from ablations.progress.study_state import StudyState
from ablations.progress.views import html as page
from ablations.progress.views.terminal import View
from aimlib.errors import StoreError
from aimlib.records import STUDY_FILE

_HEARTBEAT_S = 60.0
_READING_S = 1.0
"""Time of a poll in which rows of settled runs are read; at the start of a watch there may be thousands."""
_PAGE_S = 4.0
"""Least time between two pages."""


def watch(
    directory: str | Path,
    console: Console,
    *,
    once: bool = False,
    interval: float = 2.0,
    html: str | Path | None = None,
    store: Store | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Show a study until it is complete, or until the last driver that was seen at work has ended; return the end.

    Parameters
    ----------
    directory : of the study; or its URL, where the store knows object storage.
    once : show it once.
    interval : seconds between polls.
    html : file of an overview page, rewritten every few seconds.
    store : of the same directory; None opens it.

    Raises
    ------
    StoreError: no study directory, a broken file in it, or the page cannot be written.
    """
    study, place = _open(directory, store)
    target = None if html is None else Path(html)
    every = max(interval, _PAGE_S)

    written = float("-inf")

    def poll() -> Snapshot:
        nonlocal written
        shown = study.poll() if once else study.poll(_READING_S)
        if target is not None and (_over(study, shown) or time.monotonic() - written >= every):
            page.write(target, shown, study.history, place, every, live=not once)
            written = time.monotonic()
        return shown

    if once:
        return _once(poll(), console)
    show = _drawn if console.is_terminal and not console.is_dumb_terminal else _printed
    return show(study, poll, console, interval, sleep)


def _open(directory: str | Path, store: Store | None) -> tuple[StudyState, Any]:
    """Return the state of a study, and where the study is: a directory, or a folder in object storage."""
    from ablations.store import ResultStore  # noqa: PLC0415

    where: Any = directory if "://" in str(directory) else Path(directory)
    if store is None and isinstance(where, Path):
        _refuse_no_study(where)
    opened: Any = ResultStore(where) if store is None else store
    document = opened.read_plan()
    if document is None:
        raise StoreError(f"{directory}: {STUDY_FILE} is missing; give the directory that `ablate run` writes")
    place = opened.place if hasattr(opened, "place") else opened.directory
    return StudyState(place, opened, document), place


def _refuse_no_study(directory: Path) -> None:
    """Refuse before a store is opened, which would make its folders."""
    if (directory / STUDY_FILE).is_file():
        return
    within = [path.parent for path in sorted(directory.glob(f"*/{STUDY_FILE}"))]
    advice = "give the directory that `ablate run` writes"
    if within:
        advice = f"it holds the studies {', '.join(map(str, within))}: give one of them"
    raise StoreError(f"{directory}: {STUDY_FILE} is missing; {advice}")


def _once(shown: Snapshot, console: Console) -> Snapshot:
    if console.is_terminal:
        console.print(View(shown))
    else:  # a script's: nothing is cut to a height that nobody sees
        console.print(View(shown, height=10_000))
    return shown


def _over(study: StudyState, shown: Snapshot) -> bool:
    return shown.complete or (study.ended and not study.alive)


def _drawn(
    study: StudyState,
    poll: Callable[[], Snapshot],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Snapshot:
    """Draw on a screen of its own, which a change of size does not spoil, and leave the last state behind."""
    shown = poll()
    try:
        with Live(View(shown), console=console, auto_refresh=False, screen=True) as live:
            while not _over(study, shown):
                sleep(interval)
                shown = poll()
                live.update(View(shown), refresh=True)
    finally:
        console.print(View(shown))
    return shown


def _printed(
    study: StudyState,
    poll: Callable[[], Snapshot],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Snapshot:
    """Print a line when a count or an alert has changed, and once a minute."""
    said, at, before = "", float("-inf"), None
    while True:
        shown = poll()
        counts = [shown.count(state) for state in ("settled", "failed")], shown.alerts
        if counts != before or time.monotonic() - at >= _HEARTBEAT_S:
            said = "; ".join((summary(shown), *map(clean, shown.alerts)))
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            before, at = counts, time.monotonic()
        if _over(study, shown):
            return shown
        sleep(interval)
