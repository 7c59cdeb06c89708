"""The console of the command line, on which no printed text can control the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from aimlib.records.escaping import printable


class SafeConsole(Console):
    """A console that replaces the control characters in all text that it prints.

    rich's own colors and cursor movements remain, as do line feeds and tabs.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(renderable, options):
            text = segment.text
            safe = segment.control or text.isprintable()
            yield segment if safe else Segment(printable(text), segment.style)
