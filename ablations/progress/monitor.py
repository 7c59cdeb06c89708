"""`ablate watch`: a read-only view of a study from another terminal or machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from ablations.progress.history import Store
from ablations.progress.snapshot import Snapshot
from ablations.progress.study_state import StudyState
from ablations.progress.summary import summary
from ablations.progress.views import html as page
from ablations.progress.views.notebook import NotebookConsole
from ablations.progress.views.terminal import View
from ablations.spec.short_names import clean
from aimlib.errors import StoreError
from aimlib.records import STUDY_FILE

_HEARTBEAT_S = 60.0
_READING_S = 1.0
"""Time limit for reading settled rows in one poll; the first poll may find thousands of rows."""
_PAGE_S = 4.0
"""Minimum time between two updates of the page."""


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
    """Show a study until it is complete or its last active driver has ended; return the final state.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    once : show the state once and return.
    interval : seconds between polls.
    html : file for an overview page, rewritten every few seconds.
    store : store of the same study; None opens it.

    Raises
    ------
    StoreError: this is not a study directory, a file is corrupt, or the page cannot be written.
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
    if isinstance(console, NotebookConsole):
        show = _displayed
    return show(study, poll, console, interval, sleep)


def _open(directory: str | Path, store: Store | None) -> tuple[StudyState, Any]:
    """Return a study's state and its location: a directory, or a folder in object storage."""
    from ablations.store import ResultStore  # noqa: PLC0415

    where: Any = directory if "://" in str(directory) else Path(directory)
    if store is None and isinstance(where, Path):
        _refuse_no_study(where)
    opened: Any = ResultStore(where, read_only=True) if store is None else store
    document = opened.read_plan()
    if document is None:
        raise StoreError(f"{directory}: {STUDY_FILE} is missing; specify a directory written by `ablate run`")
    place = opened.place if hasattr(opened, "place") else opened.directory
    return StudyState(place, opened, document), place


def _refuse_no_study(directory: Path) -> None:
    """Raise an error before a store is opened, which would create its folders."""
    if (directory / STUDY_FILE).is_file():
        return
    within = [path.parent for path in sorted(directory.glob(f"*/{STUDY_FILE}"))]
    advice = "specify a directory written by `ablate run`"
    if within:
        advice = f"specify one of the studies in it: {', '.join(map(str, within))}"
    raise StoreError(f"{directory}: {STUDY_FILE} is missing; {advice}")


def _once(shown: Snapshot, console: Console) -> Snapshot:
    if isinstance(console, NotebookConsole):
        console.show(shown)
    elif console.is_terminal:
        console.print(View(shown))
    else:  # a script's output has unlimited height
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
    """Draw on the alternate screen, so that resizing is harmless, and leave the final state on the normal screen."""
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


def _displayed(
    study: StudyState,
    poll: Callable[[], Snapshot],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Snapshot:
    """Update the display of a notebook."""
    assert isinstance(console, NotebookConsole)
    while True:
        shown = poll()
        console.show(shown)
        if _over(study, shown):
            return shown
        sleep(interval)


def _printed(
    study: StudyState,
    poll: Callable[[], Snapshot],
    console: Console,
    interval: float,
    sleep: Callable[[float], None],
) -> Snapshot:
    """Print a line when a count or an alert changes, and at least once a minute."""
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
