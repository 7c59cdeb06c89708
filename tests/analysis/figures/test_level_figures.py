"""Rankings, marginal means, interaction plots and heat maps: their numbers, what they leave out, and bad input."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from sweep_frames import FACTORS, sweep
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from aimlib.errors import UsageError
from analysis import figures
from analysis.figures.canvas import arranged
from analysis.figures.heatmap import caption as cells_caption
from analysis.figures.heatmap import draw as draw_cells
from analysis.figures.heatmap import strongest_pair
from analysis.figures.interaction import caption as interaction_caption
from analysis.figures.interaction import draw as draw_interaction
from analysis.figures.level_means import level_means
from analysis.figures.marginal_means import caption as means_caption
from analysis.figures.marginal_means import draw as draw_means
from analysis.figures.marginal_means import shown as shown_means
from analysis.figures.marginal_means import summarise as means
from analysis.figures.measured import Measure
from analysis.figures.ranking import caption as ranking_caption
from analysis.figures.ranking import draw as draw_ranking
from analysis.figures.ranking import summarise as ranked

ACCURACY = Measure("validation_accuracy", "Validation accuracy, %", "validation accuracy", "%", 100.0, False)
LOSS = Measure("validation_loss", "Validation loss", "validation loss", "", 1.0, True)
ARMS = (4, 40, 400)


def all_stays_on_the_sheet(figure: Figure) -> None:
    arranged(figure)
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox(figure.canvas.get_renderer())
        assert -1 <= box.x0 < box.x1 <= width + 1
        assert -1 <= box.y0 < box.y1 <= height + 1


@pytest.fixture
def planted() -> pd.DataFrame:
    """Return a 2 × 3 sweep with five seeds; the placement gains 2 pp, and 1 pp more with a batch size of 64."""
    rng = np.random.default_rng(3)
    rows = []
    for place, batch in product(("entry", "every"), (16, 32, 64)):
        for seed in range(5):
            value = 0.5 + 0.02 * (place == "every") + 0.01 * (place == "every" and batch == 64)
            value += 0.05 * seed + rng.normal(0, 0.001)
            rows.append((f"{place}{batch}{seed}", f"{place} {batch}", seed, "finished", value, 1 - value, place, batch))
    names = ["run_id", "arm", "seed", "status", "validation_accuracy", "validation_loss", "placement", "batch_size"]
    return pd.DataFrame(rows, columns=names).astype({"placement": "str", "batch_size": "Int64"})


def test_level_means_are_means_over_seeds_with_the_same_t_interval_as_in_scipy(planted: pd.DataFrame) -> None:
    found = level_means(planted, ["placement"], ACCURACY).set_index("placement")
    for place, rows in planted.groupby("placement"):
        per_seed = 100 * rows.groupby("seed")["validation_accuracy"].mean()
        expected = stats.t.interval(0.95, 4, per_seed.mean(), stats.sem(per_seed))
        np.testing.assert_allclose(found.loc[place, ["mean", "lower", "upper"]].tolist(), [per_seed.mean(), *expected])
        assert found.loc[place, ["arms", "runs", "n"]].tolist() == [3, 15, 5]


def test_a_seed_that_lacks_a_run_is_left_out_and_failed_runs_have_no_value(planted: pd.DataFrame) -> None:
    planted.loc[planted["run_id"] == "every164", "status"] = "failed"
    found = level_means(planted, ["placement"], ACCURACY).set_index("placement")
    assert found["n"].to_dict() == {"entry": 5, "every": 4}
    assert found.loc["every", "runs"] == 12
    apart = planted[(planted["seed"] % 2 == 0) == (planted["batch_size"] == 16)]
    found = level_means(apart, ["placement"], ACCURACY)
    assert set(found["n"]) == {0}, "there is no seed with runs of all arms"
    assert found["mean"].notna().all()
    assert found["lower"].isna().all()


def test_captions_of_marginal_means_state_what_is_unbalanced(planted: pd.DataFrame) -> None:
    factors = ["placement", "batch_size"]
    whole = means(planted, factors, ACCURACY)
    assert whole["balanced"].all()
    assert whole["level"].tolist() == ["entry", "every", "16", "32", "64"]
    gain = whole["mean"][1] - whole["mean"][0]
    assert gain == pytest.approx(2 + 1 / 3, abs=0.15)
    assert "placement differ most" in means_caption(whole, ACCURACY)
    part = means(planted[planted["arm"] != "every 64"], factors, ACCURACY)
    assert not part["balanced"].any()
    assert "unbalanced" in means_caption(part, ACCURACY)


def test_the_pair_with_the_most_computed_levels_and_the_largest_differences_is_chosen(planted: pd.DataFrame) -> None:
    planted = planted.assign(depth=planted["arm"].map({arm: at for at, arm in enumerate(planted["arm"].unique())}))
    assert strongest_pair(planted, ["depth", "placement", "batch_size"], ACCURACY) == ("placement", "batch_size")
    assert strongest_pair(planted, ["placement"], ACCURACY) is None


def test_a_ranking_shows_the_ties_found_by_its_statistic_and_ranks_losses_in_reverse(planted: pd.DataFrame) -> None:
    up, down = ranked(planted, ACCURACY), ranked(planted, LOSS)
    assert up["arm"][0] == down["arm"][0] == "every 64"
    assert up["arm"].tolist()[-3:] != up["arm"].tolist()[:3]
    np.testing.assert_allclose(down["behind"] * 100, up["behind"])
    assert down["mean"].is_monotonic_increasing
    table = planted.pivot_table(index="seed", columns="arm", values="validation_accuracy")
    gap = 100 * (table["every 64"] - table[up["arm"][1]])
    expected = stats.ttest_1samp(gap, 0).confidence_interval(0.95)
    np.testing.assert_allclose(up.loc[1, ["lower", "upper"]].tolist(), list(expected))
    adjusted = stats.ttest_1samp(gap, 0).confidence_interval(1 - 0.05 / 15)
    np.testing.assert_allclose(up.loc[1, ["behind_lower", "behind_upper"]].tolist(), list(adjusted))
    assert "5 arms" not in ranking_caption(up, ACCURACY)
    assert "A single seed does not separate any arms" in ranking_caption(
        ranked(planted[planted["seed"] == 0], ACCURACY), ACCURACY
    )


@pytest.mark.parametrize("arms", ARMS)
def test_figures_with_any_number_of_arms_fit_on_the_page(arms: int) -> None:
    runs = sweep(arms)
    cells = level_means(runs, ["placement", "batch_size"], ACCURACY)
    rank, marginal = ranked(runs, ACCURACY), means(runs, FACTORS, ACCURACY)
    lines = level_means(runs, ["batch_size", "update"], ACCURACY)
    for figure in (
        draw_cells(cells, "placement", "batch_size", ACCURACY),
        draw_interaction(lines, "batch_size", "update", ACCURACY),
        draw_means(marginal, ACCURACY),
        draw_ranking(rank, ACCURACY),
    ):
        all_stays_on_the_sheet(figure)
        assert figure.get_size_inches()[1] < 8
    assert (f"Of {arms} arms, the first" in ranking_caption(rank, ACCURACY)) == (arms > 30)
    assert "hatched" in cells_caption(cells, "placement", "batch_size", ACCURACY)
    assert f"{arms} arms" in interaction_caption(lines, "batch_size", "update", ACCURACY)


def test_if_there_are_many_levels_some_are_left_out_and_the_caption_says_so(planted: pd.DataFrame) -> None:
    many = pd.concat([planted.assign(arm=planted["arm"] + str(at), placement=f"place {at}") for at in range(20)])
    cells = level_means(many, ["placement", "batch_size"], ACCURACY)
    assert "Of 20 levels of placement, the 16 with the most runs are shown" in cells_caption(
        cells, "placement", "batch_size", ACCURACY
    )
    marginal = means(many, ["placement", "batch_size"], ACCURACY)
    assert len(shown_means(marginal)) == 15
    assert "15 of 23 levels are shown" in means_caption(marginal, ACCURACY)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> analysis.Results:
    arms = [FakeArm("baseline", "baseline", 0.2), FakeArm("aim", "treatment", 0.3, config={"depth": 1, "wide": True})]
    for depth, wide in product((1, 2), (True, False)):
        levels = {"depth": str(depth), "wide": str(wide).lower()}
        config = {"depth": depth, "wide": wide}
        arms.append(FakeArm(f"aim[{depth},{wide}]", "other", 0.3, "aim", levels=levels, config=config))
    fake = FakeStudy(arms[:1] + arms[2:], [0, 1], images=300)
    return analysis.load(write_study(tmp_path_factory.mktemp("levels") / "study", fake, np.random.default_rng(1)))


def test_one_call_draws_on_a_new_figure_or_on_given_axes(study: analysis.Results) -> None:
    made = Figure(layout="constrained")
    axes = made.subplots(2, 2)
    calls = [
        lambda **on: figures.heatmap(study, "depth", "wide", **on),
        lambda **on: figures.interaction(study, "depth", "wide", **on),
        lambda **on: figures.marginal_means(study, **on),
        lambda **on: figures.ranking(study, **on),
    ]
    for call, each in zip(calls, axes.flat, strict=True):
        alone = call()
        assert alone._suptitle.get_text()
        assert "test accuracy" in alone._supxlabel.get_text()
        assert call(ax=each) is made
        assert len(each.get_children()) > 5
    words = figures.heatmap(study, "depth", "wide")._supxlabel.get_text()
    assert "Not part of the design and therefore left out: baseline." in " ".join(words.split())


def test_before_the_verdict_level_figures_show_the_validation_accuracy_and_say_so(tmp_path: Path) -> None:
    arms = [FakeArm("baseline", "baseline"), FakeArm("aim", "treatment", config={"depth": 1})]
    fake = FakeStudy(arms, list(range(5)), status={("aim", 4): "missing"}, images=300)
    results = analysis.load(write_study(tmp_path / "study", fake, np.random.default_rng(1)))
    words = figures.ranking(results)._supxlabel.get_text()
    assert "validation accuracy" in words
    assert "not shown before the pairs for the verdict are settled" in " ".join(words.split())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: figures.heatmap(r, "depth", "depth"), "is used for both rows and columns"),
        (lambda r: figures.interaction(r, "wide", "wide"), "is used for both factor and hue"),
        (lambda r: figures.heatmap(r, "dept", "wide"), "did you mean.*depth|depth"),
        (lambda r: figures.marginal_means(r, "status"), "same value in all runs"),
        (lambda r: figures.ranking(r, value="status"), "not numbers"),
        (lambda r: figures.interaction(r, "depth", "run_id"), "at most 6 lines"),
    ],
)
def test_the_message_about_bad_input_states_the_remedy(study: analysis.Results, call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(study)
