"""Figures in a report: summaries, labels that do not overlap, reproducible files, and no effect on pyplot."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_study import ARMS, FakeArm
from written import refuse_overlaps, texts

import analysis
from analysis.figures import curves, forest, inline, marks, path, png, slopegraph, strip, svg
from analysis.figures.canvas import labels
from analysis.report.figures import drawn_figures

LONG = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.17)] + [
    FakeArm(f"a rather long name of a variant, the one with number {i} at its end", "aim", 0.15 + 0.004 * i)
    for i in range(9)
]
TROUBLE = {("aim", 1): "diverged", ("baseline", 2): "chance", ("aim", 3): "failed", ("aim", 4): "missing"}
SWITCHES = [
    FakeArm("control", "baseline", 0.15, levels={"memory": "0", "stem": "0"}),
    FakeArm("control+memory", "other", 0.16, levels={"memory": "1", "stem": "0"}),
    FakeArm("control+stem", "other", 0.19, levels={"memory": "0", "stem": "1"}),
    FakeArm("aim", "aim", 0.2, levels={"memory": "1", "stem": "1"}),
]
FIGURES = ["forest", "slopegraph", "curves", "strip", "capacity", "path", "by_epoch", "patience", "power", "variance"]
FIGURES += ["classes", "waterfall"]
STUDIES = {
    "switches": (SWITCHES, {}),
    "two": ([ARMS[0], ARMS[3]], {}),
    "four": (ARMS, TROUBLE),
    "twelve": ([*LONG, FakeArm("unbreakable_" * 8)], TROUBLE),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Findings and figure plates for studies with 2, 4 and 12 arms."""
    from synthetic_study import FakeStudy, write_study

    found = {}
    for name, (arms, status) in STUDIES.items():
        study = FakeStudy(list(arms), list(range(6)), status=dict(status), images=1000, epochs=9)
        directory = write_study(tmp_path_factory.mktemp(name), study, np.random.default_rng(1))
        findings = analysis.examine(analysis.load(directory))
        found[name] = findings, drawn_figures(findings)
    return found


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("drawing", FIGURES)
def test_labels_do_not_overlap_and_stay_within_the_page(drawn, study, drawing):
    if drawing not in drawn[study][1]:
        assert (drawing == "waterfall") == (study != "switches")
        return
    figure = drawn[study][1][drawing].figure
    written = texts(figure)
    page = figure.bbox
    assert all(_on(page, box) for _, box in written)
    shown = [(text, box) for text, box in written if box.width]
    refuse_overlaps(written)
    names = {text for text, _ in shown}
    assert len(names) >= 3


def _on(page, box):
    return box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1


@pytest.mark.parametrize("study", STUDIES)
def test_every_arm_is_labeled_exactly_once_per_figure(drawn, study):
    findings, drawings = drawn[study]
    arms = [arm.name for arm in findings.results.plan.arms]
    for drawing, (width, lines) in {"strip": (28, 2), "curves": (30, 1)}.items():
        written = [text for text, _ in texts(drawings[drawing].figure)]
        for text in labels(arms, width, lines).values():
            assert written.count(text) == 1


def test_an_arm_looks_the_same_in_all_figures_and_different_from_all_other_arms():
    names = [f"arm {i}" for i in range(12)]
    looks = marks(names)
    assert len({(m.colour, m.marker, m.dashes) for m in looks.values()}) == 12
    assert len({m.marker for m in looks.values()}) == 12, "markers alone distinguish arms, even in grayscale"
    assert list(marks(names[:3]).items()) == list(looks.items())[:3]
    assert len(set(marks([str(i) for i in range(84)]).values())) == 84


def test_labels_are_short_unique_and_printable():
    names = ["x" * 50 + "1" + "y" * 50, "x" * 50 + "2" + "y" * 50, "a\x00b\u202ec\nd", "$\\frac{1}{2}$", "plain"]
    short = labels(names, 12, 2)
    assert len(set(short.values())) == 5
    assert all(len(line) <= 12 for text in short.values() for line in text.split("\n"))
    assert short["plain"] == "plain"
    assert short[names[2]] == "a\ufffdb\ufffdc d"


def test_the_forest_plot_contains_the_comparisons(drawn):
    findings, drawings = drawn["four"]
    summary = drawings["forest"].summary
    assert list(summary["comparison"]) == [c.name for c in findings.family.comparisons]
    np.testing.assert_allclose(summary["mean"], [c.interval.mean for c in findings.family.comparisons])
    written = {text for text, _ in texts(drawings["forest"].figure)}
    assert {"δ", "r/2", "r"} <= {text.strip() for text in written}
    out_of_scope = forest.draw(summary, marks(["baseline", "matched", "frozen", "aim"]), 1.0, None)
    assert "r" not in {text.strip() for text, _ in texts(out_of_scope)}


def test_the_forest_plot_cuts_off_a_very_wide_interval(drawn):
    summary = drawn["two"][1]["forest"].summary.copy()
    wild = summary.assign(
        comparison="wild", lower=-900.0, upper=900.0, prediction_lower=-2000.0, prediction_upper=2000.0
    )
    figure = forest.draw(pd.concat([summary, wild], ignore_index=True), marks(["baseline", "aim"]), 1.0, 4.92)
    low, high = figure.axes[0].get_xlim()
    assert high - low < 40


def test_the_forest_plot_prints_the_limits_of_an_interval_that_is_cut_off(drawn):
    summary = drawn["two"][1]["forest"].summary.copy()
    wild = summary.assign(comparison="wild", prediction_lower=-2000.0, prediction_upper=2000.0)
    both = pd.concat([summary, wild], ignore_index=True)
    assert forest.cut_rows(both, 1.0, 4.92) == [False, True]
    written = [text for text, _ in texts(forest.draw(both, marks(["baseline", "aim"]), 1.0, 4.92))]
    assert any("2000" in text.replace(",", "") and text[0] == "+" for text in written)
    assert any("2000" in text.replace(",", "") and text[0] == "\u2212" for text in written)
    caption = forest.caption(drawn["two"][0].family.comparisons, ["wild"])
    assert "intervals of wild are too wide for the axis" in caption


def test_the_forest_plot_does_not_cut_off_intervals_of_similar_width(drawn):
    summary = drawn["two"][1]["forest"].summary.copy()
    wide = summary.assign(comparison="wide", lower=-6.0, upper=6.0, prediction_lower=-8.0, prediction_upper=8.0)
    both = pd.concat([summary, wide], ignore_index=True)
    low, high = forest.draw(both, marks(["baseline", "aim"]), 1.0, None).axes[0].get_xlim()
    assert low < -8
    assert high > 8
    alone = forest.draw(wide, marks(["baseline", "aim"]), 1.0, None).axes[0].get_xlim()
    assert alone[0] < -8
    assert alone[1] > 8


def test_the_class_figure_explains_its_two_markers(drawn):
    written = {text for text, _ in texts(drawn["two"][1]["classes"].figure)}
    assert {"before shrinkage", "after shrinkage"} <= written


EXPLAINED = {
    "forest": {"interval for the mean", "prediction for one further pair", "δ: smallest effect of interest"},
    "slopegraph": {"mean", "runs of one seed"},
    "path": {"interval that is read", "interval that is not read", "δ: smallest effect of interest"},
    "by_epoch": {"mean of the pairs", "t interval for each epoch", "δ: smallest effect of interest"},
    "power": {"planned pairs", "power of 0.8"},
}


@pytest.mark.parametrize("drawing", EXPLAINED)
def test_a_figure_explains_its_lines_without_its_caption(drawn, drawing):
    written = {text.strip() for text, _ in texts(drawn["two"][1][drawing].figure)}
    assert written >= EXPLAINED[drawing]


def test_an_interval_that_extends_beyond_the_axis_ends_in_an_arrowhead():
    rows = [(2, 0.0, -80.0, 90.0, False, ""), (3, 1.0, 0.1, 1.9, False, ""), (5, 1.0, 0.5, 1.5, True, "gain")]
    summary = pd.DataFrame(rows, columns=["pairs", "mean", "lower", "upper", "look", "verdict"])
    axes = path.draw(summary, marks(["aim"])["aim"], 1.0).axes[0]
    low, high = axes.get_ylim()
    arrows = {
        line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if line.get_marker() in ("v", "^") and len(line.get_xdata()) == 1 and line.get_markersize() == 4
    }
    near = 0.03 * (high - low)
    assert arrows == {"v": (2, pytest.approx(low, abs=near)), "^": (2, pytest.approx(high, abs=near))}
    assert high < 90


def test_the_slopegraph_contains_all_accuracies(drawn):
    findings, drawings = drawn["four"]
    runs = findings.results.runs
    expected = runs[runs["status"].isin(["finished", "diverged"])]
    assert len(drawings["slopegraph"].summary) == len(expected)
    assert drawings["slopegraph"].summary["accuracy"].max() == pytest.approx(100 * expected["test_accuracy"].max())
    assert "aim is more accurate than baseline in" in drawings["slopegraph"].caption


def test_curves_average_the_finished_runs(drawn):
    findings, drawings = drawn["four"]
    summary = drawings["curves"].summary
    runs, epochs = findings.results.runs, findings.results.epochs
    finished = runs.loc[(runs["arm"] == "aim") & (runs["status"] == "finished"), "run_id"]
    expected = 100 * epochs[epochs["run_id"].isin(finished)].groupby("epoch")["test_accuracy"].mean()
    found = summary.query("panel == 'test' and kind == 'mean' and arm == 'aim'").set_index("epoch")
    np.testing.assert_allclose(found["accuracy"], expected)
    assert (found["lower"] < found["accuracy"]).all()
    reported = summary[summary["kind"] == "reported"]
    assert reported["accuracy"].max() == pytest.approx(20.06, abs=0.01)


def test_curves_average_only_the_epochs_that_all_runs_reached():
    runs = pd.DataFrame({"run_id": ["a", "b"], "status": "finished", "selected_epoch": pd.array([2, 3], dtype="Int64")})
    rows = [("a", e) for e in (1, 2)] + [("b", e) for e in (1, 2, 3)]
    epochs = pd.DataFrame(rows, columns=["run_id", "epoch"]).assign(arm="x", validation_accuracy=0.5, test_accuracy=0.4)
    summary = curves.summarise(runs, epochs, ["x"])
    assert summary.query("kind == 'mean' and panel == 'test'")["epoch"].tolist() == [1, 2]
    assert summary.query("kind == 'selected' and panel == 'test'")["epoch"].tolist() == [2, 3]
    assert "epochs, 2 to 3" in curves.caption(summary)


def test_the_strip_plot_counts_every_planned_run(drawn):
    findings, drawings = drawn["four"]
    summary = drawings["strip"].summary
    assert len(summary) == len(findings.results.plan.runs)
    counts = summary["outcome"].value_counts()
    assert counts.to_dict() == {"trained": 20, "diverged": 1, "at chance": 1, "failed": 1, "missing": 1}
    assert drawings["strip"].caption == "24 planned runs: 20 trained, 1 at chance, 1 diverged, 1 failed and 1 missing."


def test_empty_summaries_have_the_same_columns(drawn):
    findings = drawn["two"][0]
    runs, epochs = findings.results.runs, findings.results.epochs
    for some, none in (
        (slopegraph.summarise(runs, ["baseline", "aim"]), slopegraph.summarise(runs.iloc[:0], ["aim"])),
        (curves.summarise(runs, epochs, ["aim"]), curves.summarise(runs.iloc[:0], epochs.iloc[:0], ["aim"])),
        (forest.summarise(findings.family.comparisons), forest.summarise(())),
        (
            strip.summarise(findings.judged, findings.results.missing, ["baseline", "aim"]),
            strip.summarise(findings.judged.iloc[:0], findings.results.missing, []),
        ),
    ):
        pd.testing.assert_series_equal(some.dtypes, none.dtypes)
    assert slopegraph.caption(slopegraph.summarise(runs.iloc[:0], []), "a", "b") == "No run has an accuracy yet."
    assert "does not have two arms" in forest.caption([])


def test_drawing_does_not_change_pyplot_or_its_settings(drawn):
    import matplotlib.pyplot as plt

    with mpl.rc_context({"font.size": 23, "text.usetex": False}):
        before = dict(mpl.rcParams)
        figure = slopegraph.draw(drawn["two"][1]["slopegraph"].summary, marks(["baseline", "aim"]))
        svg(figure, "x")
        png(figure)
        assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_the_same_figure_always_gives_the_same_bytes(drawn):
    summary = drawn["four"][1]["strip"].summary
    arms = marks(["baseline", "matched", "frozen", "aim"])
    first, second = (strip.draw(summary, arms) for _ in range(2))
    assert svg(first, "strip") == svg(second, "strip")
    assert png(first) == png(second)


def test_an_inline_svg_is_well_formed_and_themed_and_fits_on_its_page(drawn):
    figure = drawn["four"][1]["forest"].figure
    document = svg(figure, "forest")
    element = inline(document, "forest")
    root = ET.fromstring(element)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("forest-") for name in ids)
    assert "var(--ink)" in element
    assert "#16181d" not in element
    assert root.get("width") is None
    assert ET.fromstring(document.split("?>", 1)[1].split('dtd">', 1)[-1]) is not None


def test_hostile_names_are_drawn_as_text_and_not_interpreted(drawn):
    names = ["<script>alert(1)</script>", "]]> --> <!--", "$\\undefined{$", "quote \" and ' and &", "\x07bell"]
    rows = [(name, i, seed, "finished", 10.0 + i + seed) for i, name in enumerate(names) for seed in range(3)]
    summary = pd.DataFrame(rows, columns=["arm", "position", "seed", "status", "accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = svg(slopegraph.draw(summary, marks(names)), "x")
    ET.fromstring(text.split("?>", 1)[1].split('dtd">', 1)[-1])
    assert "script" not in text
    assert "<!--" not in text


def test_wide_intervals_do_not_flatten_the_curves(make_study):
    results = analysis.load(make_study(seeds=3, spread=0.05))
    arms = [arm.name for arm in results.plan.arms]
    summary = curves.summarise(results.runs, results.epochs, arms)
    assert summary["lower"].min() < summary["accuracy"].min() - 2
    axes = curves.draw(summary, marks(arms)).axes[0]
    low, high = axes.get_ylim()
    assert low > summary["accuracy"].min() - 3
    assert high < summary["accuracy"].max() + 5
    assert curves.caption(summary).endswith("are cut off at the edge of the axis.")


@pytest.mark.parametrize("looks", [(), (5,)])
def test_the_interval_at_a_look_is_not_cut_off(looks):
    summary = pd.DataFrame(
        {
            "pairs": range(2, 6),
            "mean": [0.8, 0.7, -0.2, 0.4],
            "lower": [-11.7, -1.2, -4.0, -2.9],
            "upper": [13.4, 2.5, 3.6, 3.6],
            "look": [number in looks for number in range(2, 6)],
            "verdict": "inconclusive",
        }
    )
    low, high = path.draw(summary, next(iter(marks(["aim"]).values())), 1.0).axes[0].get_ylim()
    assert low > -11.7, "the interval of two pairs does not affect how the figure is divided"
    assert all(low < row.lower and row.upper < high for row in summary.itertuples() if row.look)


def test_the_axis_of_a_single_pair_has_only_whole_numbers() -> None:
    columns = {"pairs": [2], "mean": [0.13], "lower": [-22.8], "upper": [23.1], "look": [False], "verdict": [""]}
    figure = path.draw(pd.DataFrame(columns), marks(["aim"])["aim"], 1.0)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [2]
