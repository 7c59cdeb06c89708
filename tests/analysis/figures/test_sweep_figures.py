"""Figures of sweeps and searches are correct and readable with 4 to 400 arms, on a new sheet or the caller's axes."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats
from sweep_frames import FACTORS, PLACEMENTS, curves_of, sweep
from synthetic_study import FakeArm, FakeStudy, write_study
from written import refuse_overlaps, texts

import analysis
from aimlib.errors import UsageError
from analysis import figures
from analysis.figures import curves_by_factor as draw_curves
from analysis.figures import parallel_coordinates as draw_parallel
from analysis.figures import pareto as draw_pareto
from analysis.figures import slices as draw_slices
from analysis.figures.curves_by_factor import caption as curves_caption
from analysis.figures.curves_by_factor import draw as curves_drawing
from analysis.figures.curves_by_factor import summarise as curves_summary
from analysis.figures.levels import level_text, number_text, scale_of
from analysis.figures.measured import Measure, explained
from analysis.figures.parallel_coordinates import caption as parallel_caption
from analysis.figures.parallel_coordinates import draw as parallel_drawing
from analysis.figures.parallel_coordinates import most_telling
from analysis.figures.parallel_coordinates import summarise as parallel_summary
from analysis.figures.pareto import caption as pareto_caption
from analysis.figures.pareto import draw as pareto_drawing
from analysis.figures.pareto import summarise as pareto_summary
from analysis.figures.slices import caption as slices_caption
from analysis.figures.slices import draw as slices_drawing
from analysis.figures.slices import summarise as slices_summary

ACCURACY = Measure("validation_accuracy", "Validation accuracy, %", "validation accuracy", "%", 100.0, False)
COSTS = ("parameters", "multiply_adds", "seconds")


def arms_of(number: int) -> list[FakeArm]:
    """Return the arms of a study with the factors placement and batch size."""
    levels = list(itertools.product(PLACEMENTS[:2], (16, 32)))[:number]
    return [FakeArm("baseline", "baseline", 0.15, config={"training": {"batch_size": 32}})] + [
        FakeArm(
            f"aim[{place},{batch}]" if number else "aim",
            "aim" if not at else "other",
            0.16 + 0.01 * at,
            levels={"model.placement": place, "training.batch_size": str(batch)},
            config={"model": {"placement": {"name": place}}, "training": {"batch_size": batch}},
        )
        for at, (place, batch) in enumerate(levels)
    ]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Results of a settled study, and of a study with unsettled pairs."""
    found = {}
    for name, status in (("settled", {}), ("open", {("baseline", 2): "missing"})):
        study = FakeStudy(arms_of(4), [0, 1, 2, 3, 4], images=200, epochs=3, status=status)
        found[name] = analysis.load(write_study(tmp_path_factory.mktemp(name), study, np.random.default_rng(1)))
    return found


# Pareto front


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_the_front_consists_of_arms_that_are_not_dominated_by_any_arm(points):
    runs = pd.DataFrame(
        {
            "arm": [f"arm {i}" for i in range(len(points))],
            "seed": 0,
            "status": "finished",
            "parameters": [float(cost) for cost, _ in points],
            "validation_accuracy": [value / 10 for _, value in points],
        }
    )
    found = pareto_summary(runs, ACCURACY, ["parameters"]).set_index("arm")
    for at, (cost, value) in enumerate(points):
        better = [
            (other, also)
            for other, also in points
            if other <= cost and also >= value and (other, also) != (cost, value)
        ]
        assert (found.loc[f"arm {at}", "state"] == "front") == (not better)
        if better:
            by = points[int(found.loc[f"arm {at}", "dominated_by"].split()[1])]
            assert by[1] == max(also for _, also in better)
    assert set(found["state"]) <= {"front", "undecided"}, "with one seed, no arm is marked as dominated"


def test_the_paired_interval_shows_which_arms_are_dominated_and_which_cannot_be_distinguished():
    rng = np.random.default_rng(5)
    seeds = np.arange(6)
    luck = rng.normal(0, 0.02, 6)  # shared by the arms of a seed, so only pairs show the difference
    values = {
        "cheap": 0.6 + luck,
        "worse": 0.59 + luck + rng.normal(0, 0.001, 6),
        "near": 0.599 + rng.normal(0, 0.02, 6),
    }
    runs = pd.concat(
        [
            pd.DataFrame(
                {"arm": arm, "seed": seeds, "status": "finished", "validation_accuracy": own, "parameters": cost}
            )
            for (arm, own), cost in zip(values.items(), (1e6, 2e6, 2e6), strict=True)
        ]
    ).assign(status="finished")
    found = pareto_summary(runs, ACCURACY, ["parameters"]).set_index("arm")
    assert found["state"].to_dict() == {"cheap": "front", "worse": "dominated", "near": "undecided"}
    gaps = 100 * (values["cheap"] - values["worse"])
    low, high = stats.t.interval(1 - 0.05 / 3, 5, gaps.mean(), stats.sem(gaps))
    assert found.loc["worse", ["behind_lower", "behind_upper"]].tolist() == pytest.approx([low, high])
    assert found.loc["worse", "pairs"] == 6
    text = pareto_caption(found.reset_index(), ACCURACY)
    assert "1 on the front, 1 not distinguishable from the front, 1 dominated" in text
    assert "adjusted for all pairs of arms, because any of them may be the best" in text


def test_the_best_of_many_equal_arms_dominates_none_in_nearly_all_studies():
    """The best arm is chosen by its mean: adjusted for the number of arms alone, 12 % of studies would have one."""
    rng = np.random.default_rng(8)
    arms = [f"arm {number}" for number in range(13)]
    frame = pd.DataFrame({"arm": np.repeat(arms, 5), "seed": np.tile(np.arange(5), 13), "status": "finished"})
    wrong = 0
    for _ in range(300):
        runs = frame.assign(validation_accuracy=0.6 + rng.normal(0, 0.01, 65), parameters=1e6)
        wrong += (pareto_summary(runs, ACCURACY, ["parameters"])["state"] == "dominated").any()
    assert wrong <= 0.05 * 300


def test_arms_that_are_equal_in_both_values_are_on_the_front_together():
    runs = sweep(3, seeds=1).assign(validation_accuracy=0.5, parameters=1e6)
    assert pareto_summary(runs, ACCURACY, ["parameters"])["state"].tolist() == ["front"] * 3


def test_failed_and_pruned_runs_and_runs_without_a_value_are_not_part_of_a_mean():
    runs = sweep(2, seeds=4)
    runs.loc[0, "status"], runs.loc[1, "status"], runs.loc[2, "validation_accuracy"] = "failed", "pruned", np.nan
    found = pareto_summary(runs, ACCURACY, ["seconds"]).set_index("arm")
    assert found.loc["baseline", "n"] == 1
    assert found.loc["baseline", "mean"] == pytest.approx(100 * runs.loc[3, "validation_accuracy"])
    assert found.loc["baseline", "amount"] == pytest.approx(runs.loc[3, "seconds"] / 4)


def test_a_lower_loss_counts_as_better():
    loss = Measure("validation_loss", "Validation loss", "validation loss", "", 1.0, True)
    runs = sweep(2, seeds=1).assign(validation_loss=[2.0, 1.0])
    assert pareto_summary(runs, loss, ["parameters"])["state"].tolist() == ["front", "front"]
    assert pareto_summary(runs[::-1].assign(parameters=1e6), loss, ["parameters"]).query("state == 'front'")[
        "mean"
    ].tolist() == [1.0]


# Parallel coordinates


def test_if_there_are_many_arms_the_best_and_the_worst_are_drawn_and_the_frame_contains_all_arms():
    runs = sweep(400)
    found = parallel_summary(runs, FACTORS, ACCURACY)
    means = 100 * runs.groupby("arm")["validation_accuracy"].mean().sort_values(ascending=False)
    assert found["arm"].tolist() == means.index.tolist()
    assert found["mean"].to_numpy() == pytest.approx(means.to_numpy())
    assert found.loc[found["drawn"], "rank"].tolist() == [*range(1, 21), *range(396, 401)]
    figure = parallel_drawing(found, FACTORS, ACCURACY)
    assert len([line for line in figure.axes[0].lines if len(line.get_xdata()) == len(FACTORS) + 1]) == 25
    assert (
        "Of 400 arms, the 20 best and (dashed) the 5 worst are shown; the CSV file contains all arms."
        in parallel_caption(found, FACTORS, ACCURACY)
    )
    assert parallel_summary(sweep(40), FACTORS, ACCURACY)["drawn"].all()


def test_the_most_important_factors_have_an_axis_and_the_other_factors_are_listed():
    found = parallel_summary(sweep(200), FACTORS, ACCURACY)
    assert most_telling(found, FACTORS, 1) == ["placement"]
    assert "Options without an axis, because their levels differ less: update and batch_size." in parallel_caption(
        found, ["placement", "learning_rate", "amp"], ACCURACY
    )


def test_an_option_that_an_arm_does_not_have_is_not_shown_as_a_level_called_none():
    texts_of = [text for _, text in scale_of(sweep(40)["update"]).ticks]
    assert sorted(texts_of) == ["conv_sigmoid", "gated", "n/a", "none", "residual"]
    assert scale_of(sweep(40)["placement"]).ticks[0][1] == "none"
    assert level_text(pd.NA) == level_text(None) == level_text(np.nan) == "none"


def test_levels_with_similar_text_stay_separate():
    rates = pd.Series([0.12341, 0.12342, 0.12341])
    assert [text for _, text in scale_of(rates).ticks] == ["0.12341", "0.12342"]
    assert [text for _, text in scale_of(pd.Series([0.00012179548, 0.1])).ticks] == ["0.000122", "0.1"]
    runs = sweep(3, seeds=1).assign(rate=rates.to_numpy())
    assert curves_summary(runs, curves_of(runs), "rate").groupby("level")["n"].max().to_dict() == {
        "0.12341": 2,
        "0.12342": 1,
        "(all runs)": 3,
    }


def test_scales_sort_numbers_and_switches_and_are_logarithmic_for_wide_ranges():
    assert [text for _, text in scale_of(pd.Series(["10", "9", "100"])).ticks] == ["9", "10", "100"]
    assert [text for _, text in scale_of(pd.Series([True, False], dtype="boolean")).ticks] == ["false", "true"]
    many = pd.Series(np.logspace(-5, -1, 20))
    places = scale_of(many).places(many)
    assert np.diff(places) == pytest.approx(np.full(19, np.diff(places)[0])), "equal ratios have equal distances"
    assert [number_text(x) for x in (1e-5, 0.001, 2.5, 128, -3)] == ["1e-5", "0.001", "2.5", "128", "−3"]


# Slices


def test_slices_show_trials_and_use_the_last_value_of_stopped_trials():
    runs = sweep(30, seeds=2)
    names = {arm: f"aim_{i:04d}" for i, arm in enumerate(runs["arm"].unique())}
    runs["arm"] = runs["arm"].map(names)
    runs.loc[runs["arm"] == "aim_0003", "status"] = "pruned"
    runs.loc[runs["arm"] == "aim_0004", "status"] = "failed"
    found = slices_summary(runs, FACTORS, ACCURACY).set_index("arm")
    assert found.index.tolist() == [name for name in names.values() if name != "aim_0004"]
    assert set(found["searched"]) == {"aim"}
    assert found.index[found["stopped"]].tolist() == ["aim_0003"]
    mean = 100 * runs.loc[runs["arm"] == "aim_0003", "validation_accuracy"].mean()
    assert found.loc["aim_0003", "mean"] == pytest.approx(mean)
    text = slices_caption(found.reset_index(), ACCURACY, runs)
    assert "29 trials" in text
    assert "1 trial stopped early" in text
    assert "1 trial without a value is not shown" in text


def test_a_search_shows_validation_accuracies_even_if_all_trials_are_settled(tmp_path):
    arms = [FakeArm(f"aim_{i:04d}", "other", 0.14 + 0.01 * i, config={"rate": 0.1 * i}) for i in range(4)]
    write_study(tmp_path / "screening", FakeStudy(arms, [0], images=200), np.random.default_rng(1))
    figure = draw_slices(analysis.load(tmp_path / "screening"))
    written = " ".join(text for text, _ in texts(figure))
    assert "Validation accuracy" in written
    assert "est accuracy" not in written.replace("Best", "")


# Learning curves


def test_the_curve_of_a_level_is_the_mean_of_its_finished_runs():
    runs = sweep(40)
    runs.loc[runs.index[-1], "status"] = "failed"
    epochs = curves_of(runs)
    found = curves_summary(runs, epochs, "placement", "amp")
    finished = runs[runs["status"] == "finished"].merge(epochs[["run_id", "epoch"]], on="run_id")
    finished = finished.assign(value=100 * finished["validation_accuracy"] * finished["epoch"] / 4)
    for (level, line, epoch), own in found[found["level"] != "(all runs)"].groupby(["level", "line", "epoch"]):
        here = finished[finished["epoch"] == epoch]
        here = here[(here["placement"].fillna("none") == level) & (here["amp"].map(level_text) == line)]
        assert own["n"].item() == len(here)
        assert own["mean"].item() == pytest.approx(here["value"].mean())
    assert found.loc[found["level"] == "(all runs)", "n"].unique().tolist() == [119]
    assert "1 run that did not finish is left out" in curves_caption(found, runs, "placement", "amp")


def test_epochs_that_only_some_runs_reached_are_marked():
    runs = sweep(3, seeds=2)
    epochs = curves_of(runs)
    epochs = epochs[~((epochs["run_id"] == "1-0") & (epochs["epoch"] > 2))]
    found = curves_summary(runs, epochs, "placement")
    all_runs = found[found["level"] == "(all runs)"]
    assert all_runs["whole"].tolist() == [True, True, False, False]
    assert "A line is thin where some of its runs have stopped" in curves_caption(found, runs, "placement")


def test_many_numeric_levels_are_divided_into_quarters():
    runs = sweep(40).assign(rate=np.repeat(np.logspace(-5, -1, 40), 3))
    levels = curves_summary(runs, curves_of(runs), "rate")["level"].drop_duplicates().tolist()
    assert len(levels) == 5
    assert levels[-1] == "(all runs)"
    assert all(" to " in level for level in levels[:-1])


# All sweep figures


def _drawings(arms: int, ax=None) -> dict[str, Figure]:
    """Return all figures of a sweep, with title and caption on their own sheets or on the caller's axes."""
    runs = sweep(arms)
    epochs = curves_of(runs)
    ax = ax or {}
    front = pareto_summary(runs, ACCURACY, COSTS)
    lines = parallel_summary(runs, FACTORS, ACCURACY)
    dots = slices_summary(runs, FACTORS, ACCURACY)
    learning = curves_summary(runs, epochs, "placement")
    found = {
        "pareto": (pareto_drawing(front, ACCURACY, ax.get("pareto")), pareto_caption(front, ACCURACY)),
        "parallel": (
            parallel_drawing(lines, FACTORS, ACCURACY, ax.get("parallel")),
            parallel_caption(lines, FACTORS, ACCURACY),
        ),
        "slices": (slices_drawing(dots, ACCURACY, ax.get("slices")), slices_caption(dots, ACCURACY, runs)),
        "curves": (
            curves_drawing(learning, "placement", ax=ax.get("curves")),
            curves_caption(learning, runs, "placement"),
        ),
    }
    return {name: figure if ax else explained(figure, name, words) for name, (figure, words) in found.items()}


@pytest.mark.parametrize("arms", [4, 400, pytest.param(40, marks=pytest.mark.slow)])
def test_texts_are_not_clipped_and_labels_do_not_overlap(arms):
    for name, figure in _drawings(arms).items():
        written = texts(figure)
        page = figure.bbox
        for text, box in ((text, box) for text, box in written if box.width):
            assert box.x0 >= -1, (name, text)
            assert box.x1 <= page.x1 + 1, (name, text)
            assert box.y0 >= -1, (name, text)
            assert box.y1 <= page.y1 + 1, (name, text)
        refuse_overlaps(written, name)


def test_several_plots_can_share_a_given_figure():
    figure = Figure(figsize=(14, 10), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2)
    free = figure.add_axes((0.1, 0.1, 0.1, 0.1))  # axes that are not in a grid
    free.remove()
    before = figure.get_size_inches().tolist()
    drawn = _drawings(40, dict(zip(("pareto", "parallel", "slices", "curves"), grid.flat, strict=True)))
    assert all(each is figure for each in drawn.values())
    assert figure.get_size_inches().tolist() == before
    assert figure.get_suptitle() == ""
    written = [text for text, _ in texts(figure)]
    assert {"Parameters, M", "front", "placement", "Epoch"} <= set(written)


def test_one_call_draws_each_figure_and_states_which_images_it_shows(studies):
    for name, images in (("settled", "Test accuracy"), ("open", "Validation accuracy")):
        for figure in (
            draw_pareto(studies[name]),
            draw_parallel(studies[name]),
            draw_slices(studies[name]),
            draw_curves(studies[name], "placement"),
        ):
            written = " ".join(text for text, _ in texts(figure))
            assert f"{images}, %" in written.replace("\n", " ")
            assert ("Test" in written) == (name == "settled")


def test_drawing_does_not_change_the_input(studies):
    runs = studies["settled"].runs
    before = runs.copy()
    draw_pareto(studies["settled"])
    draw_parallel(studies["settled"])
    draw_slices(studies["settled"])
    pd.testing.assert_frame_equal(runs, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: draw_pareto(r, "parametres"), "parametres"),
        (lambda r: draw_pareto(r, value="arm"), "not numbers"),
        (lambda r: draw_parallel(r, ["placment"]), "placement"),
        (lambda r: draw_parallel(r, ["epochs_planned"]), "the same value in all runs"),
        (lambda r: draw_slices(r, ["epochs_planned"]), "the same value in all runs"),
        (lambda r: draw_curves(r, "placement", value="seconds"), "validation_accuracy"),
        (lambda r: draw_curves(r, "epochs_planned"), "the same value in all runs"),
    ],
)
def test_bad_input_is_refused_and_the_reason_is_stated(studies, call, words):
    with pytest.raises(UsageError, match=words):
        call(studies["settled"])


def test_a_study_without_results_is_refused_with_an_explanation(make_study):
    arms = arms_of(2)
    status = {(arm.name, seed): "failed" for arm in arms for seed in range(2)}
    results = analysis.load(make_study(arms, seeds=2, status=status))
    for call in (draw_pareto, draw_parallel, draw_slices):
        with pytest.raises(UsageError, match="there is nothing to draw"):
            call(results)


def test_an_arm_without_a_value_is_counted_in_the_caption(make_study):
    arms = arms_of(3)
    results = analysis.load(make_study(arms, seeds=2, status={(arms[2].name, seed): "failed" for seed in range(2)}))
    for call in (draw_pareto, draw_parallel, draw_slices):
        written = " ".join(" ".join(text.split()) for text, _ in texts(call(results)))
        assert "1 arm without a value is not shown" in written


def test_several_studies_can_be_drawn_together(studies, tmp_path):
    other = write_study(tmp_path / "other", FakeStudy(arms_of(4), [7, 8], images=200), np.random.default_rng(2))
    together = analysis.load([studies["settled"].directory, Path(other)])
    assert isinstance(draw_pareto(together, "parameters"), Figure)
    assert isinstance(draw_parallel(together), Figure)
    assert isinstance(figures.curves_by_factor(together, "placement"), Figure)


# Many numbers, and names with special characters


MARKUP = "$x_1$ " + "z" * 250


@pytest.fixture(scope="module")
def many_sizes(tmp_path_factory):
    """Results of a study with ten sizes, a baseline without a size, and an arm outside the design with an odd name."""
    arms = [FakeArm("baseline", "baseline"), FakeArm(MARKUP, "aim", of="baseline", config={"training": {"epochs": 9}})]
    arms += [
        FakeArm(
            f"aim[placement={place},channels={size}]",
            mean=0.15 + 0.01 * at,
            levels={"model.placement": place, "model.memory.channels": str(size)},
            config={"model": {"placement": {"name": place}, "memory": {"name": "conv_ones", "channels": size}}},
        )
        for at, (place, size) in enumerate(itertools.product(PLACEMENTS[:2], [2**power for power in range(1, 11)]))
    ]
    study = FakeStudy(arms, [0, 1, 2, 3, 4], images=200, epochs=3)
    return analysis.load(write_study(tmp_path_factory.mktemp("sizes"), study, np.random.default_rng(1)))


def test_curves_by_quarter_include_a_line_for_arms_without_a_number(many_sizes):
    figure = figures.curves_by_factor(many_sizes, "placement", "channels")
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    said = [text.get_text() for text in legend.get_texts()]
    assert said[0] == "channels = none"
    assert len(said) == 1 + 4 + 1, "no number, four quarters, and all runs"


@pytest.mark.parametrize("hue", [None, "channels"])
def test_legends_do_not_overlap_the_title(many_sizes, hue):
    for figure in (figures.curves_by_factor(many_sizes, "placement", hue), figures.ranking(many_sizes)):
        figure.canvas.draw()
        (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
        assert legend.get_window_extent().y1 <= figure._suptitle.get_window_extent().y0


def test_a_caption_shortens_names_and_shows_them_literally(many_sizes):
    figure = figures.marginal_means(many_sizes)
    caption = figure._supxlabel
    assert "$x_1$ zzz" in " ".join(caption.get_text().split())
    assert not caption.get_parse_math()
    assert "z" * 100 not in caption.get_text().replace("\n", "")
    shown = explained(figures.marginal_means(many_sizes), "a\u202eb", "$\\frac$ \u202e")._supxlabel
    assert shown.get_text() == "$\\frac$ \ufffd"


def test_a_heat_map_with_long_level_names_has_room_for_them(tmp_path):
    arms = [FakeArm("baseline", "baseline")] + [
        FakeArm(
            f"aim[{level[0]},{size}]",
            "aim" if level[0] + str(size) == "x1" else "other",
            levels={"model.placement": level, "model.memory.channels": str(size)},
            config={"model": {"placement": {"name": level}, "memory": {"name": "conv_ones", "channels": size}}},
        )
        for level, size in itertools.product(("x" * 300, "y" * 300), (1, 2))
    ]
    study = FakeStudy(arms, [0, 1, 2, 3, 4], images=200, epochs=3)
    results = analysis.load(write_study(tmp_path / "long", study, np.random.default_rng(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # warnings about a layout that collapsed
        figure = figures.heatmap(results, "channels", "placement")
        figure.canvas.draw()
    lowest = figure.axes[0].get_tightbbox().y0
    assert figure._supxlabel.get_window_extent().y1 <= lowest
    assert "x" * 50 not in figure._supxlabel.get_text()
