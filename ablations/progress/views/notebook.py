"""The view in a notebook: one display below the cell, updated in place."""

from __future__ import annotations

import contextvars
import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from ablations.progress.snapshot import Snapshot
from ablations.progress.views.terminal import View
from aimlib.records.html_tables import preformatted

_WIDTH, _HEIGHT = 110, 40
_MOST_LINES = 30
"""Number of the latest notice lines that are kept."""
_TICK_S = 1.0
_PANEL = '<pre style="white-space:pre;overflow-x:auto;line-height:1.3">{code}</pre>'


def in_notebook() -> bool:
    """Return whether this process is a notebook kernel, without importing anything."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookConsole(Console):
    """A console whose lines, status and live view share one display in the notebook.

    Parameters
    ----------
    display : shows HTML, and returns a handle with `update`; None means IPython's display function.
    """

    def __init__(self, display: Callable[[str], Any] | None = None) -> None:
        super().__init__(
            file=io.StringIO(), width=_WIDTH, emoji=False, force_terminal=False, force_jupyter=False, no_color=True
        )
        self._display = display or _displayed
        self._handle: Any = None
        self._notes: list[str] = []
        self._panel = self._status = ""
        self._drawing = threading.RLock()

    def print(self, *objects: Any, **options: Any) -> None:
        """Add lines below the view."""
        with self._drawing:
            super().print(*objects, **options)
            file = self.file
            assert isinstance(file, io.StringIO)
            self._notes = [*self._notes, *file.getvalue().rstrip("\n").split("\n")][-_MOST_LINES:]
            file.seek(0)
            file.truncate()
            self.draw()

    @contextmanager
    def status(self, status: Any, **options: Any) -> Iterator[None]:  # type: ignore[override]  # no spinner
        """Show what is happening within the block."""
        self._status = str(status)
        self.draw()
        try:
            yield
        finally:
            self._status = ""
            self.draw()

    def show(self, snapshot: Snapshot) -> None:
        """Show the state of a study above the lines."""
        self._panel = _html(snapshot)
        self.draw()

    def draw(self) -> None:
        """Update the display, or open it."""
        with self._drawing:
            lines = [*self._notes, *([f"{self._status} …"] if self._status else [])]
            content = self._panel + (preformatted("\n".join(lines)) if lines else "")
            if self._handle is None:
                self._handle = self._display(content)
            else:
                self._handle.update(_Html(content))


class NotebookView:
    """A view that is redrawn in place in a notebook.

    Parameters
    ----------
    take : returns the current snapshot.
    """

    def __init__(self, take: Callable[[], Snapshot], console: NotebookConsole) -> None:
        self._take, self._console = take, console
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start drawing in a new thread, because the kernel's thread is busy with the cell."""
        self._over.clear()
        # IPython uses a context variable to record which cell the output belongs to.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._draw,), name="notebook", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw the final state."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._console.show(self._take())

    def _draw(self) -> None:
        while not self._over.is_set():
            self._console.show(self._take())
            self._over.wait(_TICK_S)


class _Html:
    """HTML that IPython displays unchanged."""

    def __init__(self, content: str) -> None:
        self._content = content

    def _repr_html_(self) -> str:
        return self._content

    def __repr__(self) -> str:
        return "<progress of a study>"


def _displayed(content: str) -> Any:
    from IPython.display import display  # noqa: PLC0415 -- only a notebook has it

    return display(_Html(content), display_id=True)  # type: ignore[no-untyped-call]


def _html(snapshot: Snapshot) -> str:
    """Return a snapshot as HTML; all text in it is escaped."""
    drawn = Console(
        file=io.StringIO(),
        width=_WIDTH,
        record=True,
        force_terminal=True,
        force_jupyter=False,
        color_system="truecolor",
    )
    drawn.print(View(snapshot, height=_HEIGHT))
    return drawn.export_html(inline_styles=True, code_format=_PANEL)
