"""Costs and benefits of looks: chances by each look, and the price of looks at any time."""

from __future__ import annotations

import numpy as np
import pytest

from ablations.estimation import looks_power
from analysis.looks import Looks
from analysis.statistics.simulation import power_of, shown_by_look
from analysis.statistics.spread import Spread
from analysis.statistics.verdict import STOPPING

FIXED, ANY = Looks((5, 8, 12)), Looks.at_any_time()


def test_the_chance_by_each_look_never_decreases_and_starts_with_the_exact_power():
    rng, effect, spread = np.random.default_rng(4), 1.5, Spread(1.4)
    drawn = looks_power.drawn(rng, spread, effect, 12, 20_000)
    shares = shown_by_look(drawn, FIXED)
    assert list(shares) == sorted(shares)
    assert shares[0] == pytest.approx(power_of(effect, 1.4, 5, FIXED.levels[0]), abs=0.02)


def test_reading_at_any_time_costs_more_pairs_if_planned_looks_suffice():
    spreads = [(1.0, Spread(np.sqrt(2)))]
    found = looks_power.price_of_any(FIXED, 12, spreads, (0.0,), 1.0, 4.92).iloc[0]
    assert found["most"] == 12
    assert found["settled"] > found["any_settled"]
    assert found["any_most"] > 12
    assert found["any_pairs_at_equal_chance"] > found["pairs"]


def test_without_an_applicable_reported_gain_an_interval_above_0_ends_a_study():
    assert "positive, size open" in looks_power.ends(None)
    assert looks_power.ends(4.92) == STOPPING
    found = looks_power.by_look(FIXED, 12, [(0.5, Spread(0.7))], (5.0,), 1.0, None)
    assert found["settled"].iloc[0] == 1.0
    assert found["shown"].iloc[0] == pytest.approx(power_of(5.0, 0.7, 5, FIXED.levels[0]))


def test_planned_looks_are_compared_with_a_study_without_planned_looks():
    found = looks_power.price_of_any(ANY, 20, [(1.0, Spread(1.4))], (0.0,), 1.0, 4.92)
    assert found["most"].tolist() == [20]
    assert (found["any_settled"] <= found["settled"] + 0.1).all()
