"""The view where there is no terminal to draw on: few lines, in a log's order."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from ablations.progress.formatting import clean, summary
from ablations.progress.snapshot import Snapshot
from aimlib.errors import counted

SPACING_S = 3.0
"""Seconds between two lines at least; what happens meanwhile is told together."""
HEARTBEAT_S = 60.0
"""Seconds after which a line says that the study still runs."""
_SHOWN = 3


class LineView:
    """Prints what matters: runs that ended, what is tried again, messages, and once a minute how far it is.

    Parameters
    ----------
    take : returns the snapshot of this moment.
    """

    def __init__(
        self, take: Callable[[], Snapshot], console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take, self._console, self._clock = take, console, clock
        self._news: list[str] = []
        self._notes: list[str] = []
        self._settled: list[str] = []
        self._printed = float("-inf")
        self._beaten = clock()

    def start(self) -> None:
        """Begin; nothing is shown before something happens."""
        self._beaten = self._clock()

    def settled(self, label: str, end: str) -> None:
        """Take note of a run that is settled: of many, the first are named and the others are counted."""
        self._settled.append(f"{clean(label)}: {end}")
        self.tick()

    def news(self, text: str) -> None:
        """Take note of what is to be told in its own words."""
        self._news.append(clean(text))
        self.tick()

    def note(self, text: str) -> None:
        """Take note of what concerns the whole session: it is never left out for being one of many."""
        self._notes.append(clean(text))
        self.tick()

    def tick(self) -> None:
        """Print what has gathered, or a heartbeat, if it is time."""
        now = self._clock()
        if (self._news or self._notes or self._settled) and now - self._printed >= SPACING_S:
            self._flush(now)
        elif now - max(self._beaten, self._printed) >= HEARTBEAT_S:
            self._beaten = now
            self._print(summary(self._take()))

    def stop(self) -> None:
        """Print what has not been told."""
        if self._news or self._notes or self._settled:
            self._flush(self._clock())

    def _flush(self, now: float) -> None:
        parts = [*self._notes, *self._news[:_SHOWN]]
        if (more := len(self._news) - _SHOWN) > 0:
            parts.append(f"{counted(more, 'more message')}")
        parts += self._settled[:_SHOWN]
        if (others := len(self._settled) - _SHOWN) > 0:
            parts[-1] += f" and {others:,} more"
        self._print("; ".join([*parts, summary(self._take())]))
        self._news, self._notes, self._settled, self._printed = [], [], [], now

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
