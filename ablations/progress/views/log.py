"""The view without a terminal: a small number of log lines."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from ablations.progress.snapshot import Snapshot
from ablations.progress.summary import summary
from ablations.spec.short_names import clean
from aimlib.errors import counted

SPACING_S = 3.0
"""Minimum number of seconds between two lines; events in between are combined into one line."""
HEARTBEAT_S = 60.0
"""Seconds after which a line reports that the study is still running."""
_SHOWN = 3


class LineView:
    """Prints ended runs, retried runs and messages; if nothing happens, prints the progress once a minute.

    Parameters
    ----------
    take : returns the current snapshot.
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
        """Start the view; nothing is shown until something happens."""
        self._beaten = self._clock()

    def settled(self, label: str, end: str) -> None:
        """Add a settled run; if there are many, the first ones are named and the others are only counted."""
        self._settled.append(f"{clean(label)}: {end}")
        self.tick()

    def news(self, text: str) -> None:
        """Add a message."""
        self._news.append(clean(text))
        self.tick()

    def note(self, text: str) -> None:
        """Add a message about the whole session; such a message is never omitted."""
        self._notes.append(clean(text))
        self.tick()

    def tick(self) -> None:
        """Print the collected messages, or a heartbeat line, if due."""
        now = self._clock()
        if (self._news or self._notes or self._settled) and now - self._printed >= SPACING_S:
            self._flush(now)
        elif now - max(self._beaten, self._printed) >= HEARTBEAT_S:
            self._beaten = now
            self._print(summary(self._take()))

    def stop(self) -> None:
        """Print the remaining messages."""
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
