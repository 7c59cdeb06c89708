"""Error spending across looks: published critical values, simulations with few pairs, p-values, and storage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic_study import FakeArm

import analysis
from analysis.looks import SPENDINGS, Looks, looks_from, spending_of
from analysis.looks.sequential import constant, error_of, overall_error
from analysis.looks.spending import levels
from analysis.plan import read_plan

MANY = 400
"""Number of pairs at the first of equally spaced looks; large enough for nearly normal t statistics."""
PUBLISHED = {  # Jennison and Turnbull (2000), tables 2.1 and 2.3; Lan and DeMets (1983); two-sided .05
    ("constant", 2): (2.178, 2.178),
    ("constant", 3): (2.289, 2.289, 2.289),
    ("constant", 4): (2.361, 2.361, 2.361, 2.361),
    ("constant", 5): (2.413, 2.413, 2.413, 2.413, 2.413),
    ("obrien_fleming", 2): (2.797, 1.977),
    ("obrien_fleming", 3): (3.471, 2.454, 2.004),
    ("obrien_fleming", 4): (4.049, 2.863, 2.337, 2.024),
    ("obrien_fleming", 5): (4.562, 3.226, 2.634, 2.281, 2.040),
    ("lan_demets_obrien_fleming", 5): (4.877, 3.357, 2.680, 2.290, 2.031),
    ("lan_demets_pocock", 5): (2.438, 2.427, 2.410, 2.397, 2.386),
}
FAST = [key for key in PUBLISHED if key[1] <= 3]


def equal_looks(count: int, first: int = MANY) -> tuple[int, ...]:
    return tuple(first * (place + 1) for place in range(count))


def critical(looks: tuple[int, ...], spending: str) -> np.ndarray:
    return stats.norm.isf(np.array(levels(looks, 0.05, spending)) / 2)


@pytest.mark.parametrize(("spending", "count"), FAST)
def test_for_many_pairs_the_critical_values_equal_the_published_values(spending, count):
    found = critical(equal_looks(count, 250), spending)
    np.testing.assert_allclose(found, PUBLISHED[spending, count], atol=1.1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("spending", "count"), [key for key in PUBLISHED if key not in FAST])
def test_for_many_pairs_and_looks_the_critical_values_equal_the_published_values(spending, count):
    found = critical(equal_looks(count), spending)
    np.testing.assert_allclose(found, PUBLISHED[spending, count], atol=1.1e-3)


@pytest.mark.parametrize("spending", ["lan_demets_obrien_fleming", "lan_demets_pocock"])
def test_for_five_looks_with_sixty_pairs_the_critical_values_are_close_to_the_published_values(spending):
    found = critical(equal_looks(5, 60), spending)
    np.testing.assert_allclose(found, PUBLISHED[spending, 5], atol=4e-3)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("looks", [(5, 8, 12), (5, 6, 7, 20), (3, 4, 9)])
def test_for_few_pairs_an_independent_simulation_confirms_the_error_rate(spending, looks):
    rng, studies = np.random.default_rng(2), 200_000
    draws = rng.standard_normal((studies, looks[-1]))
    rejected = np.zeros(studies, dtype=bool)
    for n, level in zip(looks, levels(looks, 0.05, spending), strict=True):
        part = draws[:, :n]
        t = np.abs(part.mean(axis=1)) * np.sqrt(n) / part.std(axis=1, ddof=1)
        rejected |= t >= stats.t.isf(level / 2, n - 1)
    assert rejected.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / studies))


@pytest.mark.parametrize("spending", ["lan_demets_pocock", "lan_demets_obrien_fleming"])
def test_the_error_spent_at_each_look_follows_the_spending_function(spending):
    looks, alpha = (6, 9, 14, 20), 0.05
    found = levels(looks, alpha, spending)
    for count in range(1, 5):
        share = looks[count - 1] / looks[-1]
        if spending == "lan_demets_pocock":
            spent = alpha * np.log(1 + (np.e - 1) * share)
        else:
            spent = 2 * (2 - 2 * stats.norm.cdf(stats.norm.isf(alpha / 4) / np.sqrt(share)))
        assert error_of(looks[:count], found[:count]) == pytest.approx(spent, abs=1e-8)


def test_obrien_fleming_spends_little_error_early_and_nearly_all_at_the_end():
    for spending in ("obrien_fleming", "lan_demets_obrien_fleming"):
        found = levels((5, 8, 12), 0.05, spending)
        assert found[0] < 0.002 < found[1] < 0.02 < 0.042 < found[2] < 0.05


@settings(deadline=None, max_examples=8)
@given(
    st.lists(st.integers(5, 40), min_size=2, max_size=4, unique=True).map(sorted),
    st.floats(0.001, 0.2),
    st.sampled_from(SPENDINGS[1:]),
)
def test_levels_use_up_the_entire_error_and_can_be_inverted(looks, alpha, spending):
    found = levels(looks, alpha, spending)
    assert error_of(looks, found) == pytest.approx(alpha, rel=1e-3)
    assert all(0 <= level <= alpha + 1e-12 for level in found)
    last = Looks(tuple(looks), alpha, spending=spending)
    p_values = [1.0] * (len(looks) - 1) + [found[-1]]
    assert last.p_value(p_values) == pytest.approx(alpha, rel=5e-3)


def test_the_default_is_the_single_level_that_earlier_versions_froze():
    assert levels((5, 8, 12), 0.05, "constant") == (constant((5, 8, 12)),) * 3
    assert Looks((5, 8, 12)).levels == (constant((5, 8, 12)),) * 3
    # The last bits depend on the CPU, but whether a study deviates from its frozen plan does not.
    assert Looks((5, 8, 12)).levels[0] == pytest.approx(0.021300251394436455, rel=1e-13)
    assert error_of((5, 8, 12), (0.02,) * 3) == overall_error((5, 8, 12), 0.02)


@pytest.mark.parametrize("spending", SPENDINGS[1:])
def test_a_sequence_of_p_values_rejects_exactly_when_a_look_does(spending):
    looks = Looks((5, 8, 12), spending=spending)
    for place in range(3):
        p_values = [0.9] * (place + 1)
        p_values[place] = looks.levels[place] * 0.99
        assert looks.p_value(p_values) < 0.05, place
        p_values[place] = looks.levels[place] * 1.01
        assert looks.p_value(p_values) > 0.05, place
    assert np.isnan(looks.p_value([np.nan]))
    assert 0 <= looks.p_value([1e-250]) < 1e-4
    assert looks.p_value([0.999]) <= 1.0
    rising = [looks.p_value([0.9, p]) for p in (1e-12, 1e-8, 1e-5, 1e-3, 0.01, 0.1, 0.4, 0.8)]
    assert rising == sorted(rising)


@pytest.mark.parametrize("spending", SPENDINGS[1:])
def test_half_of_alpha_is_reserved_for_a_further_block(spending):
    looks = Looks((5, 8), further_block=10, spending=spending)
    assert looks.levels == (*levels((5, 8), 0.025, spending), 0.025)
    assert looks.levels_of([0.01, 0.05]) == {alpha: looks.levels_at(alpha) for alpha in (0.01, 0.05)}


def test_a_single_look_has_the_entire_error_in_every_design():
    for spending in SPENDINGS:
        looks = Looks((7,), spending=spending)
        assert looks.levels == (0.05,)
        assert looks.p_value([0.03]) == pytest.approx(0.03)


def test_designs_are_found_by_name():
    assert spending_of("pocock") == "constant"
    assert Looks((5, 8), spending="pocock") == Looks((5, 8))
    for wrong in ("obrien_flemming", "", None, 3):
        with pytest.raises(ValueError, match="give one of constant, obrien_fleming"):
            spending_of(wrong)
    with pytest.raises(ValueError, match="perhaps obrien_fleming"):
        spending_of("obrien_flemming")


def test_only_a_different_design_is_stored_and_older_versions_refuse_it():
    assert Looks((5, 8)).stored == [5, 8]
    looks = Looks((5, 8), spending="obrien_fleming")
    assert looks.stored == {"pairs": [5, 8], "spending": "obrien_fleming"}
    assert looks_from(looks.stored) == looks
    for wrong in (
        None,
        "any",
        {"pairs": [5]},
        {"any": 3},
        {"any": {}},
        [5, "8"],
        [5, 8.0],
        {"pairs": 5, "spending": "x"},
    ):
        with pytest.raises(ValueError, match="looks must be"):
            looks_from(wrong)


def test_there_must_be_as_many_levels_as_looks():
    with pytest.raises(ValueError, match="a level for each of the 2 looks"):
        error_of((5, 8), (0.01,))


def differing(differences: list[float]) -> list[FakeArm]:
    base = [0.150, 0.152, 0.149, 0.151, 0.150, 0.151, 0.149, 0.152][: len(differences)]
    aim = [low + difference / 100 for low, difference in zip(base, differences, strict=True)]
    return [FakeArm("baseline", "baseline", accuracies=base), FakeArm("aim", "aim", accuracies=aim)]


def test_every_look_is_read_at_its_own_level(make_study, undrawn, tmp_path):
    looks = {"pairs": [5, 8], "spending": "obrien_fleming"}
    directory = make_study(differing([0, 9, 1, 8, 5, 5, 5, 5]), seeds=8, images=2000, looks=looks)
    assert read_plan(directory).looks == Looks((5, 8), spending="obrien_fleming")
    findings = analysis.examine(analysis.load(directory))
    primary = findings.primary
    assert tuple(look.interval.alpha for look in primary.looks) == levels((5, 8), 0.05, "obrien_fleming")
    assert findings.deviations == ()
    out = tmp_path / "report"
    analysis.report(directory, out)
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "O’Brien and Fleming, 1979" in text
    assert "Pocock, 1977" not in text
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert document["spending"] == "obrien_fleming"
    assert document["looks"] == [5, 8]
    assert document["levels"] == list(levels((5, 8), 0.05, "obrien_fleming"))


def test_a_different_design_after_the_freeze_makes_a_study_exploratory(make_study):
    directory = make_study(differing([5.0] * 4 + [5.1] * 4), seeds=8, images=2000, looks=[5, 8])
    path = directory / "study.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    changed = document | {"looks": {"pairs": [5, 8], "spending": "lan_demets_pocock"}}
    path.write_text(json.dumps(changed), encoding="utf-8")
    found = analysis.examine(analysis.load(directory)).deviations
    assert [deviation.text for deviation in found] == [
        "looks is {'pairs': [5, 8], 'spending': 'lan_demets_pocock'} but was frozen as [5, 8]"
    ]
    assert found[0].arms is None
