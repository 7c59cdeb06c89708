"""Sentences do not claim more than the numbers show: trivial gains, oracles, late seeds, different machines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_study import FakeArm

import analysis
from analysis.report.content import compose

pytestmark = pytest.mark.usefixtures("undrawn")


def examine(directory):
    return analysis.examine(analysis.load(directory))


def test_a_trivial_gain_is_called_trivial(make_study):
    # All gates are passed, with intervals between 0 and δ.
    base = np.linspace(0.10, 0.15, 6)
    gain = base + 0.005 + np.array([0.0005, -0.0005, 0.0005, -0.0005, 0.0005, -0.0005])
    flat = [FakeArm(role, role, accuracies=list(base), of="aim") for role in ("matched", "frozen")]
    arms = [FakeArm("baseline", "baseline", accuracies=list(base)), *flat, FakeArm("aim", "aim", accuracies=list(gain))]
    findings = examine(make_study(arms, images=4000))
    assert findings.primary.verdict.kind == "trivial gain"
    assert [gate.state for gate in findings.family.gates] == ["passed"] * 3
    assert any("a trivial one: aim − baseline lies below δ" in remark for remark in compose(findings).remarks)


def test_the_role_makes_an_arm_the_treatment_regardless_of_what_it_starts_from(make_study):
    arms = [FakeArm("baseline", "baseline"), FakeArm("small", "other"), FakeArm("big", "aim", 0.2, of="small")]
    findings = examine(make_study(arms))
    assert findings.primary.name == "big − baseline"


def test_an_oracle_is_mentioned_in_the_headline(make_study):
    results = analysis.load(make_study())
    assert "Oracle" not in analysis.examine(results).headline
    marked = dataclasses.replace(results, runs=results.runs.assign(selection_oracle=True))
    assert analysis.examine(marked).headline.endswith("Oracle: test data chose the epochs.")


def test_different_machines_are_reported(make_study):
    results = analysis.load(make_study())
    threads = results.runs["threads"].where(results.runs["seed"] > 0, 2)
    mixed = dataclasses.replace(results, runs=results.runs.assign(threads=threads))
    cautions = compose(analysis.examine(mixed)).cautions
    assert any(
        "different devices or with different thread counts" in caution and "2 threads" in caution
        for caution in cautions
    )
