"""Figures with a row or a color per arm, for forty arms and for hundreds of arms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from written import refuse_overlaps, texts

from analysis.figures import curves, forest, marks, slopegraph, strip
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import labels

ARMS = ["baseline", "aim", *(f"aim[placement=stage_only,update=gated,batch_size={i}]" for i in range(38))]


def _readable(figure):
    """Check that no text overlaps anything or extends beyond the figure, and return all texts."""
    written = texts(figure)
    for text, box in written:
        if box.width:
            assert box.x0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
    refuse_overlaps(written)
    return [text for text, _ in written]


def _runs(arms=ARMS, seeds=3):
    rng = np.random.default_rng(1)
    rows = [
        (f"{at}-{seed}", arm, seed, "finished", 0.5 + 0.002 * at + rng.normal(0, 0.002), 4)
        for at, arm in enumerate(arms)
        for seed in range(seeds)
    ]
    names = ["run_id", "arm", "seed", "status", "test_accuracy", "selected_epoch"]
    return pd.DataFrame(rows, columns=names).astype({"selected_epoch": "Int64"})


def _epochs(runs):
    parts = [
        runs[["run_id", "arm", "seed"]].assign(
            epoch=epoch,
            test_accuracy=runs["test_accuracy"] * epoch / 4,
            validation_accuracy=runs["test_accuracy"] * epoch / 4,
        )
        for epoch in range(1, 5)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("number", "grey"), [(40, "lines"), (200, "band")])
def test_if_there_are_many_curves_only_the_first_best_and_worst_are_drawn_in_full(number, grey):
    arms = [*ARMS, *(f"further {i}" for i in range(160))][:number]
    runs = _runs(arms)
    summary = curves.summarise(runs, _epochs(runs), arms)
    shown = curves.highlighted(summary, arms)
    means = runs.groupby("arm")["test_accuracy"].mean().sort_values()
    assert set(shown) == {"baseline", "aim", *means.index[-4:], *means.index[:2]}
    figure = curves.draw(summary, marks(arms))
    written = _readable(figure)
    assert f"{number - len(shown)} other arms" in written
    assert sum(text in arm_labels(arms, 30, 1).values() for text in written) == len(shown)
    words = curves.caption(summary)
    assert f"Of {number} arms, the first 2 in the plan, the 4 best and the 2 worst are drawn in full" in words
    assert grey in words


def test_if_there_are_few_curves_all_are_drawn_in_full():
    runs = _runs(ARMS[:12])
    summary = curves.summarise(runs, _epochs(runs), ARMS[:12])
    assert curves.highlighted(summary, ARMS[:12]) == ARMS[:12]
    assert "other" not in curves.caption(summary)


def test_forty_arms_have_one_row_each_in_the_slopegraph():
    summary = slopegraph.summarise(_runs(), ARMS)
    figure = slopegraph.draw(summary, marks(ARMS))
    assert figure.get_size_inches()[1] < 10
    lines = [path for drawn in figure.axes[0].collections for path in drawn.get_paths() if len(path) == len(ARMS)]
    assert not lines, "the runs with the same seed are not connected by a line"
    assert "Each marker is a run" in slopegraph.caption(summary, "aim", "baseline")
    _readable(figure)


def test_forty_arms_have_one_row_each_in_the_strip_plot():
    runs = _runs()
    judged = runs.assign(outcome="trained", accuracy=runs["test_accuracy"], chance=0.01)
    summary = strip.summarise(judged, runs[:0], ARMS)
    figure = strip.draw(summary, marks(ARMS))
    assert figure.get_size_inches()[1] < 12
    assert figure.axes[0].get_xlim()[0] > 40, "the chance line, at 1 %, would squeeze all runs into a corner"
    assert "The chance level is 1.00 %, far to the left of the axis." in strip.caption(summary)
    assert "chance level" not in _readable(figure)


def test_the_chance_line_is_drawn_if_there_is_space():
    runs = _runs(ARMS[:2])
    judged = runs.assign(outcome="trained", accuracy=runs["test_accuracy"], chance=0.49)
    summary = strip.summarise(judged, runs[:0], ARMS[:2])
    assert "chance level" in [text for text, _ in texts(strip.draw(summary, marks(ARMS[:2])))]
    assert "chance level" not in strip.caption(summary)


@pytest.mark.parametrize("side", ["treatment", "control", ""])
def test_labels_of_forty_comparisons_leave_out_the_arm_that_they_share(side):
    rng = np.random.default_rng(2)
    means = rng.normal(0, 1, len(ARMS) - 2)
    others = ARMS[2:]
    pairs = {"treatment": ("aim", others), "control": (others, "baseline"), "": (others, others[::-1])}[side]
    summary = pd.DataFrame({"comparison": others, "treatment": pairs[0], "control": pairs[1], "n": 5, "mean": means})
    for name, width in (("", 0.5), ("prediction_", 1.5)):
        summary = summary.assign(**{f"{name}lower": means - width, f"{name}upper": means + width})
    figure = forest.draw(summary, marks(ARMS), 1.0)
    written = _readable(figure)
    rows = [text for text in written if "batch_size" in text or "…" in text]
    assert figure.get_size_inches()[1] < 13
    assert len(rows) == len(others)
    common = {"treatment": "aim − the arm of the row", "control": "the arm of the row − baseline"}
    assert any(common[side] in text for text in written) if side else all("−" in text for text in rows)


def test_lines_break_after_characters_that_join_names():
    assert labels(["block_entry", "deep_convolutions", "a long name"], 12, 2) == {
        "block_entry": "block_entry",
        "deep_convolutions": "deep_\nconvolutions",
        "a long name": "a long name",
    }


@pytest.mark.parametrize(("distance", "overlap"), [(0.0, True), (0.02, True), (0.5, False)])
def test_overlapping_texts_are_detected(distance, overlap):
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.2, 0.2, "one")
    figure.text(0.2 + distance, 0.2, "two")
    if overlap:
        with pytest.raises(pytest.fail.Exception, match="'one' overlaps 'two'"):
            refuse_overlaps(texts(figure))
    else:
        refuse_overlaps(texts(figure))
