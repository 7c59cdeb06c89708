"""Studies with many arms and runs: the content of shortened figures, and faster functions with the same results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blank_figures import blank_figures
from synthetic_study import FakeArm, FakeStudy, record, run_id, write_study

import analysis
from aimlib import records
from analysis.figures import curves, marks, png
from analysis.reading.files import read_batches
from analysis.report.figures import drawn_figures
from analysis.statistics.interval import t_interval
from analysis.statistics.paired import complete, paired_differences, pairing
from analysis.statistics.seeds_needed import CAP, seeds_needed
from analysis.statistics.verdict import decide


@pytest.fixture(scope="module")
def of_many_arms(tmp_path_factory):
    """Findings for 72 arms: baseline, AiM, its control, and 69 variants of AiM, each better than the previous one."""
    arms = [
        FakeArm("baseline", "baseline", 0.15),
        FakeArm("aim", "aim", 0.18),
        FakeArm("frozen", "frozen", 0.16, "aim"),
    ]
    arms += [FakeArm(f"variant {n:02}", "aim", 0.15 + 0.002 * n, "aim") for n in range(69)]
    study = FakeStudy(arms, list(range(5)), epochs=2, images=2000, spread=1e-3)
    directory = write_study(tmp_path_factory.mktemp("many") / "study", study, np.random.default_rng(0))
    return analysis.examine(analysis.load(directory))


def test_figures_of_many_arms_show_the_gates_and_the_best_and_worst_arms(of_many_arms):
    with blank_figures("forest"):
        drawn = drawn_figures(of_many_arms)
    forest = drawn["forest"].summary
    shown = {*forest["treatment"], *forest["control"]}
    assert {"baseline", "aim", "frozen", "variant 00", "variant 01", "variant 67", "variant 68"} <= shown
    assert "variant 34" not in shown
    assert len(shown) == 13
    assert "The figure shows 12 of 71 comparisons: those of the gates, and" in drawn["forest"].caption
    assert drawn["forest"].caption.startswith(
        "Thick: interval for the mean difference; thin: prediction interval for one further pair with one seed "
        "for both arms. Of 71 intervals"
    )
    assert drawn["strip"].caption.startswith("360 planned runs: ")
    assert not {"slopegraph", "capacity"} & set(drawn), "a ranking and the Pareto front say so for many arms"
    for name in ("strip", "patience"):
        assert "The figure shows 16 of 72 arms: the arms in the gates" in drawn[name].caption, name
        assert shown <= set(drawn[name].summary["arm"]), name
    assert drawn["strip"].summary["position"].unique().tolist() == list(range(16))
    own = drawn["curves"].summary
    assert set(own.loc[own["kind"] != "reported", "arm"]) == {"baseline", "aim", "frozen"}
    png(drawn["forest"].figure)


def test_tables_of_many_arms_are_complete(of_many_arms):
    assert len(of_many_arms.family.comparisons) == 71
    assert of_many_arms.judged["arm"].nunique() == 72


@pytest.mark.usefixtures("undrawn")
def test_figures_of_few_arms_do_not_mention_a_selection(make_study):
    drawn = drawn_figures(analysis.examine(analysis.load(make_study())))
    assert not [name for name, drawing in drawn.items() if "The figure shows" in drawing.caption]


def test_curves_of_many_runs_are_shown_as_bands():
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(
        {
            "run_id": [f"{n:03}" for n in range(401)],
            "status": "finished",
            "selected_epoch": pd.array([2] * 401, "Int64"),
        }
    )
    epochs = runs[["run_id"]].merge(pd.DataFrame({"epoch": [1, 2]}), how="cross").assign(arm="x")
    epochs["test_accuracy"] = epochs["validation_accuracy"] = rng.random(len(epochs))
    few = curves.summarise(runs[:400], epochs[:800], ["x"])
    assert set(few["kind"]) == {"run", "mean", "selected"}
    many = curves.summarise(runs, epochs, ["x"])
    assert set(many["kind"]) == {"spread", "mean"}
    band = many.query("kind == 'spread' and panel == 'test'").set_index("epoch")
    at_two = 100 * epochs.loc[epochs["epoch"] == 2, "test_accuracy"]
    assert band.loc[2, ["lower", "accuracy", "upper"]].tolist() == at_two.quantile([0.05, 0.5, 0.95]).tolist()
    assert (band["n"] == 401).all()
    assert curves.caption(many).startswith("The middle 90 % of each arm's runs (pale), and the mean")
    low, high = curves.draw(many, marks(["x"])).axes[0].get_ylim()
    assert low < band["lower"].min()
    assert high > band["upper"].max()


def test_pairing_finds_the_same_pairs_as_paired_differences():
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(
        {
            "arm": rng.permutation(["a"] * 12 + ["b"] * 12 + ["c"] * 12),
            "status": rng.choice(["finished", "diverged", "failed", "pruned"], 36),
            "test_accuracy": rng.random(36),
        }
    )
    runs["seed"] = runs.groupby("arm").cumcount().map(dict(enumerate(rng.permutation(12))))
    first, second = pairing(runs, "a", "b")
    values = runs["test_accuracy"].to_numpy()
    found = complete(paired_differences(runs, "a", "b"))
    assert (100 * (values[first] - values[second])).tolist() == found["difference"].tolist()
    assert runs["seed"].to_numpy()[first].tolist() == found["seed"].tolist()


@pytest.mark.parametrize("intervals", [10, pytest.param(100, marks=pytest.mark.slow)])  # 200 verdicts each
def test_the_number_of_seeds_needed_is_the_first_at_which_the_table_stops_the_study(intervals):
    rng = np.random.default_rng(0)
    for _ in range(intervals):
        found = t_interval(rng.normal(rng.uniform(-3, 6), rng.uniform(0.2, 3), int(rng.integers(2, 12))), 0.02)
        needed = seeds_needed(found, 1.0, 4.92)
        margins = {
            total: t_interval(np.array([0.0, 1.0] * total)[:total], 0.02).critical * found.cautious_sd / np.sqrt(total)
            for total in range(max(found.n + 1, 5), found.n + CAP + 1)
        }
        stops = [
            total
            for total, margin in margins.items()
            if decide(found.mean - margin, found.mean + margin, found.sd, total, 1.0, 4.92).stops
        ]
        assert needed.more == (stops[0] - found.n if stops else None)


def test_predictions_are_read_only_for_the_requested_runs(tmp_path):
    study = FakeStudy([FakeArm("a")], list(range(4)), images=10)
    rng = np.random.default_rng(0)
    rows = [records.to_table(record(study, rng, 0, seed, "finished")) for seed in range(4)]
    path = tmp_path / "segments" / "0123.parquet"
    path.parent.mkdir()
    with pq.ParquetWriter(path, records.run_schema()) as writer:
        for pair in (rows[:2], rows[2:]):
            writer.write_table(pa.concat_tables(pair))
    read = read_batches(path, ["run_id"], {run_id(0, 3)}, lambda batch: batch.column("run_id").to_pylist())
    assert read == [[run_id(0, 2), run_id(0, 3)]]
    assert read_batches(path, ["run_id"], {"f" * 20}, lambda batch: batch) == []
