"""What `ablate check` says about a design before any run."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from ablations.estimation import design
from ablations.planning import plan as planning
from ablations.spec.study import read_study
from analysis.statistics.variance_sources import ratio_interval, uncorrelated_ratio
from analysis.wording.number_format import significant


def sentences(*overrides: str) -> list[str]:
    file = read_study("variance_small", overrides)
    return list(design.sentences(planning.plan(file)))


def test_the_note_on_variance_states_what_varies_and_how_well_the_seeds_determine_it() -> None:
    what, how_well = sentences("seeds=10")
    assert "baseline and aim each have an additional arm for split, init, order and augmentation" in what
    assert "seed 1000000 fixes the others" in what
    low, high = (math.sqrt(9 / stats.chi2.ppf(q, 9)) for q in (0.975, 0.025))
    assert (
        f"with 10 seeds, the 95 % interval of a standard deviation is {significant(low)} to {significant(high)}"
        in how_well
    )


def test_the_note_on_variance_lists_the_chosen_sources_of_the_chosen_arm() -> None:
    what = sentences("sources=[init, noise]", "vary=aim", "fixed_seed=77")[0]
    assert what == (
        "variance: aim has an additional arm for init and noise, which varies only that source; seed 77 fixes the "
        "others"
    )


def test_a_single_seed_shows_no_variation() -> None:
    assert "plan at least 2" in sentences("seeds=1")[-1]


@pytest.mark.parametrize("n", [3, 12, 40])
def test_a_share_is_at_most_as_uncertain_as_stated(n: int) -> None:
    """Two series that are uncorrelated in the sample have the widest interval."""
    rows = range(n)
    x = [(-1.0) ** row for row in rows]
    y = [math.cos(2 * math.pi * row / n) for row in rows]
    low, high = uncorrelated_ratio(n)
    assert low * high == pytest.approx(1)
    found = ratio_interval(x, y)
    assert math.sqrt(found[1] / found[0]) <= high * (1 + 1e-9)
    if n % 2 == 0:  # then the two series are orthogonal
        assert math.sqrt(found[1] / found[0]) == pytest.approx(high)
