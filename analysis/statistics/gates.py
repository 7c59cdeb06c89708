"""Gatekeeping: the steps of the argument that memory causes a gain, each tested only if all earlier ones are passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.plan import Arm, Plan
from analysis.statistics.comparison import Comparison
from analysis.statistics.planned import is_control

State = Literal["passed", "not passed", "open", "not reached", "no such arm"]
_QUESTIONS = (
    ("baseline", "Is the network with memory more accurate?"),
    ("matched", "Is it more than its additional parameters?"),
    ("frozen", "Is it more than a memory that never learns?"),
    ("permuted", "Is it more than the memory of another image?"),
)
_WHERE_IT_APPLIES = frozenset({"permuted"})
"""Roles that a study need not have: a memory that is the same for every image cannot be permuted."""


@dataclass(frozen=True)
class Gate:
    """One step of the argument that memory causes a gain; it counts only when all before it are passed.

    Attributes
    ----------
    trivial : it is passed, and its whole interval lies below δ.
    """

    question: str
    role: str
    comparison: str | None
    state: State
    trivial: bool = False


def gates(
    comparisons: tuple[Comparison, ...], plan: Plan, baseline: str | None, treatment: str | None
) -> tuple[Gate, ...]:
    """Return the steps treatment − baseline, − matched, − frozen, and − permuted where the study has such an arm.

    “Memory causes it” needs all of them.
    """
    by_control = {c.control: c for c in comparisons if c.family == "gate"}
    steps: list[Gate] = []
    for role, question in _QUESTIONS:
        names = [arm.name for arm in plan.arms if _is_step(arm, role, baseline, treatment)]
        if not names and role in _WHERE_IT_APPLIES:
            continue
        found: list[Comparison | None] = [by_control[name] for name in names if name in by_control]
        for comparison in found or [None]:
            reached = all(step.state == "passed" for step in steps)
            name = comparison.name if comparison is not None else None
            trivial = comparison is not None and comparison.verdict.kind == "trivial gain"
            steps.append(Gate(question, role, name, _state(comparison, reached), trivial))
    return tuple(steps) if treatment is not None else ()


def _is_step(arm: Arm, role: str, baseline: str | None, treatment: str | None) -> bool:
    return arm.name == baseline if role == "baseline" else is_control(arm, role, treatment)


def conclusion(steps: tuple[Gate, ...]) -> str:
    """Return in one sentence whether memory causes a gain; empty if the study has no treatment arm."""
    held = next((step for step in steps if step.state != "passed"), None)
    if not steps:
        return ""
    if held is None:
        small = next((step for step in steps if step.trivial), None)
        if small is not None:
            return f"Memory causes a gain, but a trivial one: {small.comparison} lies below δ."
        return "Memory causes the gain: every gate is passed."
    if held.state == "no such arm":
        return f"Whether memory causes a gain cannot be told: the study has no {held.role} arm."
    if held.state == "not passed":
        return f"Memory is not shown to cause a gain: {held.comparison} shows none."
    return f"Whether memory causes a gain is open: {held.comparison} is not decided."


def _state(comparison: Comparison | None, reached: bool) -> State:
    if comparison is None:
        return "no such arm"
    if not reached:
        return "not reached"
    if not comparison.verdict.decided:
        return "open"
    if comparison.interval.lower > 0:
        return "passed"
    return "not passed" if comparison.verdict.stops else "open"
