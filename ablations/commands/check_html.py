"""How a notebook shows the result of a check: arms, differences and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.commands.check_notes import differing
from ablations.commands.check_tables import cost_in_words
from ablations.commands.fact_table import HEADINGS, rows
from ablations.planning.networks import has_network
from aimlib.errors import counted
from aimlib.records import role
from aimlib.records.html_tables import paragraph, table

if TYPE_CHECKING:
    from ablations.commands.check_result import Check


def html(result: Check) -> str:
    """Return the result of a check as HTML."""
    plan, cost = result.plan, result.cost
    spec, changes = plan.study.spec, differing(plan)
    head = f"Study {spec.name}: {counted(len(plan.arms), 'arm')} × {counted(len(spec.seeds), 'seed')}"
    arms = [
        (
            arm.name,
            role(arm.role) or arm.role,
            f"{plan.summaries[arm.name].parameters:,}" if has_network(arm.config) else "–",
            "; ".join(changes[arm.name]) or "–",
            f"{cost.arms[arm.name].run_seconds:.3g}" if cost is not None and arm.name in cost.arms else "–",
        )
        for arm in plan.arms
    ]
    headings = ("arm", "role", "parameters", "differences from the baseline", "s/run")
    return "".join(
        [
            paragraph(f"{head} = {counted(len(plan.runs), 'run')}", bold=True),
            table(headings, arms, numbers=("parameters", "s/run")),
            *([table(HEADINGS, list(rows(result.facts)))] if result.facts else []),
            *(paragraph(f"Cost: {cost_in_words(each)}") for each in result.costs),
            *(paragraph(f"Not timed: {reason}") for reason in result.untimed),
            *(paragraph(f"Note: {note}") for note in result.notes),
        ]
    )
