"""What texts about a study call its treatment, and the question that each control answers."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.plan import Arm, Plan

MEMORY = "memory"
"""The subject of every study before studies could declare it."""
LARGEST_SHARE = "the share of the largest class of test images"
"""What chance level means in procedure 2 and later."""

_QUESTIONS = {
    "baseline": "Is the network with {what} more accurate?",
    "matched": "Is it more than its additional parameters?",
    "frozen": "Is it more than {one} that never learns?",
    "permuted": "Is it more than {of} another image?",
}
REQUIRED_OF_MEMORY = ("baseline", "matched", "frozen")
"""Roles that a study of memory needs to attribute a gain: the gate of a missing role is not passed."""


def what(plan: Plan) -> str:
    """Return what the treatment has and the baseline lacks, for use within a sentence."""
    return plan.what or MEMORY


def beginning(text: str) -> str:
    """Return a text with a capital first letter, to begin a sentence."""
    return text[:1].upper() + text[1:]


def required_roles(plan: Plan) -> tuple[str, ...]:
    """Return the roles that must have an arm before a gain can be attributed; the study may add further controls."""
    return REQUIRED_OF_MEMORY if plan.what is None else ("baseline",)


def question(plan: Plan, role: str, arm: Arm | None = None) -> str:
    """Return the question that comparing the treatment with an arm answers: the arm's own, or that of its role."""
    if arm is not None and arm.question is not None:
        return arm.question
    measure = plan.measure
    if role == "baseline" and not measure.is_accuracy:
        return f"Is the {measure.words} {measure.better} with {what(plan)}?"
    if role in _QUESTIONS:
        called = what(plan)
        one, of = ("a memory", "the memory of") if plan.what is None else (called, f"{called} of")
        return _QUESTIONS[role].format(what=called, one=one, of=of)
    return f"Is it more than {arm.name if arm is not None else role}?"


def factor_words(factors: Iterable[str]) -> dict[str, str]:
    """Return, for each factor (a key path), its shortest unambiguous ending, with spaces: ``learning rate``."""
    paths = {factor: factor.removesuffix(".name").split(".") for factor in factors}
    return {factor: _end(parts, [p for each, p in paths.items() if each != factor]) for factor, parts in paths.items()}


def _end(parts: list[str], others: list[list[str]]) -> str:
    number = next((n for n in range(1, len(parts)) if all(o[-n:] != parts[-n:] for o in others)), len(parts))
    return ".".join(parts[-number:]).replace("_", " ")


def controls(plan: Plan) -> list[Arm]:
    """Return the arms that have their own question, in the plan's order."""
    return [arm for arm in plan.arms if arm.question is not None]
