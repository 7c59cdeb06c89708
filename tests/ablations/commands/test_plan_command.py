"""`ablate plan`: power, seeds, cost, and warnings about studies that cannot reach a verdict."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from synthetic_study import FakeArm, FakeStudy, write_study

from ablations.commands import plan_tables
from ablations.commands.plan import plan
from ablations.estimation.power import SEED_SDS
from ablations.sessions import launch
from aimlib.errors import UsageError
from analysis.figures import power
from analysis.statistics.simulation import power_of


def test_the_plan_says_what_a_study_can_find(study):
    found = plan(study({"seeds": 5}), timing=False)
    table = found.table.set_index(["seed_sd", "effect"])
    assert set(table.index.get_level_values(0)) == set(SEED_SDS)
    assert table.loc[(1.0, 1.0), "pairs_80"] == 23
    assert table.loc[(0.5, 0.0), "finally"] == pytest.approx(0.98, abs=0.02)
    assert 0 < table.loc[(0.5, 0.0), "verdict"] < 0.6, "five seeds are the first look alone"
    assert table["device_hours"].isna().all()
    assert table.loc[(0.5, 5.0), "shown"] == 1.0
    assert table.loc[(1.0, 0.0), "shown"] < 0.03
    assert any("there is no reported gain r" in warning for warning in found.warnings)
    assert any(
        "true gain 1 pp: with a seed SD of 0.5, 1, 1.5, 2.5 pp, at most" in warning for warning in found.warnings
    )


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (3, "3 seeds cannot produce a verdict; the first look is after 5 pairs"),
        (7, "the verdict uses the first 5 and ignores the others"),
    ],
)
def test_a_number_of_seeds_that_wastes_runs_causes_a_warning(study, seeds, said):
    found = plan(study({"seeds": seeds}), timing=False)
    assert any(said in warning for warning in found.warnings)


def test_the_cost_refers_to_the_mean_number_of_pairs(study):
    found = plan(study({"seeds": 5}), price=2.0)
    assert np.allclose(found.table["price"], 2 * found.table["device_hours"])
    hours = found.table["device_hours"] / found.table["pairs"]
    assert hours.max() == pytest.approx(hours.min())
    assert (hours > 0).all()


def test_the_spread_is_taken_from_results(study, tmp_path):
    out = tmp_path / "out"
    path = study({"seeds": 3})
    launch.run(path, out, executor="inline")
    found = plan(path, results=out, timing=False)
    assert found.seen > 0
    assert found.table["seed_sd"].unique() == pytest.approx([found.seen / np.sqrt(2)])


def test_results_that_are_unsuitable_for_planning_are_refused(study, tmp_path):
    with pytest.raises(UsageError, match="cannot be negative"):
        plan(study(), price=-1.0)
    out = tmp_path / "out"
    path = study({"seeds": 1})
    launch.run(path, out, executor="inline")
    with pytest.raises(UsageError, match="contains no spread for planning"):
        plan(path, results=out, timing=False)


def test_power_curves_have_one_panel_per_spread(study, tmp_path):
    found = plan(study({"seeds": 5}), timing=False)
    path = tmp_path / "power.svg"
    plan_tables.power_curves(found, path)
    assert path.read_text(encoding="utf-8").startswith("<?xml")
    figure = power.draw_by_spread(found.curves, 12)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"Seed SD {sd:.2g} pp" for sd in SEED_SDS]
    assert (found.curves["power"].between(0, 1)).all()
    with pytest.raises(UsageError, match=r"ends in \.svg or \.png"):
        plan_tables.power_curves(found, tmp_path / "power.pdf")
    with pytest.raises(UsageError, match="cannot be written"):
        plan_tables.power_curves(found, tmp_path / "no" / "power.png")


def test_the_plan_shows_the_chance_by_each_look_and_the_cost_of_reading_at_any_time(study):
    found = plan(study({"seeds": 5}), seed_sd=1.0, timing=False)
    assert found.table["seed_sd"].unique().tolist() == [1.0]
    assert sorted(found.by_look["pairs"].unique()) == [5, 8, 12]
    by_pairs = found.by_look.set_index(["effect", "pairs"])
    assert by_pairs.loc[(2.0, 5), "shown"] == pytest.approx(
        power_of(2.0, np.sqrt(2), 5, found.looks.levels[0]), abs=1e-9
    )
    assert by_pairs.loc[(2.0, 12), "settled"] > by_pairs.loc[(2.0, 5), "settled"]
    prices = found.prices.set_index("effect")
    assert prices.loc[2.0, "any_pairs_at_equal_chance"] > prices.loc[2.0, "pairs"]
    assert found.half_widths is None


def test_the_plan_shows_how_many_pairs_a_half_width_requires(study):
    found = plan(study({"seeds": 5}), half_width=1.0, timing=False)
    rows = found.half_widths.set_index("seed_sd")
    assert set(rows.index) == set(SEED_SDS)
    assert (rows["expected"] <= rows["assured_80"]).all()
    assert (rows["assured_80"] <= rows["assured_90"]).all()
    assert rows.loc[1.0, ["expected", "assured_80", "assured_90"]].tolist() == [14, 17, 19]


def test_the_uncertainty_of_a_pilot_is_included(study, tmp_path):
    out, path = tmp_path / "out", study({"seeds": 5})
    launch.run(path, out, executor="inline")
    found = plan(path, results=out, half_width=1.0, timing=False)
    assert found.spread.freedom == 4
    low, high = found.spread.interval()
    assert low < found.spread.sd < found.seen < high
    assert found.table["finally_averaged"].between(0, 1).all()
    assert found.table["pairs_averaged"].between(5, 12).all()
    said = io.StringIO()
    plan_tables.power(found, Console(file=said, width=250), wide=True)
    for words in ("over 5 pairs, 95 % interval", "averaged over all spreads", "half-width of the last interval"):
        assert words in said.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"looks": "any", "max_pairs": 20}, "read after any number of pairs from 5 to 20, using a confidence sequence"),
        ({"spending": "obrien_fleming"}, "looks after 5, 8, 12 pairs, at 99.83, 98.7, 95.75 % (obrien_fleming)"),
    ],
)
def test_every_design_of_looks_can_be_planned(study, changes, said):
    found = plan(study({"seeds": 5} | changes), seed_sd=1.0, half_width=1.0, timing=False)
    text = io.StringIO()
    plan_tables.power(found, Console(file=text, width=250), wide=True)
    assert said in text.getvalue()
    assert "price of looks: any" in text.getvalue()
    assert found.table["pairs"].between(5, 20).all()
    assert found.most == (20 if "max_pairs" in changes else 12)


@pytest.mark.parametrize("option", ["seed_sd", "half_width"])
def test_a_width_must_be_a_positive_number(study, option):
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} .*give a number greater than 0"):
            plan(study(), timing=False, **{option: value})


def test_an_impossible_spread_is_refused_and_one_that_may_be_a_fraction_causes_a_warning(study):
    with pytest.raises(UsageError, match=r"--seed-sd 80: test accuracy lies between 0 and 100 %.* at most 50 pp"):
        plan(study(), timing=False, seed_sd=80.0)
    (doubt,) = [each for each in plan(study(), timing=False, seed_sd=0.008).warnings if "--seed-sd" in each]
    assert doubt.endswith("if you mean a fraction of 1, give 0.8")
    assert not any("--seed-sd" in each for each in plan(study(), timing=False, seed_sd=0.8).warnings)
    plan(study({"measure": "loss", "delta": 0.1}), timing=False, seed_sd=80.0)


def test_a_spread_is_either_given_directly_or_taken_from_results(study, tmp_path):
    with pytest.raises(
        UsageError, match="--seed-sd: the spread is already taken from --results; give only one of the two options"
    ):
        plan(study(), timing=False, seed_sd=1.0, results=tmp_path)


def pilot(directory, accuracies, **options):
    arms = [FakeArm(name, name, accuracies=values) for name, values in accuracies.items()]
    seeds = list(range(len(arms[0].accuracies)))
    directory.mkdir()
    made = FakeStudy(arms, seeds, claim=None, what="squeeze", looks=[5, 8], procedure=2, **options)
    return write_study(directory, made, np.random.default_rng(0))


BASE = [0.2 + 0.01 * (place % 4) for place in range(8)]


def test_a_pilot_without_any_spread_is_refused(study, tmp_path):
    constant = pilot(tmp_path / "constant", {"baseline": BASE, "aim": [each + 0.05 for each in BASE]}, images=1000)
    with pytest.raises(UsageError, match="all its differences are equal; check that study, or give --seed-sd"):
        plan(study({"seeds": 5}), results=constant, timing=False)


def test_a_pilot_whose_verdict_is_withheld_or_whose_runs_failed_causes_a_warning(study, tmp_path):
    values = {"baseline": BASE, "aim": [each + 0.05 + 0.01 * (place % 3) for place, each in enumerate(BASE)]}
    status = {("baseline", seed): "chance" for seed in range(4)}
    found = plan(study({"seeds": 5}), results=pilot(tmp_path / "chance", values, status=status), timing=False)
    doubts = [warning for warning in found.warnings if warning.startswith("the spread comes from doubtful results: ")]
    assert "the baseline trained in only" in doubts[0]
    assert "baseline with seeds 0, 1, 2 and 3 did not train" in doubts[1]
    sound = plan(study({"seeds": 5}), results=pilot(tmp_path / "sound", values), timing=False)
    assert not any("to doubt" in warning for warning in sound.warnings)


def test_a_tiny_spread_has_a_chance_in_every_row_and_is_printed(study):
    found = plan(study({"seeds": 5}), seed_sd=1e-9, timing=False)
    assert (found.table["pairs_80"][found.table["effect"] > 0] == 5).all(), "no verdict has fewer pairs"
    assert found.by_look["shown"].notna().all()
    assert found.curves["power"].notna().all()
    text = printed(found)
    assert "nan" not in text
    assert "1e−09" in text


def test_a_tiny_smallest_effect_is_distinguished_from_no_effect(study):
    text = printed(plan(study({"seeds": 5, "delta_pp": 1e-6}), timing=False))
    rows = [line.split()[1] for line in text.splitlines() if line.strip().startswith("0.50 ")]
    assert rows[:4] == ["0.00", "0.000001", "0.000002", "0.000005"]


def printed(found):
    stream = io.StringIO()
    plan_tables.power(found, Console(file=stream, width=200), wide=True)
    return stream.getvalue()
