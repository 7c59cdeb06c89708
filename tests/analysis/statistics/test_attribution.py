"""Attribution: ladders and Shapley values for switches, paired by seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from synthetic_study import FakeArm

import analysis
from analysis.statistics.attribution import attributions, interactions, table_of

SWITCHES = ("memory", "stem", "passes")
EFFECTS = {"memory": 0.02, "stem": 0.01, "passes": 0.0}
SYNERGY = 0.03  # the synergy of memory and stem
SEEDS = range(6)


def accuracy(on: frozenset[str], seed: int) -> float:
    total = 0.15 + sum(EFFECTS[name] for name in on) + 0.001 * seed
    return total + (SYNERGY if {"memory", "stem"} <= on else 0)


def arms(keep=lambda on: True) -> list[FakeArm]:
    made = []
    for states in product((False, True), repeat=3):
        on = frozenset(name for name, state in zip(SWITCHES, states, strict=True) if state)
        if keep(on):
            role = "baseline" if not on else "aim" if len(on) == 3 else "other"
            levels = {name: "1" if name in on else "0" for name in SWITCHES}
            values = [accuracy(on, seed) for seed in SEEDS]
            made.append(FakeArm("+".join(sorted(on)) or "none", role, accuracies=values, levels=levels))
    return made


def ladder_only(on: frozenset[str]) -> bool:
    return any(on == frozenset(order[:n]) for order in (SWITCHES, SWITCHES[::-1]) for n in range(4))


@pytest.fixture
def loaded(make_study):
    def load(**options):
        results = analysis.load(make_study(images=10_000, seeds=len(SEEDS), **options))
        return results.runs, results.plan

    return load


def test_a_ladder_shows_the_gain_of_each_step_in_both_orders(loaded):
    found = attributions(*loaded(arms=arms(ladder_only)))
    assert [a.method for a in found] == ["ladder: memory, stem, passes", "ladder: passes, stem, memory"]
    first, second = ({part.switch: part.interval.mean for part in a.parts} for a in found)
    assert first == pytest.approx({"memory": 2.0, "stem": 4.0, "passes": 0.0}, abs=0.03)
    assert second == pytest.approx({"passes": 0.0, "stem": 1.0, "memory": 5.0}, abs=0.03)
    for a in found:
        assert sum(part.interval.mean for part in a.parts) == pytest.approx(a.gap.mean)
        assert (a.start, a.end) == ("none", "memory+passes+stem")


def test_shapley_values_divide_the_synergy_and_add_up(loaded):
    shapley, first, second, alone = attributions(*loaded(arms=arms()))
    assert shapley.method == "Shapley"
    assert first.method == "ladder: memory, stem, passes"
    assert second.method == "ladder: passes, stem, memory"
    parts = {part.switch: part.interval.mean for part in shapley.parts}
    assert parts == pytest.approx({"memory": 3.5, "stem": 2.5, "passes": 0.0}, abs=0.03)
    assert sum(parts.values()) == pytest.approx(shapley.gap.mean)
    parts = {part.switch: part.interval.mean for part in alone.parts}
    assert alone.method == "one at a time"
    assert parts == pytest.approx({"memory": 2.0, "stem": 1.0, "passes": 0.0, "remainder": 3.0}, abs=0.03)
    assert sum(parts.values()) == pytest.approx(alone.gap.mean)


def test_for_each_seed_a_shapley_value_is_the_mean_over_all_orders(loaded):
    rng = np.random.default_rng(4)
    drawn = [replace(arm, accuracies=rng.uniform(0.1, 0.3, len(SEEDS)).round(4).tolist()) for arm in arms()]
    runs, plan = loaded(arms=drawn)
    wide = runs.pivot(index="seed", columns="arm", values="test_accuracy").astype("float64") * 100

    def at(on):
        return wide["+".join(sorted(on)) or "none"]

    orders = list(permutations(SWITCHES))
    for part in attributions(runs, plan)[0].parts:
        gains = [at(order[: order.index(part.switch) + 1]) - at(order[: order.index(part.switch)]) for order in orders]
        earned = sum(gains) / len(orders)
        assert part.interval.mean == pytest.approx(earned.mean())
        assert part.interval.sd == pytest.approx(earned.std(ddof=1))


def test_the_remainder_is_the_interaction(loaded):
    table = interactions(*loaded(arms=arms())).set_index(["first", "second"])
    assert table.loc[("memory", "stem"), "mean"] == pytest.approx(3.0, abs=0.03)
    assert table.loc[("stem", "passes"), "mean"] == pytest.approx(0.0, abs=0.03)


def test_a_seed_without_a_run_of_every_arm_is_left_out_of_all_parts(loaded):
    status = {("memory", 2): "missing", ("none", 4): "failed"}
    for a in attributions(*loaded(arms=arms(), status=status)):
        assert {part.interval.n for part in a.parts} == {a.gap.n}
        assert a.gap.n in (4, 5)


def test_a_pruned_run_has_no_accuracy_to_attribute(loaded):
    for a in attributions(*loaded(arms=arms(), status={("none", 4): "pruned"})):
        assert {part.interval.n for part in a.parts} == {a.gap.n} == {len(SEEDS) - 1}


def test_studies_without_two_level_factors_have_no_attribution(loaded):
    assert attributions(*loaded(arms=[FakeArm("baseline", "baseline"), FakeArm("aim", "aim")])) == ()
    three = [FakeArm(f"a{i}", "baseline" if not i else "other", levels={"x": str(i), "y": "0"}) for i in range(3)]
    assert attributions(*loaded(arms=three)) == ()


def test_the_table_has_a_row_for_each_part_and_for_the_gap(loaded):
    table = table_of(attributions(*loaded(arms=arms(ladder_only))))
    assert isinstance(table, pd.DataFrame)
    assert (table.groupby("method")["switch"].agg("last") == "gap").all()
    gaps = table[table["switch"] == "gap"].set_index("method")["mean"]
    sums = table[table["switch"] != "gap"].groupby("method")["mean"].sum()
    np.testing.assert_allclose(sums, gaps.reindex(sums.index))


@pytest.mark.parametrize(("procedure", "n"), [(1, 8), (2, 5)])
def test_the_gap_is_split_using_the_pairs_of_the_deciding_look(make_study, procedure, n):
    """Three later seeds, in which nothing helps, do not change the verdict or its parts."""
    study = []
    for number, arm in enumerate(arms()):
        assert arm.accuracies is not None
        gain = arm.accuracies[0] - 0.15
        values = [0.3 + 0.0004 * ((7 * seed + number) % 5) + (gain if seed < 5 else 0.0) for seed in range(8)]
        study.append(replace(arm, accuracies=values))
    options = {"looks": [5, 8], "images": 50_000, "claim": None, "what": "three switches"}
    directory = make_study(study, seeds=8, procedure=procedure, **options)
    findings = analysis.examine(analysis.load(directory), unproven=True)
    assert findings.primary is not None
    assert findings.primary.interval.n == 5
    assert {each.gap.n for each in findings.attributions} == {n}
