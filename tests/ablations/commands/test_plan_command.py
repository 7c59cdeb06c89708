"""`ablate plan`: power, seeds, cost, and warnings of studies that cannot reach a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from ablations.commands import plan_tables
from ablations.commands.plan import plan
from ablations.estimation.power import SEED_SDS
from ablations.sessions import launch
from aimlib.errors import UsageError
from analysis.figures import power


def test_it_is_told_what_a_study_can_find_out(study):
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
        (3, "3 seeds cannot give a verdict; the first look is after 5 pairs"),
        (7, "the verdict uses the first 5 and ignores the others"),
    ],
)
def test_numbers_of_seeds_that_waste_runs_are_warned_of(study, seeds, said):
    found = plan(study({"seeds": seeds}), timing=False)
    assert any(said in warning for warning in found.warnings)


def test_cost_is_that_of_the_mean_number_of_pairs(study):
    found = plan(study({"seeds": 5}), price=2.0)
    assert np.allclose(found.table["price"], 2 * found.table["device_hours"])
    hours = found.table["device_hours"] / found.table["pairs"]
    assert hours.max() == pytest.approx(hours.min())
    assert (hours > 0).all()


def test_the_spread_of_results_is_taken(study, tmp_path):
    out = tmp_path / "out"
    path = study({"seeds": 3})
    launch.run(path, out, executor="inline")
    found = plan(path, results=out, timing=False)
    assert found.seen > 0
    assert found.table["seed_sd"].unique() == pytest.approx([found.seen / np.sqrt(2)])


def test_what_cannot_be_planned_with_is_said(study, tmp_path):
    with pytest.raises(UsageError, match="cannot be negative"):
        plan(study(), price=-1.0)
    out = tmp_path / "out"
    path = study({"seeds": 1})
    launch.run(path, out, executor="inline")
    with pytest.raises(UsageError, match="has no spread to plan with"):
        plan(path, results=out, timing=False)


def test_power_curves_have_a_panel_per_spread(study, tmp_path):
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
