"""Reports without drawing, for tests that read only their text and tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def blank_figures() -> Iterator[None]:
    """Replace every figure of a report by a blank sheet; files, titles, captions and data are still written."""
    from matplotlib.figure import Figure

    from analysis import figures

    def blank(*_: Any, **__: Any) -> Figure:
        return Figure(figsize=(1, 1))

    with pytest.MonkeyPatch.context() as patch:
        for module in vars(figures).values():
            if hasattr(module, "summarise"):
                patch.setattr(module, "draw", blank)
        yield
