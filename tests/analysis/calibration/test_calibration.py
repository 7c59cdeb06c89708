"""A reduced calibration: all rates are within their bands, and a wrong constant is detected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.calibration import DELTA, LOOKS, REPORTED, Rate, calibrate, main, page
from analysis.statistics.simulation import normal_studies, pairs_for_power, power_of, simulate
from analysis.statistics.verdict import READ, decide, rows

END_TO_END = {  # seed SD, true Δ: rates of `READ` and mean n, from an independent simulation of 40,000 studies
    (0.25, 0.5): (0, 0, 0, 0.298, 0.681, 0, 0, 0.021, 0, 0, 7.3),
    (0.25, 0.8): (0, 0, 0, 0.008, 0.327, 0, 0.001, 0.665, 0, 0, 11.0),
    (0.25, -0.5): (0, 0.422, 0.010, 0.567, 0, 0, 0, 0, 0, 0, 5.9),
    (0.5, 0): (0, 0.006, 0, 0.963, 0.010, 0, 0, 0.003, 0, 0.018, 7.4),
    (0.5, -0.5): (0, 0.029, 0.057, 0.913, 0, 0, 0, 0, 0, 0, 6.3),
    (1, 0): (0, 0, 0.001, 0.484, 0.001, 0, 0, 0.010, 0, 0.503, 10.6),
    (1, 1): (0, 0, 0, 0.024, 0, 0, 0.026, 0.417, 0, 0.533, 11.8),
    (1, 2.46): (0, 0, 0, 0, 0, 0.005, 0.816, 0.177, 0.001, 0.001, 9.4),
    (0.5, 2.46): (0, 0, 0, 0, 0, 0, 1.0, 0, 0, 0, 5.7),
    (1, 4.92): (0, 0, 0, 0, 0, 0.983, 0.015, 0, 0.001, 0, 6.3),
    (1.5, 4.92): (0, 0, 0, 0, 0, 0.890, 0.019, 0, 0.091, 0, 8.4),
    (1, -1): (0.022, 0.001, 0.085, 0.871, 0, 0, 0, 0, 0, 0.021, 8.1),
    (1, -2): (0.361, 0, 0.154, 0.485, 0, 0, 0, 0, 0, 0, 7.6),
    (0.5, -2): (0.945, 0, 0.013, 0.042, 0, 0, 0, 0, 0, 0, 7.0),
}


@pytest.fixture(scope="module")
def tables():
    return calibrate(4000)


def test_all_rates_are_within_their_bands(tables):
    assert [rate for table in tables for rate in table.rates if not rate.holds] == []
    assert sum(len(table.rates) for table in tables) > 40


@pytest.mark.parametrize("levels", [(0.05, 0.05, 0.05), (0.005, 0.005, 0.005)], ids=["uncorrected", "too strict"])
def test_a_wrong_constant_is_detected(levels):
    faults = [rate.name for table in calibrate(400, levels) for rate in table.rates if not rate.holds]
    assert "any look rejects a true null hypothesis" in faults


def test_the_page_shows_failures_and_the_command_fails(monkeypatch, tmp_path, capsys):
    from analysis import calibration

    fault = calibration.Table("A", "note", ("x",), (("1",),), (Rate("off", 0.2, 10_000, 0.05, 0.05),))
    monkeypatch.setattr(calibration, "calibrate", lambda repetitions: [fault])
    path = tmp_path / "page.md"
    assert main([str(path), "50"]) == 1
    assert "out of band: off" in capsys.readouterr().out
    assert "| off | 0.2000 | 0.0040 | 0.05 to 0.05 | **no** |" in path.read_text(encoding="utf-8")
    assert "## Rates and their bands" in page([fault], 50)


@pytest.mark.parametrize(("scenario", "expected"), END_TO_END.items())
def test_verdicts_occur_as_often_as_in_an_independent_simulation(scenario, expected):
    seed_sd, true = scenario
    studies = 10_000
    drawn = normal_studies(np.random.default_rng(7), studies, LOOKS, true, np.sqrt(2) * seed_sd)
    found = simulate(drawn, LOOKS, DELTA, REPORTED)
    for kind, rate in zip(READ, expected[:-1], strict=True):
        error = np.sqrt(max(rate * (1 - rate), 1e-4) * (1 / studies + 1 / 40_000))
        assert found.rate(kind) == pytest.approx(rate, abs=4 * error + 0.0006), kind
    assert found.pairs.mean() == pytest.approx(expected[-1], abs=0.12)


def test_procedure_1_has_no_margin_for_harm():
    drawn = normal_studies(np.random.default_rng(7), 10_000, LOOKS, -2, np.sqrt(2))
    found = simulate(drawn, LOOKS, DELTA, REPORTED, procedure=1)
    assert found.rate("harmful") == pytest.approx(0.528, abs=0.02)
    assert found.rate("no material gain") == pytest.approx(0.472, abs=0.02)
    assert found.rate("trivially lower", "negative, materiality open") == 0


@settings(max_examples=200, deadline=None)
@given(st.floats(-8, 8), st.floats(0.01, 9), st.sampled_from([None, 4.92]))
def test_the_vectorized_verdict_table_equals_the_verdict_table(middle, half, reported):
    low, high = middle - half, middle + half
    assert decide(low, high, 1.0, 8, 1.0, reported).kind == str(rows(low, high, 1.0, reported))


def test_simulated_studies_stop_where_the_analysis_would():
    rng = np.random.default_rng(3)
    drawn = normal_studies(rng, 40, LOOKS, 2.0, 1.2)
    found = simulate(drawn, LOOKS, DELTA, REPORTED)
    from analysis.statistics import t_interval

    for x, kind, pairs in zip(drawn, found.kinds, found.pairs, strict=True):
        for number, level in zip(LOOKS.numbers, LOOKS.levels, strict=True):
            i = t_interval(x[:number], level)
            verdict = decide(i.lower, i.upper, i.sd, i.n, DELTA, REPORTED)
            if verdict.stops:
                break
        assert (verdict.kind, number) == (kind, pairs)


def test_power_matches_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power").TTestPower()
    for effect, sd, n, alpha in ((1.0, 1.4, 8, 0.05), (2.46, 2.1, 5, 0.0214), (0.2, 1.0, 30, 0.05)):
        assert power_of(effect, sd, n, alpha) == pytest.approx(power.power(effect / sd, n, alpha), rel=1e-6)
    assert pairs_for_power(4.92, 2.5 * np.sqrt(2)) == 7
    assert pairs_for_power(1.0, np.sqrt(2), LOOKS.levels[0]) == 23
    assert pairs_for_power(0.001, 10.0) is None
