"""Aliases in fractional and unbalanced designs are reported and estimated as sums."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.figures import heatmap, interaction, marginal_means
from analysis.report.sweep_figures import sweep_figures
from analysis.report.sweeps import answers, sweep
from analysis.statistics.effects import Layout, alias_words, effects, estimable, half_width

LEVELS = ("low", "high")


def half(number: int) -> Layout:
    """The half fraction in which the last factor is the exclusive or of the others."""
    settings = {}
    for chosen in product((0, 1), repeat=number - 1):
        whole = (*chosen, sum(chosen) % 2)
        settings["".join(map(str, whole))] = tuple(LEVELS[at] for at in whole)
    return Layout(tuple("abcdefg"[:number]), settings, ("low",) * number)


def values(layout: Layout, gains: dict[str, float]) -> pd.DataFrame:
    """Return two seeds without noise, with effects by the letters of their factors, in the units of `effects`."""

    def truth(setting: tuple[str, ...]) -> float:
        sign = {name: 1 if level == "high" else -1 for name, level in zip(layout.factors, setting, strict=True)}
        return sum(gain * np.prod([sign[name] for name in names]) / 2 ** len(names) for names, gain in gains.items())

    return pd.DataFrame({arm: [truth(setting), truth(setting) + 5] for arm, setting in layout.settings.items()})


def table(layout: Layout, gains: dict[str, float]) -> dict[str, tuple[float, str]]:
    found = effects(values(layout, gains), layout)
    names = found["factor"] + found["other"]
    return dict(zip(names, zip(found["effect"].round(9), found["aliased"], strict=True), strict=True))


def test_resolution_four_gives_main_effects_and_sums_of_interactions() -> None:
    found = table(half(4), {"a": 2.0, "d": -1.0, "ab": 3.0, "cd": 0.5, "bc": 1.0})
    assert [found[name] for name in "abcd"] == [(2.0, ""), (0.0, ""), (0.0, ""), (-1.0, "")]
    assert set(found) == {"a", "b", "c", "d", "ab", "ac", "ad"}
    assert found["ab"][1] == "c × d"
    assert found["ac"] == (0.0, "b × d")
    assert abs(found["ab"][0]) in (3.5, 2.5)
    assert found["ad"][1] == "b × c"


def test_with_resolution_three_a_main_effect_lists_its_interaction_and_has_one_row() -> None:
    found = table(half(3), {"a": 2.0, "bc": 4.0})
    assert set(found) == {"a", "b", "c"}
    assert {name: alias for name, (_, alias) in found.items()} == {"a": "b × c", "b": "a × c", "c": "a × b"}
    assert abs(found["a"][0]) in (4.0, 0.0), "a, plus or minus half of the interaction"


def test_with_resolution_five_all_effects_are_clear() -> None:
    found = table(half(5), {"a": 2.0, "e": 1.0, "bd": -3.0, "ae": 0.5})
    assert len(found) == 5 + 10
    assert not any(alias for _, alias in found.values())
    assert {name: effect for name, (effect, _) in found.items() if effect} == {
        "a": 2.0,
        "e": 1.0,
        "bd": -3.0,
        "ae": 0.5,
    }


def test_effects_of_varying_one_factor_at_a_time_are_mixed_with_interactions_of_that_factor() -> None:
    layout = Layout(("a", "b"), {"base": ("x", "p"), "a": ("y", "p"), "b": ("x", "q")}, ("x", "p"))
    assert estimable(layout)["aliased"].tolist() == ["a × b", "a × b"]


def test_a_full_factorial_with_three_levels_has_no_aliases() -> None:
    settings = {"/".join(s): s for s in product("xyz", "pq", "uv")}
    assert set(estimable(Layout(("a", "b", "c"), settings, ("x", "p", "u")))["aliased"]) == {""}


def test_two_factors_that_always_change_together_are_aliases() -> None:
    layout = Layout(("a", "b"), {"one": ("x", "p"), "two": ("y", "q")}, ("x", "p"))
    found = effects(pd.DataFrame({"one": [0.0, 1.0], "two": [2.0, 3.0]}), layout)
    assert found["effect"].tolist() == pytest.approx([2.0, 2.0])
    assert found["aliased"].tolist() == ["b", "a"]


def test_the_half_width_matches_simulated_intervals() -> None:
    layout = half(4)
    known = estimable(layout)
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(200):
        found = effects(pd.DataFrame({arm: rng.normal(0, 2, 6) for arm in layout.settings}), layout)
        widths.append(((found["upper"] - found["lower"]) / 2).to_numpy() ** 2)
    expected = [half_width(norm, 2.0, 6, len(known)) for norm in known["norm"]]
    assert np.sqrt(np.mean(widths, axis=0)) == pytest.approx(expected, rel=0.1)


def test_a_varied_arm_outside_a_fraction_is_not_part_of_the_design(tmp_path: Path) -> None:
    """The arm differs from four of the combinations in one factor. These pairs must not replace the fraction."""
    factors = ("a", "b", "c", "d")
    settings = [(a, b, c, a ^ b ^ c) for a, b, c in product((0, 1), repeat=3)]
    gains = (0.02, -0.01, 0.0, 0.03)
    arms = [FakeArm("baseline", "baseline", accuracies=[0.1, 0.2])]
    arms.append(FakeArm("aim", "treatment", accuracies=[0.9, 0.8], config=dict(zip(factors, "0010", strict=True))))
    for setting in settings:
        value = 0.3 + sum(gain for gain, at in zip(gains, setting, strict=True) if at) + 0.04 * setting[0] * setting[1]
        levels = dict(zip(factors, map(str, setting), strict=True))
        config = dict(levels)
        arms.append(FakeArm("".join(levels.values()), "other", of="aim", levels=levels, config=config))
        arms[-1].accuracies = [value, value + 0.1]
    study = FakeStudy(arms, [0, 1], images=1000)
    results = analysis.load(write_study(tmp_path / "study", study, np.random.default_rng(0)))
    table = results.effects()
    main = table[table["kind"] == "main"].set_index("factor")
    signs = {"a": 1, "b": 1, "c": -1, "d": 1}  # the reference is the varied arm's level
    expected = {"a": 2.0 + 2.0, "b": -1.0 + 2.0, "c": 0.0, "d": 3.0}
    assert dict(zip(main.index, main["reference"], strict=True)) == dict(zip(factors, "0010", strict=True))
    for factor, value in expected.items():
        assert main.loc[factor, "effect"] == pytest.approx(signs[factor] * value, abs=0.05), factor
    assert (main["aliased"] == "").all()
    pairs = table[table["kind"] == "interaction"]
    assert list(pairs["aliased"]) == ["c × d", "b × d", "b × c"]


@st.composite
def fractions(draw: st.DrawFn) -> Layout:
    """A fraction of a two-level factorial in which each generated factor is the exclusive or of some of the others."""
    free = draw(st.integers(2, 4))
    groups = [group for size in range(2, free + 1) for group in combinations(range(free), size)]
    generators = draw(st.lists(st.sampled_from(groups), min_size=1, max_size=2, unique=True))
    settings = {}
    for chosen in product((0, 1), repeat=free):
        whole = (*chosen, *(sum(chosen[at] for at in group) % 2 for group in generators))
        settings["".join(map(str, whole))] = tuple(LEVELS[at] for at in whole)
    number = free + len(generators)
    return Layout(tuple("abcdefg"[:number]), settings, ("low",) * number)


@settings(max_examples=60, deadline=None)
@given(fractions(), st.data())
def test_an_estimate_in_any_fraction_is_the_sum_of_the_effect_and_its_aliases(layout: Layout, data: Any) -> None:
    pairs = ["".join(pair) for pair in combinations(layout.factors, 2)]
    gains = {name: data.draw(st.integers(-9, 9), label=name) for name in (*layout.factors, *pairs)}
    found = effects(values(layout, dict(gains)), layout)
    assert len(found), "the fraction is informative"
    for row in found.itertuples():
        own = gains[row.factor + row.other]
        share = 1.0 if row.other else 0.5  # a main effect is a mean over both levels of the other factors
        others = [share * gains.get(name.replace(" × ", ""), 0) for name in row.aliased.split(", ")]
        sums = {own + sum(signs) for signs in product(*((gain, -gain) for gain in others))}
        assert any(abs(row.effect - total) < 1e-9 for total in sums), (row.factor, row.other, row.aliased, gains)


@pytest.mark.parametrize("studies", [60, pytest.param(1000, marks=pytest.mark.slow)])  # with a narrower band
def test_intervals_of_a_half_fraction_contain_the_planted_effects_at_the_stated_rate(studies: int) -> None:
    layout, rng = half(4), np.random.default_rng(11)
    planted = values(layout, {"a": 2.0, "b": -0.5, "d": 1.0, "ab": 3.0, "cd": 0.5})
    truth = effects(planted, layout)["effect"].to_numpy()
    held = single = 0
    for _ in range(studies):
        noise = rng.normal(0, 1, (3, len(planted.columns)))
        drawn = pd.DataFrame(planted.iloc[[0, 0, 0]].to_numpy() + noise, columns=planted.columns)
        table = effects(drawn, layout, alpha=0.3)
        inside = (table["lower"].to_numpy() <= truth) & (truth <= table["upper"].to_numpy())
        held, single = held + bool(inside.all()), single + int(inside.sum())
    rows = studies * len(truth)
    assert held / studies >= 0.7 - 4 * np.sqrt(0.7 * 0.3 / studies), "all together"
    each = 1 - 0.3 / len(truth)
    assert abs(single / rows - each) < 4 * np.sqrt(each * (1 - each) / rows), "each at its own level"


def factorial(directory: Path, *, whole: bool) -> analysis.Results:
    """Three factors, of which only a × b has an effect; unless `whole`, c is high if exactly one of a and b is high."""
    rng, arms = np.random.default_rng(14), []
    for a, b, c in product((0, 1), repeat=3):
        if whole or c == a ^ b:
            role = {(0, 0, 0): "baseline", (1, 1, 0): "aim"}.get((a, b, c), "other")
            reached = [0.5 + 0.04 * (a ^ b) + 0.003 * each for each in rng.standard_normal(6)]
            names = {"a": LEVELS[a], "b": LEVELS[b], "c": LEVELS[c]}
            arms.append(FakeArm(f"m{a}{b}{c}", role, accuracies=reached, levels=names))
    study = FakeStudy(arms, list(range(6)), looks=[5, 6], claim=None, what="squeeze", procedure=2, images=4000)
    return analysis.load(write_study(directory, study, rng))


def first_screen(results: analysis.Results) -> str:
    return " ".join(sentence for _, sentence in answers(sweep(analysis.examine(results))))


def captions(results: analysis.Results) -> list[str]:
    findings = analysis.examine(results)
    return [figure.caption for figure in sweep_figures(findings, sweep(findings))]


def test_the_first_screen_and_the_captions_list_the_aliases_of_an_effect(tmp_path: Path) -> None:
    results = factorial(tmp_path / "half", whole=False)
    assert "effect is that of c, which this design cannot distinguish from a × b: high instead" in first_screen(results)
    means, pair = captions(results)
    assert means.endswith(" This design cannot distinguish a from b × c; b from a × c; c from a × b.")
    assert pair.endswith((" distinguish a × b from c.", " distinguish a × c from b.", " distinguish b × c from a."))
    for drawn in (marginal_means(results), interaction(results, "b", "a"), heatmap(results, "a", "b")):
        assert "This design cannot distinguish" in " ".join(text.get_text() for text in drawn.texts).replace("\n", " ")


def test_a_full_factorial_does_not_mention_aliases(tmp_path: Path) -> None:
    results = factorial(tmp_path / "whole", whole=True)
    assert not any("distinguish" in text for text in (first_screen(results), *captions(results)))


def test_a_sentence_lists_the_first_three_of_many_aliases() -> None:
    assert alias_words("a × b") == "a × b"
    assert alias_words("a, b, c, d") == "a, b, c and d"
    assert alias_words("a, b, c, d, e") == "a, b, c and 2 further effects"
