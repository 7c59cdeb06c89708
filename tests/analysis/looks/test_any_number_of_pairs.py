"""Studies in which a verdict is allowed after any number of pairs: intervals, verdicts, reports, freezing, and
p-values.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.looks import Looks, anytime, looks_from
from analysis.statistics.comparison import UNBOUNDED
from analysis.statistics.interval import t_interval

WIDTH = 1.25
ANY = {"any": {"mixture_width": WIDTH}}
BASE = [0.150, 0.152, 0.149, 0.151, 0.150, 0.151, 0.149, 0.152, 0.150, 0.151]


def two_arms(differences: list[float]) -> list[FakeArm]:
    aim = [base + difference / 100 for base, difference in zip(BASE, differences, strict=False)]
    return [
        FakeArm("baseline", "baseline", accuracies=BASE[: len(differences)]),
        FakeArm("aim", "aim", accuracies=aim),
    ]


def examine(directory):
    return analysis.examine(analysis.load(directory))


@pytest.mark.parametrize(("t", "n"), [(0.0, 5), (2.0, 5), (-3.5, 9), (6.0, 30)])
@pytest.mark.parametrize("width", [0.4, 1.25, 3.0])
def test_the_evidence_is_the_mixture_of_noncentral_t_densities(t, n, width):
    def density(effect: float) -> float:
        return stats.nct.pdf(t, n - 1, effect * np.sqrt(n)) * stats.norm.pdf(effect, 0, width)

    mixed, _ = integrate.quad(density, -12 * width, 12 * width, limit=400, points=[0.0, t / np.sqrt(n)])
    expected = np.log(mixed / stats.t.pdf(t, n - 1))
    assert float(anytime.log_evidence(t, n, width)) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 400), st.floats(1e-4, 0.5), st.floats(0.2, 5))
def test_the_evidence_at_the_critical_value_is_exactly_the_threshold_of_the_interval(n, alpha, width):
    critical = float(anytime.critical_values(n, alpha, width))
    bounded = width > anytime.least_width(n, alpha)
    assert np.isfinite(critical) == bounded
    if bounded and critical < 1e6:
        assert float(anytime.log_evidence(critical, n, width)) == pytest.approx(-np.log(alpha), rel=1e-6)
    if not bounded:
        assert float(anytime.log_evidence(1e9, n, width)) <= -np.log(alpha) + 1e-9
        assert float(anytime.levels(n, alpha, width)) == 0


def test_with_five_pairs_the_interval_is_bounded_only_for_a_sufficient_width():
    assert anytime.least_width(5) == pytest.approx(0.8333, abs=1e-4)
    assert Looks.at_any_time(0.83).levels[0] == 0
    assert 0 < Looks.at_any_time(0.84).levels[0] < Looks.at_any_time().levels[0]


def test_the_joint_error_rate_of_all_intervals_is_at_most_alpha():
    rng, studies, most = np.random.default_rng(5), 40_000, 60
    looks, x = Looks.at_any_time(), rng.standard_normal((studies, most))
    n = np.arange(1, most + 1)
    mean = x.cumsum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(((x**2).cumsum(axis=1) - n * mean**2) / (n - 1))
        t = np.abs(mean) * np.sqrt(n) / sd
    found = np.zeros(studies, dtype=bool)
    for number, level in zip(looks.reached(most), looks.levels, strict=False):
        found |= t[:, number - 1] > stats.t.isf(level / 2, number - 1)
    assert 0.01 < found.mean() < 0.05
    t_found = np.array([2 * stats.t.sf(t[0, number - 1], number - 1) for number in looks.reached(most)])
    assert looks.p_value(t_found.tolist()) == pytest.approx(
        min(1.0, 1 / np.exp(anytime.log_evidence(t[0, 4:], n[4:], WIDTH).max()))
    )


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_p_value_is_the_error_rate_at_which_an_interval_first_excludes_0(alpha):
    looks = Looks.at_any_time(2.0)
    levels = looks.levels_at(alpha)
    assert looks.p_value([0.6, levels[1] * 0.999, 0.7]) < alpha < looks.p_value([0.6, levels[1] * 1.001])
    assert looks.p_value([np.nan, levels[1]]) == pytest.approx(alpha)
    assert np.isnan(looks.p_value([np.nan]))
    assert looks.levels_of([alpha])[alpha] == levels


def test_the_setting_looks_any_is_stored_as_an_object_that_older_versions_refuse():
    looks = Looks.at_any_time()
    assert looks.stored == ANY
    assert looks_from(looks.stored) == looks
    assert looks.text == "after any number of pairs (at least 5)"
    with pytest.raises(ValueError, match="cannot have a further_block"):
        looks_from(ANY, 0.05, 4)
    with pytest.raises(ValueError, match="cannot be combined with further_block or spending"):
        Looks(looks.pairs, further_block=2, mixture_width=1.0)
    for width in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="positive number"):
            Looks.at_any_time(width)


def test_the_first_number_of_pairs_with_a_stopping_verdict_decides(make_study):
    differences = [5.0, 5.2, 4.9, 5.1, 5.0, 5.1, 5.0, -9, -9, -9]
    primary = examine(make_study(two_arms(differences), seeds=10, images=2000, looks=ANY)).primary
    assert [look.pairs for look in primary.looks] == list(range(5, 11))
    assert (primary.verdict.kind, primary.interval.n, primary.beyond) == ("holds", 5, 5)
    assert primary.with_later_pairs.kind != "holds"
    expected = t_interval(primary.pairs["difference"][:5], Looks.at_any_time(WIDTH).levels[0])
    assert (primary.interval.lower, primary.interval.upper) == (expected.lower, expected.upper)
    assert primary.p_looks == pytest.approx(Looks.at_any_time(WIDTH).p_value([primary.p]))


def test_a_running_study_is_read_after_its_complete_pairs(make_study):
    status = {(arm, seed): "missing" for arm in ("aim", "baseline") for seed in (6, 7, 8, 9)}
    arms = two_arms([0, 9, 1, 8, 5, 5, 5, 5, 5, 5])
    directory = make_study(arms, seeds=10, looks=ANY, status=status, images=2000)
    primary = examine(directory).primary
    assert [look.pairs for look in primary.looks] == [5, 6]
    assert (primary.interval.n, primary.next_look, primary.verdict.decided) == (6, 7, True)
    from analysis.findings.standing import standing

    assert "As of the look after 6 pairs: " in standing(analysis.load(directory))


def test_an_unbounded_interval_is_inconclusive_and_does_not_break_figures_or_json(make_study, tmp_path):
    looks = {"any": {"mixture_width": 0.5}}
    directory = make_study(two_arms([4.0, 5.5, 4.4, 5.1, 6.0, 3.9]), seeds=6, images=2000, looks=looks)
    findings = examine(directory)
    primary = findings.primary
    assert (primary.interval.lower, primary.interval.upper, primary.interval.alpha) == (-np.inf, np.inf, 0.0)
    assert primary.verdict.kind == "inconclusive"
    assert not primary.interval.bounded
    assert primary.needed is not None
    assert primary.needed.more is not None
    assert UNBOUNDED in primary.sentence()
    assert "100 %" not in primary.sentence()
    out = tmp_path / "report"
    analysis.report(directory, out)

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    document = json.loads((out / "report.json").read_text(encoding="utf-8"), parse_constant=refused)
    assert document["looks"] == looks
    assert document["levels"]["5"] == 0
    assert {figure.stem for figure in (out / "figures").glob("*.svg")} >= {"forest", "path"}
    assert "unbounded" in document["figures"]["path"]["caption"]


def test_identical_arms_are_reported_even_if_the_interval_is_unbounded(make_study):
    looks = {"any": {"mixture_width": 0.5}}
    primary = examine(make_study(two_arms([0.0] * 6), seeds=6, images=2000, looks=looks)).primary
    assert primary.verdict.kind == "identical"


def test_variants_are_tested_by_the_holm_procedure_across_all_numbers_of_pairs(make_study):
    arms = [
        FakeArm("baseline", "baseline", 0.15),
        FakeArm("aim", "aim", 0.17),
        *(FakeArm(f"variant{i}", "aim", 0.15 + 0.006 * i) for i in range(3)),
    ]
    findings = examine(make_study(arms, seeds=9, looks=ANY, images=2000, procedure=2))
    variants = [c for c in findings.family.comparisons if c.family == "variant"]
    assert len(variants) == 3
    for c in variants:
        assert c.p_holm >= c.p_looks
        excluded = any(look.interval.lower > 0 or look.interval.upper < 0 for look in c.looks if look.pairs <= 9)
        assert excluded or c.p_holm > 0.05


def test_the_report_names_the_method_and_its_sources(make_study, undrawn, tmp_path):
    directory = make_study(two_arms([5.0, 5.2, 4.9, 5.1, 5.0, 5.1]), seeds=6, images=2000, looks=ANY)
    out = tmp_path / "report"
    analysis.report(directory, out)
    text = (out / "report.md").read_text(encoding="utf-8")
    for words in (
        "confidence sequence",
        "Wang and Ramdas, 2024",
        "Lai, 1976",
        "after any number of pairs (at least 5)",
    ):
        assert words in text


@pytest.mark.parametrize(
    "change", [[5, 8], {"any": {"mixture_width": 2.0}}, {"pairs": [5, 8], "spending": "obrien_fleming"}]
)
def test_looks_that_differ_from_the_frozen_looks_make_a_study_exploratory(tmp_path, change):
    study = FakeStudy(two_arms([5.0, 5.2, 4.9, 5.1, 5.0, 5.1, 5.0, 5.2]), list(range(8)), images=2000, looks=ANY)
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    assert examine(directory).deviations == ()
    path = directory / "study.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"looks": change}), encoding="utf-8")
    assert any("looks is " in deviation.text for deviation in examine(directory).deviations)
