"""How a notebook shows the result of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aimlib.errors import StoreError
from aimlib.records.html_tables import paragraph, table

if TYPE_CHECKING:
    from ablations.sessions.result import SessionResult

_NEXT = "Run the same study again to continue; finished runs are never repeated."


def html(result: SessionResult) -> str:
    """Return the study's state, the session's outcome, and the reasons why runs failed."""
    parts = [paragraph(_standing(result), bold=True), paragraph(f"{result.directory}: {result.outcome}.")]
    if result.failed:
        parts.append(table(("failed run", "reason"), result.failed.items()))
    if result.budget is not None:
        parts.append(paragraph(result.budget.text))
    if result.failed or result.open:
        parts.append(paragraph(_NEXT))
    return "".join(parts)


def _standing(result: SessionResult) -> str:
    from analysis.findings.standing import standing  # noqa: PLC0415

    try:
        return standing(result.results)
    except StoreError as error:  # the directory was moved or damaged after the session
        return str(error)
