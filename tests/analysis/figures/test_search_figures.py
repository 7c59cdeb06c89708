"""A confirmation and its screening: the results of the search, and the results of the winners with new seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from blank_figures import blank_figures
from synthetic_study import ARMS, FakeArm, FakeStudy, write_study
from written import texts

import analysis
from analysis.figures import budget, curves
from analysis.findings.searches import RANKING, RANKING_COLUMNS
from analysis.report.content import compose
from analysis.report.tables.columns import explained
from analysis.report.tables.frames import table_frames
from analysis.statistics.searches import expected_best

TRIALS = [FakeArm(f"trial_{i:04d}", "other", 0.14 + 0.004 * i) for i in range(12)]
SWITCHES = [
    FakeArm("none", "baseline", levels={"a": "0", "b": "0"}),
    FakeArm("a", "other", levels={"a": "1", "b": "0"}),
    FakeArm("b", "other", levels={"a": "0", "b": "1"}),
    FakeArm("ab", "aim", 0.2, levels={"a": "1", "b": "1"}),
]


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """Findings of a confirmation study with its screening study next to it."""
    root = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(2)
    write_study(root / "screening", FakeStudy(TRIALS, [1000, 1001], spread=0.01), rng)
    write_study(root / "confirmation", FakeStudy([ARMS[0], ARMS[3], *TRIALS[-3:]], list(range(5))), rng)
    return analysis.examine(analysis.load(root / "confirmation"))


def test_the_report_shows_the_results_of_the_search(confirmed):
    with blank_figures("budget", "winners"):
        document = compose(confirmed)
    section = next(section for section in document.sections if section.name == "search")
    assert section.figures == ("budget", "winners")
    assert len(document.tables["winners"].rows) == 3
    budget = document.figures["budget"].summary
    assert budget["trials"].tolist() == list(range(1, 13))
    best = confirmed.screening.runs.groupby("arm")["validation_accuracy"].mean().max()
    assert budget["expected"].iloc[-1] == pytest.approx(100 * best)
    assert "Tang et al., 2020" in " ".join(document.methods)
    for name in section.figures:
        figure = document.figures[name].figure
        boxes = [box for _, box in texts(figure) if box.width]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes), name


@pytest.mark.usefixtures("undrawn")
def test_a_study_without_a_screening_has_no_section_about_it(make_study):
    findings = analysis.examine(analysis.load(make_study()))
    assert findings.screening is None
    assert "search" not in [section.name for section in compose(findings).sections]


def test_every_column_in_every_table_is_explained(confirmed, make_study):
    switches = analysis.examine(analysis.load(make_study(SWITCHES)))
    for findings in (confirmed, switches):
        found = explained(table_frames(findings))
        assert (found["meaning"].str.len() > 0).all()
    assert {"attribution", "interactions", "classes", "audit"} <= set(found["table"])
    with pytest.raises(KeyError):
        explained({"new": pd.DataFrame({"a column without a meaning": [1]})})


# Several searched arms, and trials that were stopped early

RATES = {"baseline": 0.14, "aim": 0.15}
SEARCHED = [FakeArm(f"{arm}_{i:04d}", "other", mean + 0.004 * i) for arm, mean in RATES.items() for i in range(6)]
STOPPED = {(f"{arm}_{i:04d}", seed): "pruned" for arm in RATES for i in (0, 1) for seed in (1000, 1001)}


def ranking_of(screened: analysis.Results) -> pd.DataFrame:
    """Return the ranking as `ablate run` writes it. In each arm, the last trial is the best."""
    rows = []
    means = screened.runs.groupby("arm")["validation_accuracy"].mean()
    for trial, mean in means.items():
        arm, number = str(trial).split("_")
        stopped = number in ("0000", "0001")
        row = dict.fromkeys(RANKING_COLUMNS, "") | {"arm": arm, "trial": trial, "epochs": 2, "drawn": "{}"}
        row |= {"state": "pruned", "stopped_after": 1, "reached": mean} if stopped else {"state": "complete"}
        row |= {} if stopped else {"validation_accuracy": mean, "place": 6 - int(number)}
        rows.append(row | {"confirmed_as": {"0005": arm, "0004": trial}.get(number, "")})
    failed = dict.fromkeys(RANKING_COLUMNS, "") | {"arm": "aim", "trial": "aim_0006", "state": "failed", "epochs": 0}
    again = rows[-1] | {"trial": "aim_0007", "repeats": rows[-1]["trial"], "confirmed_as": ""}
    return pd.DataFrame([*rows, failed, again], columns=list(RANKING_COLUMNS))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Findings of a confirmation of two arms, searched with equal effort; a third of the trials stopped early."""
    root = tmp_path_factory.mktemp("tuned")
    rng = np.random.default_rng(3)
    write_study(root / "screening", FakeStudy(SEARCHED, [1000, 1001], spread=0.01, status=STOPPED), rng)
    ranking = ranking_of(analysis.load(root / "screening"))
    ranking.to_csv(root / "screening" / RANKING, index=False)
    beside = [arm for arm in SEARCHED if arm.name.endswith("0004")]
    write_study(root / "confirmation", FakeStudy([ARMS[0], ARMS[3], *beside], list(range(5))), rng)
    return analysis.examine(analysis.load(root / "confirmation"))


@pytest.mark.usefixtures("undrawn")
def test_winners_are_found_under_the_names_of_the_confirmed_arms(tuned):
    table = compose(tuned).figures["winners"].summary.set_index("arm")
    assert set(table.index) == {"baseline", "aim", "baseline_0004", "aim_0004"}
    screened = tuned.screening.runs.groupby("arm")["validation_accuracy"].mean()
    for arm in RATES:
        assert table.loc[arm, "screening"] == pytest.approx(100 * screened[f"{arm}_0005"])
    confirmed = tuned.results.runs.groupby("arm")["validation_accuracy"].mean()
    assert table.loc["aim", "confirmation"] == pytest.approx(100 * confirmed["aim"])


def test_each_arm_has_its_own_expected_best_and_stopped_trials_count_with_their_last_accuracy(tuned):
    with blank_figures("budget"):
        drawing = compose(tuned).figures["budget"]
    screened = tuned.screening.runs.groupby("arm")["validation_accuracy"].mean()
    for arm in RATES:
        own = drawing.summary[drawing.summary["searched"] == arm]
        values = 100 * screened[screened.index.str.startswith(arm)]
        np.testing.assert_allclose(own["expected"], expected_best(values))
        assert own["stopped"].tolist() == [2] * 6
    assert (
        "4 trials were stopped early and are included with the accuracy that they had reached, which is a lower bound"
        in drawing.caption
    )
    assert "Compare arms at the same number of trials" in drawing.caption
    labelled = [text for text, _ in texts(drawing.figure)]
    assert {"baseline", "aim"} <= set(labelled)


def test_a_search_with_only_failures_has_no_expected_best():
    nothing = pd.DataFrame({"arm": ["a"], "status": ["failed"], "validation_accuracy": [np.nan]})
    assert budget.summarise(nothing).empty
    assert budget.caption(budget.summarise(nothing)) == "No trial in the screening has a result."


@pytest.mark.usefixtures("undrawn")
def test_pruned_rows_are_counted_and_do_not_change_any_verdict_curve_or_table(make_study):
    """This study has an arm with only pruned rows, and a pruned run in an arm that does not affect the verdict."""
    more = [FakeArm("cut", "other", 0.9), FakeArm("half", "other", 0.17)]
    pruned = {("cut", seed): "pruned" for seed in range(6)} | {("half", 5): "pruned"}
    whole, mixed = make_study([*ARMS, *more]), make_study([*ARMS, *more], status=pruned)
    found = {name: analysis.examine(analysis.load(path)) for name, path in (("whole", whole), ("mixed", mixed))}
    without = analysis.examine(analysis.load(make_study([*ARMS])))
    assert found["mixed"].headline == without.headline
    names = [c.name for c in without.family.comparisons]
    table = table_frames(found["mixed"])["comparisons"].set_index("comparison")
    pd.testing.assert_frame_equal(table.loc[names], table_frames(without)["comparisons"].set_index("comparison"))
    arms = table_frames(found["mixed"])["arms"].set_index("arm")
    assert arms.loc["cut", "n"] == 0
    assert np.isnan(arms.loc["cut", "mean"])
    assert arms.loc["half", "n"] == 5
    counted = found["mixed"].failures.set_index("arm")
    assert counted.loc["cut", "pruned"] == 6
    assert counted.loc["half", "pruned"] == 1
    assert counted.loc["cut", "judged"] == 0
    results = found["mixed"].results
    drawn = curves.summarise(results.runs, results.epochs, [arm.name for arm in results.plan.arms])
    assert set(drawn.loc[drawn["arm"] == "cut", "kind"]) == {"run"}, "it has neither a mean nor a reported epoch"
    mean = drawn[(drawn["arm"] == "half") & (drawn["kind"] == "mean")]
    assert mean["n"].unique().tolist() == [5]
    summary = analysis.summarise(results.runs, by=["arm"]).set_index("arm")
    assert summary.loc["cut", "n"] == 0
    assert summary.loc["half", "n"] == 5
    assert summary.loc["half", "runs"] == 6
    by_status = analysis.summarise(results.runs, by=["arm", "status"])
    assert by_status.set_index(["arm", "status"]).loc[("cut", "pruned"), "n"] == 6
    document = compose(found["mixed"])
    assert "pruned" in str(document.tables["outcomes"])


def test_an_arm_looks_the_same_in_search_figures_as_in_all_other_figures():
    from analysis.figures import budget
    from analysis.figures.palette import marks

    arms = ["baseline", "matched", "frozen", "aim"]
    accuracies = [0.1, 0.2, 0.3, 0.15, 0.25, 0.35]
    tried = pd.DataFrame(
        {
            "searched": ["baseline"] * 3 + ["aim"] * 3,
            "arm": [f"t{n}" for n in range(6)],
            "status": "finished",
            "validation_accuracy": accuracies,
        }
    )
    figure = budget.draw(budget.summarise(tried), marks(arms))
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert colours == [marks(arms)[name].colour for name in ("baseline", "aim")]
