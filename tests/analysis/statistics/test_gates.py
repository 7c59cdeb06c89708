"""Gates: the state of each step follows from its interval and its verdict, and a sentence states the conclusion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.looks import Looks
from analysis.plan import Arm, Plan, Scope
from analysis.statistics.comparison import Comparison
from analysis.statistics.gates import conclusion, gates
from analysis.statistics.interval import Interval
from analysis.statistics.verdict import Kind, Verdict

ROLES = ("baseline", "matched", "frozen", "permuted")


def plan(*roles: str) -> Plan:
    arms = [Arm("aim", "treatment", None, {})]
    arms += [Arm(role, role, None if role == "baseline" else "aim", {}) for role in roles]
    scope = Scope(*[None] * len(Scope.__dataclass_fields__))
    runs = pd.DataFrame({"run_id": [], "arm": [], "seed": []})
    return Plan("study", None, "", "", scope, 1.0, Looks((5,)), tuple(arms), (), runs)


def comparison(control: str, kind: Kind, lower: float) -> Comparison:
    interval = Interval(5, lower + 1, 1.0, lower, lower + 2, 0.05, 2.8)
    verdict = Verdict(kind)
    nothing = pd.DataFrame()
    found = ("aim", control, "gate", 1.0, nothing, (), None, interval, 0.01, 0.01, np.nan, verdict, interval, verdict)
    return Comparison(*found, None, nothing, {})


def states(*found: Comparison, roles: tuple[str, ...] = ROLES) -> list[str]:
    return [step.state for step in gates(found, plan(*roles), "baseline", "aim")]


@pytest.mark.parametrize(
    ("kind", "lower", "state"),
    [
        ("holds", 1.2, "passed"),
        ("positive, size open", 0.4, "passed"),  # a gate requires a gain, not a material gain
        ("trivial gain", 0.01, "passed"),
        ("inconclusive", 0.0, "open"),
        ("no material gain", 0.0, "not passed"),
        ("no material gain", -0.5, "not passed"),
        ("inconclusive", -0.5, "open"),
        ("withheld", 0.4, "open"),
        ("screening only", 0.4, "open"),
    ],
)
def test_a_step_is_passed_if_the_verdict_applies_and_the_whole_interval_is_above_zero(
    kind: Kind, lower: float, state: str
) -> None:
    assert states(comparison("baseline", kind, lower))[0] == state


def test_steps_are_reached_only_after_all_earlier_ones_are_passed() -> None:
    passed = [comparison(role, "holds", 1.2) for role in ROLES]
    assert states(*passed) == ["passed"] * 4
    for number, role in enumerate(ROLES):
        stopped = [*passed[:number], comparison(role, "no material gain", -0.5), *passed[number + 1 :]]
        assert states(*stopped) == ["passed"] * number + ["not passed"] + ["not reached"] * (3 - number)


def test_only_the_permuted_arm_may_be_missing() -> None:
    passed = [comparison(role, "holds", 1.2) for role in ROLES]
    assert states(*passed[:3], roles=ROLES[:3]) == ["passed"] * 3
    assert states(*passed[:2], roles=ROLES[:2]) == ["passed", "passed", "no such arm"]
    assert gates(tuple(passed), plan(*ROLES), "baseline", None) == ()


def test_the_conclusion_names_the_first_failed_step() -> None:
    def of(*found: Comparison) -> str:
        return conclusion(gates(found, plan(*ROLES), "baseline", "aim"))

    passed = [comparison(role, "holds", 1.2) for role in ROLES]
    assert of(*passed) == "Memory causes the gain: every gate is passed."
    trivial = [*passed[:2], comparison("frozen", "trivial gain", 0.1), passed[3]]
    assert of(*trivial) == "Memory causes a gain, but a trivial one: aim − frozen lies below δ."
    stopped = [passed[0], comparison("matched", "no material gain", -0.5), *passed[2:]]
    assert of(*stopped) == "Memory is not shown to cause a gain: aim − matched does not show one."
    undecided = [passed[0], comparison("matched", "inconclusive", -0.5), *passed[2:]]
    assert of(*undecided) == "It is open whether memory causes a gain: aim − matched is not decided."
    assert conclusion(()) == ""
