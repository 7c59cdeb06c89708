"""`Check`: the result of `ablations.check`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aimlib.records.escaping import printable

if TYPE_CHECKING:
    from ablations.estimation.disk import Disk
    from ablations.estimation.estimate import Cost
    from ablations.estimation.numerics import Numerics
    from ablations.planning.claim_facts import FactLine
    from ablations.planning.plan import Plan


@dataclass(frozen=True)
class Check:
    """Result of checking a study that has no problems.

    Attributes
    ----------
    plan : the study's plan.
    costs : costs on every kind of device that was timed; empty if timing was not requested or not possible.
    untimed : reasons why something was not timed, and how to time it.
    disk : number of bytes that the study will write.
    notes : remarks that do not prevent the study from running.
    numerics : speed of each precision and memory format on every kind of device, if requested.
    facts : every fact of the study's claim: in the original experiment, as described in the publication, and in this
        study. The list is empty if there is no claim or the claim has no facts.
    """

    plan: Plan
    costs: tuple[Cost, ...]
    untimed: tuple[str, ...]
    disk: Disk
    notes: tuple[str, ...]
    numerics: tuple[Numerics, ...] = ()
    facts: tuple[FactLine, ...] = ()

    @property
    def cost(self) -> Cost | None:
        """The cost on the most common kind of device, or None if nothing was timed."""
        return self.costs[0] if self.costs else None

    def __str__(self) -> str:
        """Return what `ablate check --wide` prints."""
        from rich.console import Console

        from ablations.commands import check_tables

        shown = Console(file=io.StringIO(), width=160, emoji=False, color_system=None)
        with shown.capture() as captured:
            check_tables.check(self, shown, wide=True)
        return printable(captured.get()).rstrip("\n")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the same text in IPython as `print`, instead of the whole plan."""
        printer.text("Check(...)" if cycle else str(self))

    def _repr_html_(self) -> str:
        from ablations.commands.check_html import html

        return html(self)
