"""Comparisons that further pairs can still settle, which `ablate run --until-verdict` uses."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_study import SCOPE, FakeArm

import analysis

NOISE = np.array([0.2, -0.4, 0.1, 0.5, -0.3, 0.0, -0.1, 0.0]) / 100
BASE = 0.15 + np.array([0.1, 0.0, -0.2, 0.3, 0.1, -0.1, 0.2, -0.3]) / 100


def arms(gain: float, matched: float, frozen: float, spread: float = 1.0) -> list[FakeArm]:
    """Return four arms: aim exceeds the baseline by `gain`, and the controls exceed it by their own gains, in pp."""

    def above(points: float, turn: int) -> list[float]:
        return list(BASE + points / 100 + spread * np.roll(NOISE, turn))

    return [
        FakeArm("baseline", "baseline", accuracies=list(BASE)),
        FakeArm("matched", "matched", accuracies=above(matched, 1), of="aim"),
        FakeArm("frozen", "frozen", accuracies=above(frozen, 2), of="aim"),
        FakeArm("aim", "aim", accuracies=above(gain, 3)),
    ]


@pytest.mark.parametrize(
    ("gains", "spread", "backbone", "unsettled"),
    [
        ((5.0, 0.1, 0.1), 0.5, "resnet50", ()),  # the claim holds against all three
        ((0.0, 0.0, 0.0), 0.3, "resnet50", ()),  # no material gain: later gates are not reached
        ((0.5, 0.0, 0.0), 4.0, "resnet50", ("aim − baseline",)),  # the first gate is open
        (
            (5.0, 4.9, 0.1),
            4.0,
            "resnet50",
            ("aim − matched",),
        ),  # the gate against its control is open, so later gates are not reached
        ((5.0, 0.1, 0.1), 0.5, "small_resnet", ()),  # a proxy with a positive result, which cannot end it
        ((5.0, 4.9, 0.1), 4.0, "small_resnet", ("aim − matched",)),
    ],
)
def test_open_questions_that_more_pairs_can_settle_are_listed(make_study, gains, spread, backbone, unsettled) -> None:
    directory = make_study(arms(*gains, spread), seeds=8, looks=[5, 8], scope={**SCOPE, "backbone": backbone})
    findings = analysis.examine(analysis.load(directory))
    assert findings.unsettled == unsettled, [(c.name, c.verdict.kind) for c in findings.family.comparisons]


def test_more_pairs_cannot_settle_a_withheld_verdict(make_study) -> None:
    directory = make_study(arms(0.5, 0.0, 0.0, 4.0), seeds=8, looks=[8], status={("aim", 3): "failed"})
    findings = analysis.examine(analysis.load(directory))
    assert findings.primary is not None
    assert findings.primary.verdict.kind == "withheld"
    assert findings.unsettled == ()
