"""Main effects and interactions are compared with closed forms, scipy and planted effects."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from aimlib.errors import UsageError
from analysis.statistics.effects import Layout, effects, half_width


def factorial(*levels: tuple[str, ...]) -> Layout:
    settings = {"/".join(setting): setting for setting in product(*levels)}
    return Layout(tuple("abcd"[: len(levels)]), settings, tuple(each[0] for each in levels))


def drawn(layout: Layout, seeds: int, rng: np.random.Generator, truth=lambda setting: 0.0, noise: float = 1.0):
    columns = {arm: truth(setting) + rng.normal(0, noise, seeds) for arm, setting in layout.settings.items()}
    return pd.DataFrame(columns).add(rng.normal(0, 5, seeds), axis="index")


def test_a_two_by_two_study_has_the_textbook_contrasts() -> None:
    layout = factorial(("off", "on"), ("low", "high"))
    values = drawn(layout, 6, np.random.default_rng(0), lambda s: 2.0 * (s[0] == "on") + 1.0 * (s == ("on", "high")))
    table = effects(values, layout, alpha=0.05).set_index(["kind", "factor"])
    v = values
    contrasts = {
        ("main", "a"): (v["on/low"] - v["off/low"] + v["on/high"] - v["off/high"]) / 2,
        ("main", "b"): (v["off/high"] - v["off/low"] + v["on/high"] - v["on/low"]) / 2,
        ("interaction", "a"): v["on/high"] - v["off/high"] - v["on/low"] + v["off/low"],
    }
    assert list(table.index) == list(contrasts)
    for key, contrast in contrasts.items():
        row = table.loc[key]
        expected = stats.ttest_1samp(contrast, 0)
        interval = expected.confidence_interval(1 - 0.05 / 3)
        np.testing.assert_allclose(
            [row["effect"], row["p"], row["lower"], row["upper"], row["effect_size"]],
            [contrast.mean(), expected.pvalue, *interval, contrast.mean() / contrast.std()],
        )
        assert row["p_adjusted"] == pytest.approx(min(1, 3 * expected.pvalue))
        assert (row["n"], row["left_out"], row["balanced"]) == (6, 0, True)


def test_each_further_level_has_a_row_that_compares_it_with_the_reference() -> None:
    layout = factorial(("1", "2", "3"), ("x", "y"), ("p", "q"))
    table = effects(drawn(layout, 3, np.random.default_rng(1)), layout)
    main = table[table["kind"] == "main"]
    assert list(zip(main["factor"], main["level"], main["reference"], main["contexts"], strict=True)) == [
        ("a", "2", "1", 4),
        ("a", "3", "1", 4),
        ("b", "y", "x", 6),
        ("c", "q", "p", 6),
    ]
    assert (table["kind"] == "interaction").sum() == 2 + 2 + 1
    assert set(table["alpha"]) == {0.05 / 9}
    assert table["balanced"].all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(-100, 100))
def test_an_effect_that_all_arms_of_a_seed_share_does_not_count(seed: int, shift: float) -> None:
    layout = factorial(("off", "on"), ("low", "mid", "high"))
    values = drawn(layout, 4, np.random.default_rng(seed))
    moved = values.add([shift, 0, -shift, 1], axis="index")
    columns = ["effect", "lower", "upper"]
    np.testing.assert_allclose(effects(moved, layout)[columns], effects(values, layout)[columns], atol=1e-9)


def test_a_design_with_one_factor_at_a_time_is_marked_as_unbalanced_and_has_no_interactions() -> None:
    settings = {"base": ("1", "x"), "a2": ("2", "x"), "a3": ("3", "x"), "by": ("1", "y")}
    layout = Layout(("a", "b"), settings, ("1", "x"))
    values = drawn(layout, 5, np.random.default_rng(2))
    table = effects(values, layout)
    assert list(table["kind"]) == ["main"] * 3
    assert not table["balanced"].any()
    assert set(table["contexts"]) == {1}
    np.testing.assert_allclose(table["effect"], [(values[arm] - values["base"]).mean() for arm in ("a2", "a3", "by")])


def test_a_seed_without_a_run_is_left_out_of_the_contrasts_that_need_that_run() -> None:
    layout = factorial(("off", "on"), ("x", "y", "z"))
    values = drawn(layout, 5, np.random.default_rng(3))
    values.loc[2, "on/z"] = np.nan
    table = effects(values, layout).set_index(["kind", "factor", "level", "other_level"])
    assert table.loc[("main", "a", "on", ""), ["n", "left_out", "balanced"]].tolist() == [4, 1, False]
    assert table.loc[("main", "b", "y", ""), ["n", "left_out", "balanced"]].tolist() == [5, 0, True]
    assert table.loc[("main", "b", "z", ""), "left_out"] == 1
    assert table.loc[("interaction", "a", "on", "y"), "left_out"] == 0


def test_with_one_seed_there_is_an_effect_but_no_interval() -> None:
    layout = factorial(("off", "on"))
    row = effects(drawn(layout, 1, np.random.default_rng(4)), layout).iloc[0]
    assert np.isfinite(row["effect"])
    assert np.isnan([row["lower"], row["upper"], row["p"], row["effect_size"]]).all()


@pytest.mark.parametrize(
    ("studies", "repetitions"),
    [(40, 150), pytest.param(400, 1500, marks=pytest.mark.slow)],  # many simulated studies, with a narrower band
)
def test_intervals_contain_the_planted_effects_at_the_stated_rate(studies: int, repetitions: int) -> None:
    """A 3 × 3 × 2 × 2 study with only two seeds, and a single contrast, for which the rate is exact."""
    rng = np.random.default_rng(5)
    layout = factorial(("1", "2", "3"), ("x", "y", "z"), ("p", "q"), ("u", "v"))
    gains = {"2": 1.0, "3": -2.0, "y": 0.5, "z": 0.0, "q": 3.0, "v": -1.0}

    def truth(setting):
        return sum(gains.get(level, 0.0) for level in setting) + 1.5 * (setting[0] == "3" and setting[2] == "q")

    one = effects(drawn(layout, 2, rng, truth, noise=0.0), layout)["effect"].to_numpy()
    main = {"2": 1.0, "3": -2.0 + 0.75, "y": 0.5, "z": 0.0, "q": 3.0 + 0.5, "v": -1.0}
    np.testing.assert_allclose(one[:6], list(main.values()), atol=1e-9)
    held = sum(
        bool(((table["lower"] <= one) & (one <= table["upper"])).all())
        for table in (effects(drawn(layout, 2, rng, truth), layout) for _ in range(studies))
    )
    assert held / studies >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / studies)

    single = factorial(("off", "on"), ("x", "y"))
    covered = 0
    for _ in range(repetitions):
        table = effects(drawn(single, 4, rng, lambda s: 2.0 * (s[0] == "on")), single, alpha=0.3)
        covered += bool(table["lower"].iloc[0] <= 2.0 <= table["upper"].iloc[0])
    assert abs(covered / repetitions - 0.9) < 4 * np.sqrt(0.9 * 0.1 / repetitions)


ARMS = [
    FakeArm("baseline", "baseline", 0.15),
    FakeArm("aim", "aim", 0.18, levels={"model.memory.channels": "4", "placement": "first"}),
    FakeArm("aim[8,first]", "other", 0.20, "aim", levels={"model.memory.channels": "8", "placement": "first"}),
    FakeArm("aim[4,all]", "other", 0.18, "aim", levels={"model.memory.channels": "4", "placement": "all"}),
    FakeArm("aim[8,all]", "other", 0.20, "aim", levels={"model.memory.channels": "8", "placement": "all"}),
]


def made(folder, **options):
    return analysis.load(write_study(folder, FakeStudy(ARMS, list(range(5)), **options), np.random.default_rng(0)))


def test_effects_in_a_study_are_in_percentage_points(tmp_path) -> None:
    results = made(tmp_path)
    table = results.effects().set_index(["kind", "factor"])
    assert list(table.index) == [
        ("main", "model.memory.channels"),
        ("main", "placement"),
        ("interaction", "model.memory.channels"),
    ]
    wide = 100 * results.runs.pivot(index="seed", columns="arm", values="test_accuracy")
    expected = (wide["aim[8,first]"] - wide["aim"] + wide["aim[8,all]"] - wide["aim[4,all]"]) / 2
    assert table.loc[("main", "model.memory.channels"), "effect"] == pytest.approx(expected.mean())
    assert set(table["value"]) == {"test_accuracy"}
    assert set(results.effects("seconds")["effect"]) == {0.0}


def test_before_the_verdict_test_images_are_not_used(tmp_path) -> None:
    results = made(tmp_path, status={("aim", 4): "missing"})
    assert set(results.effects()["value"]) == {"validation_accuracy"}
    assert set(results.effects("test_accuracy")["value"]) == {"test_accuracy"}


def test_a_combination_of_one_factor_has_the_levels_of_the_varied_arm_for_the_other_factors(tmp_path) -> None:
    arms = [
        FakeArm("baseline", "baseline", 0.15),
        FakeArm("aim", "aim", 0.18, config={"model": {"memory": {"name": "m", "channels": 4}}}),
        FakeArm("aim[channels=8]", "other", 0.2, "aim", levels={"model.memory.channels": "8"}),
        FakeArm("aim[flips=off]", "other", 0.2, "aim", levels={"flips": "off"}),
    ]
    directory = write_study(tmp_path, FakeStudy(arms, list(range(5))), np.random.default_rng(0))
    table = analysis.load(directory).effects()
    assert list(zip(table["factor"], table["level"], table["reference"], strict=True)) == [
        ("model.memory.channels", "8", "4"),
        ("flips", "off", "as in aim"),
    ]


def test_a_study_without_factors_and_columns_without_numbers_are_refused(tmp_path) -> None:
    results = made(tmp_path / "with")
    with pytest.raises(UsageError, match="not numbers"):
        results.effects("host")
    arms = [FakeArm("baseline", "baseline"), FakeArm("aim", "aim")]
    (tmp_path / "without").mkdir()
    directory = write_study(tmp_path / "without", FakeStudy(arms, [0, 1]), np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"has no factors; compare its arms with results\.compare"):
        analysis.load(directory).effects()


def test_test_accuracies_of_the_trials_of_a_search_are_never_shown(tmp_path) -> None:
    """All trials are settled before the confirmation begins."""
    study = FakeStudy(ARMS, [0, 1, 2], images=300)
    trials = analysis.load(write_study(tmp_path / "search" / "screening", study, np.random.default_rng(0)))
    assert set(trials.effects()["value"]) == {"validation_accuracy"}
    confirmed = analysis.load(write_study(tmp_path / "search" / "confirmation", study, np.random.default_rng(0)))
    assert set(confirmed.effects()["value"]) == {"test_accuracy"}


@pytest.mark.parametrize(("seeds", "number"), [(2, 1), (2, 6), (5, 3)])
def test_the_expected_half_width_matches_a_simultaneous_t_interval(seeds: int, number: int) -> None:
    quantile = stats.t.ppf(1 - 0.05 / (2 * number), seeds - 1)
    assert half_width(0.5, 2.0, seeds, number) == pytest.approx(quantile * 0.5 * 2.0 / seeds**0.5)
    assert half_width(0.5, 2.0, seeds, 0) == half_width(0.5, 2.0, seeds, 1)


def test_one_seed_gives_no_interval() -> None:
    assert half_width(0.5, 2.0, 1, 3) == float("inf")
