"""A study's results: frames, statistics, verdict, figures, report.

``analysis.load(directory)`` returns the frames, ``analysis.report(directory)`` writes the report, and
``analysis.browse(directory)`` writes an interactive page. Everything else is imported on first use, so loading results
imports neither scipy nor matplotlib. This package does not build networks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Imported eagerly, because the function and the module share a name: a later import would replace the function.
from analysis.browse import browse
from analysis.load import load
from analysis.report import report

if TYPE_CHECKING:
    from analysis.findings.several_studies import across
    from analysis.findings.study import Findings, examine
    from analysis.plan import Arm, Plan, Scope
    from analysis.reading.frames import columns
    from analysis.reading.query import compare, pivot, select, summarise
    from analysis.results import Results, Studies

_HOME = {
    "Arm": "analysis.plan",
    "Findings": "analysis.findings.study",
    "Plan": "analysis.plan",
    "Results": "analysis.results",
    "Scope": "analysis.plan",
    "Studies": "analysis.results",
    "across": "analysis.findings.several_studies",
    "columns": "analysis.reading.frames",
    "compare": "analysis.reading.query",
    "examine": "analysis.findings.study",
    "pivot": "analysis.reading.query",
    "select": "analysis.reading.query",
    "summarise": "analysis.reading.query",
}

__all__ = [
    "Arm",
    "Findings",
    "Plan",
    "Results",
    "Scope",
    "Studies",
    "across",
    "browse",
    "columns",
    "compare",
    "examine",
    "load",
    "pivot",
    "report",
    "select",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
