"""Gatekeeping: the steps of the argument that something causes a gain, each tested only if all earlier ones pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.plan import Arm, Plan
from analysis.statistics.comparison import Comparison
from analysis.statistics.planned import CONTROLS, controls
from analysis.wording.study_words import MEMORY, beginning, question, required_roles

State = Literal["passed", "not passed", "open", "not reached", "no such arm"]


@dataclass(frozen=True)
class Gate:
    """A step in the argument that the treatment causes a gain; it counts only if all earlier steps are passed.

    Attributes
    ----------
    trivial : whether the gate is passed and its entire interval lies below δ.
    """

    question: str
    role: str
    comparison: str | None
    state: State
    trivial: bool = False


def gates(
    comparisons: tuple[Comparison, ...], plan: Plan, baseline: str | None, treatment: str | None
) -> tuple[Gate, ...]:
    """Return the steps: the treatment against the baseline, then against every control, in the order of `CONTROLS`.

    The conclusion “it causes the gain” requires that all steps are passed. A study of memory needs a matched and a
    frozen arm; other studies have the controls that they name.
    """
    if treatment is None:
        return ()
    by_control = {c.control: c for c in comparisons if c.family == "gate"}
    steps: list[Gate] = []
    for role in ("baseline", *CONTROLS):
        planned = _arms(plan, role, baseline, treatment)
        if not planned and role not in required_roles(plan):
            continue
        compared: list[Arm | None] = [arm for arm in planned if arm.name in by_control]
        for arm in compared or [None]:
            comparison = None if arm is None else by_control[arm.name]
            reached = all(step.state == "passed" for step in steps)
            name = comparison.name if comparison is not None else None
            trivial = comparison is not None and comparison.verdict.kind == "trivial gain"
            steps.append(Gate(question(plan, role, arm), role, name, _state(comparison, reached), trivial))
    return tuple(steps)


def _arms(plan: Plan, role: str, baseline: str | None, treatment: str) -> list[Arm]:
    if role == "baseline":
        return [arm for arm in plan.arms if arm.name == baseline]
    return controls(plan, role, treatment)


def conclusion(steps: tuple[Gate, ...], what: str = MEMORY) -> str:
    """Return, in one sentence, whether `what` causes a gain; empty if the study does not have a treatment arm."""
    held = next((step for step in steps if step.state != "passed"), None)
    if not steps:
        return ""
    if held is None:
        return _attributed(steps, what)
    if held.state == "no such arm":
        return f"It cannot be determined whether {what} causes a gain: the study has no {held.role} arm."
    if held.state == "not passed":
        return f"{beginning(what)} is not shown to cause a gain: {held.comparison} does not show one."
    return f"It is open whether {what} causes a gain: {held.comparison} is not decided."


def _attributed(steps: tuple[Gate, ...], what: str) -> str:
    """Return what can be concluded if every gate is passed."""
    small = next((step for step in steps if step.trivial), None)
    if small is not None:
        return f"{beginning(what)} causes a gain, but a trivial one: {small.comparison} lies below δ."
    if len(steps) == 1:
        return (
            f"{beginning(what)} causes the gain. The study does not name a control other than the baseline, so it does "
            f"not show what about {what} causes the gain."
        )
    return f"{beginning(what)} causes the gain: every gate is passed."


def _state(comparison: Comparison | None, reached: bool) -> State:
    if comparison is None:
        return "no such arm"
    if not reached:
        return "not reached"
    if not comparison.verdict.decided:
        return "open"
    if comparison.interval.lower > 0:
        return "passed"
    return "not passed" if comparison.verdict.stops or comparison.interval.upper < 0 else "open"
