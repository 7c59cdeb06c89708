"""Calibration of collapses and of seeds that are not normal: limits hold, and wrong constants are detected."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.calibration import skew
from analysis.statistics import collapse

STUDIES = 3000


@pytest.fixture
def rng():
    return np.random.default_rng(20210301)


def faults(rng):
    return {rate.name.split(",")[0] for rate in skew.collapses(rng, 1000).rates if not rate.holds}


def test_detection_and_false_cautions_are_within_their_limits(rng):
    table = skew.collapses(rng, STUDIES)
    assert [rate for rate in table.rates if not rate.holds] == []
    assert {row[:2] for row in table.rows} == {
        (str(pairs), f"{sd:g}") for pairs in (5, 8, 12) for sd in (0.5, 0.8, 1.0, 1.5, 2.0)
    }
    held = [rate for rate in table.rates if rate.low == 0.95]
    assert len(held) == 5 * 9 + 6, "three failures from 8 pairs on"
    assert len(table.rates) - len(held) == 5 * 9


def test_a_wrong_constant_is_detected(rng, monkeypatch):
    monkeypatch.setattr(collapse, "LEAST_DROP", 15.0)
    assert "runs marked: collapse of one" in faults(rng)
    monkeypatch.setattr(collapse, "LEAST_DROP", 1.0)
    monkeypatch.setattr(collapse, "constant", lambda kind, rank, pairs: 3.0)
    assert {"runs marked: normal", "runs marked: ceiling", "runs marked: tied"} <= faults(rng)


def test_poor_rates_are_shown_unchanged(rng):
    table = skew.not_normal(rng, STUDIES)
    found = {row[0]: dict(zip(table.columns[1:], row[1:], strict=True)) for row in table.rows}
    assert table.rates == ()
    some = {name: float(row["any look excludes 0"]) for name, row in found.items()}
    assert some["normal, SD of runs 1"] == pytest.approx(0.05, abs=0.016)
    assert some["lognormal(1)"] == pytest.approx(0.22, abs=0.03), "simulated elsewhere"
    assert some["exponential"] == pytest.approx(0.14, abs=0.03), "simulated elsewhere"
    often = found["10 % of the treatment’s runs lose 14 pp, SD 0.1"]
    assert float(often["“real” or “holds”"]) > 0.5
    assert float(often["false, with a collapse"]) == 0, "no rule can tell"
    assert "When not to trust a verdict" in table.note


def test_false_real_verdicts_of_collapsing_seeds_come_from_studies_without_a_collapse(rng):
    treated, control = skew._SCENARIOS["10 % of the treatment’s runs lose 14 pp, SD 0.25"](rng, STUDIES)
    found = skew._read(treated, control)
    fallen = [(run[:pairs] < -5).any() for run, pairs in zip(treated, found.ends.pairs, strict=True)]
    real = np.isin(found.ends.kinds, skew._REAL)
    assert real.sum() > 500
    assert not np.any(real & fallen)


def test_every_scenario_has_a_mean_of_0(rng):
    for name, draw in skew._SCENARIOS.items():
        treated, control = draw(rng, 20_000)
        error = (treated - control).std() / np.sqrt(treated.size)
        assert abs((treated - control).mean()) < 5 * error, name
