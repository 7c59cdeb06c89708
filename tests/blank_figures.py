"""Blank figures for tests that read only the text and tables in reports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def blank_figures(*drawn: str) -> Iterator[None]:
    """Replace every figure in a report with a blank sheet, except those in `drawn`; keep titles, captions and data.

    A nested block does not change modules that are already blank, so blocks may end in any order.
    """
    from analysis import figures

    importlib.import_module("analysis.report.sweep_figures")  # imports functions that must not be replaced
    replaced: list[tuple[Any, Any]] = []
    for name, module in list(sys.modules.items()):  # some of the package's functions hide modules of the same name
        of_figures = name.startswith(f"{figures.__name__}.") and hasattr(module, "summarise")
        if of_figures and name.rpartition(".")[2] not in drawn and module.draw is not _blank:
            replaced.append((module, module.draw))
            module.draw = _blank  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, draw in replaced:
            module.draw = draw


def _blank(*_: Any, **__: Any) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))
