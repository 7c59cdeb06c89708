"""The comparisons that a plan requires: the gates in order, followed by every further arm with its reference."""

from __future__ import annotations

import pandas as pd

from analysis.looks import Looks
from analysis.plan import Arm, Plan, Scope
from analysis.statistics.planned import gated_arms, planned_comparisons, primary_arms


def plan(*arms: tuple[str, str, str | None]) -> Plan:
    scope = Scope(*[None] * len(Scope.__dataclass_fields__))
    runs = pd.DataFrame({"run_id": [], "arm": [], "seed": []})
    named = tuple(Arm(name, role, of, {}) for name, role, of in arms)
    return Plan("study", None, "", "", scope, 1.0, Looks((5,)), named, (), runs)


ARGUMENT = (
    ("frozen", "frozen", "aim"),
    ("baseline", "baseline", None),
    ("aim", "treatment", "baseline"),
    ("permuted", "permuted", "aim"),
    ("matched", "matched", "aim"),
)


def test_gates_are_in_the_order_of_the_argument_regardless_of_the_order_of_the_arms() -> None:
    found = plan(*ARGUMENT)
    assert primary_arms(found) == ("baseline", "aim")
    assert planned_comparisons(found) == [
        ("gate", "aim", "baseline"),
        ("gate", "aim", "matched"),
        ("gate", "aim", "frozen"),
        ("gate", "aim", "permuted"),
    ]
    assert gated_arms(found) == ["aim", "baseline", "matched", "frozen", "permuted"]


def test_a_further_arm_is_compared_with_the_arm_that_it_varies() -> None:
    further = (
        ("wide", "treatment", "aim"),  # a further treatment, which is the treatment in its comparison
        ("plain", "other", None),  # without a reference: compared with the baseline
        ("gone", "other", "removed"),  # the reference is not in the plan
        ("ablated", "other", "aim"),  # a variant of a treatment counts as its control
        ("wide frozen", "frozen", "wide"),  # a control of another treatment is not a gate
        ("itself", "other", "itself"),
    )
    assert planned_comparisons(plan(*ARGUMENT, *further))[4:] == [
        ("variant", "wide", "aim"),
        ("variant", "plain", "baseline"),
        ("variant", "gone", "baseline"),
        ("variant", "aim", "ablated"),
        ("variant", "wide", "wide frozen"),
    ]


def test_a_control_without_a_reference_belongs_to_the_primary_treatment_and_is_also_compared_with_the_baseline() -> (
    None
):
    arms = (("baseline", "baseline", None), ("aim", "treatment", None), ("frozen", "frozen", None))
    assert planned_comparisons(plan(*arms)) == [
        ("gate", "aim", "baseline"),
        ("gate", "aim", "frozen"),
        ("variant", "frozen", "baseline"),
    ]


def test_the_first_treatment_that_varies_the_baseline_is_the_primary_treatment() -> None:
    arms = (("baseline", "baseline", None), ("wide", "treatment", "aim"), ("aim", "treatment", None))
    assert primary_arms(plan(*arms)) == ("baseline", "aim")
    assert planned_comparisons(plan(*arms)) == [("gate", "aim", "baseline"), ("variant", "wide", "aim")]
    assert primary_arms(plan(arms[0], arms[1])) == ("baseline", "wide"), "no treatment varies the baseline"


def test_without_a_treatment_or_a_baseline_there_are_no_gates() -> None:
    assert planned_comparisons(plan(("baseline", "baseline", None), ("plain", "other", None))) == [
        ("variant", "plain", "baseline")
    ]
    assert planned_comparisons(plan(("aim", "treatment", None), ("plain", "other", None))) == []
    assert planned_comparisons(plan(("aim", "treatment", None), ("frozen", "frozen", None))) == [
        ("gate", "aim", "frozen")
    ]


def test_plain_controls_are_gates_after_the_other_controls_in_the_order_of_the_study() -> None:
    controls = (
        ("shuffled", "control", "aim"),
        ("wider", "control", "baseline"),  # a control may start from the baseline
        ("wider still", "control", "wider"),  # or from another control
        ("third", "control", None),
    )
    found = planned_comparisons(plan(controls[0], *ARGUMENT, *controls[1:]))
    assert [control for family, _, control in found[3:] if family == "gate"] == [
        "permuted",
        "shuffled",
        "wider",
        "wider still",
        "third",
    ]


def test_a_plain_control_of_another_treatment_or_of_a_further_arm_is_not_a_gate() -> None:
    further = (
        ("wide", "treatment", "aim"),
        ("beside", "other", None),
        ("of wide", "control", "wide"),
        ("of of wide", "control", "of wide"),
        ("of beside", "control", "beside"),
    )
    gated = [pair for family, *pair in planned_comparisons(plan(*ARGUMENT, *further)) if family == "gate"]
    assert {control for _, control in gated} == {"baseline", "matched", "frozen", "permuted"}


def test_plain_controls_that_start_from_each_other_do_not_cause_an_endless_search() -> None:
    found = planned_comparisons(plan(*ARGUMENT, ("one", "control", "two"), ("two", "control", "one")))
    assert ("gate", "aim", "one") in found
