"""Variance by source in a study's findings and report, and the gain from pairing in every study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from synthetic_study import FakeArm

import analysis
from aimlib.config import STREAMS
from analysis.figures.palette import PAPER
from analysis.figures.variance_sources import caption, draw, summarise
from analysis.findings.study import examine
from analysis.load import load
from analysis.report.tables.pairing import by_source
from analysis.statistics.planned import planned_comparisons

SEEDS = list(range(12))
SOURCES = ("split", "init", "order", "noise")
SPREADS = {"split": 0.01, "init": 0.03, "order": 0.005, "noise": 0.0}


def config(memory: str | None, source: str | None) -> dict[str, Any]:
    streams = None if source is None else {name: None if name == source else 10**6 for name in STREAMS}
    return {"model": {"memory": memory}, "training": {"epochs": 6, "streams": streams}, "seed": 0}


def arms() -> list[FakeArm]:
    rng = np.random.default_rng(4)
    found = []
    for name, role, mean in (("baseline", "baseline", 0.30), ("aim", "aim", 0.40)):
        effects = {source: rng.normal(0, SPREADS[source], len(SEEDS)) for source in SOURCES}
        memory = "m" if name == "aim" else None
        whole = (mean + sum(effects.values())).tolist()
        found.append(FakeArm(name, role, mean, accuracies=whole, config=config(memory, None)))
        found += [
            FakeArm(
                f"{name}[{source}]",
                "other",
                mean,
                of=name,
                accuracies=(mean + effects[source]).tolist(),
                config=config(memory, source),
            )
            for source in SOURCES
        ]
    return found


@pytest.fixture
def study(make_study: Any) -> Any:
    return make_study(arms(), len(SEEDS), claim=None, images=4000)


def test_every_series_shows_the_variance_of_its_runs(study: Any) -> None:
    found = examine(load(study), unproven=True)
    runs = found.results.runs.set_index(["arm", "seed"])["test_accuracy"] * 100
    assert [each.of for each in found.variance_sources] == ["baseline", "aim", "aim − baseline"]
    for each in found.variance_sources[:2]:
        assert [source.source for source in each.sources] == list(SOURCES)
        assert each.variance == pytest.approx(runs[each.of].var())
        for source in each.sources:
            assert source.variance == pytest.approx(runs[f"{each.of}[{source.source}]"].var(), abs=1e-9)
    difference = found.variance_sources[2]
    of_init = runs["aim[init]"] - runs["baseline[init]"]
    assert difference.sources[1].share == pytest.approx(of_init.var() / (runs["aim"] - runs["baseline"]).var())
    assert difference.sources[3].share == 0


def test_series_are_not_part_of_any_gate_or_family(study: Any) -> None:
    plan = load(study).plan
    assert planned_comparisons(plan) == [("gate", "aim", "baseline")]


def test_the_report_contains_the_section_table_and_figure_and_states_what_pairing_saved(
    study: Any, tmp_path: Any
) -> None:
    analysis.report(study, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "## Variance by source" in text
    assert "the largest share is that of the initial values" in text
    assert "more seeds for the initial values alone never reveal" in text or "at least as much variance" in text
    assert "### What pairing saved" in text
    assert (tmp_path / "report" / "figures" / "variance_sources.svg").stat().st_size > 1000
    table = pd.read_csv(tmp_path / "report" / "tables" / "variance_sources.csv")
    assert len(table) == 3 * (len(SOURCES) + 2)


def test_every_study_states_what_pairing_saved_and_keeps_its_verdict(make_study: Any) -> None:
    two = [arm for arm in arms() if arm.name in ("baseline", "aim")]
    found = examine(load(make_study(two, len(SEEDS), claim=None)), unproven=True)
    assert found.variance_sources == ()
    pairs = found.primary.deciding_pairs
    assert found.pairing.n == len(pairs) == 12
    assert found.pairing.paired == pytest.approx(pairs["difference"].var())
    assert found.pairing.unpaired == pytest.approx(1e4 * (pairs["treatment"].var() + pairs["control"].var()))


def first_seeds(number: int) -> list[FakeArm]:
    """Return arms with fewer seeds and different random numbers."""
    rng, found = np.random.default_rng(15), arms()
    for arm in found:
        spread = next((SPREADS[source] for source in SOURCES if f"[{source}]" in arm.name), 0.01)
        arm.accuracies = (arm.mean + rng.normal(0, spread, number)).tolist()
    return found


@pytest.mark.parametrize("seeds", [2, 3])
def test_two_or_three_seeds_do_not_determine_any_share_and_nothing_is_concluded(make_study: Any, seeds: int) -> None:
    found = examine(load(make_study(first_seeds(seeds), seeds, claim=None, images=10_000, looks=[5])), unproven=True)
    table = by_source(found)
    assert table is not None
    for of in ("baseline", "aim", "aim − baseline"):
        assert (
            f"{of}: {seeds} seeds do not determine the shares of the validation split and initial values" in table.note
        )
    assert "which is always the case with 36 seeds" in table.note
    words = caption(found.variance_sources)
    assert "Hollow: the seeds do not determine the share" in words
    assert f"aim: {seeds} seeds do not determine the largest share." in words
    assert ("Arrow: the interval extends beyond" in words) is (seeds == 3)
    for said in (table.note, words):
        assert not any(
            claimed in said
            for claimed in ("never reveal", "as uncertain as", "at least as much", "the largest share is that of")
        )


def test_intervals_that_are_cut_off_end_in_an_arrow_and_markers_of_undetermined_shares_are_hollow(
    make_study: Any,
) -> None:
    found = examine(load(make_study(first_seeds(3), 3, claim=None, images=10_000, looks=[5])), unproven=True)
    summary = summarise(found.variance_sources)
    axes = draw(summary).axes[0]
    end = axes.get_xlim()[1]
    assert end > 100 * summary["share"].max()
    assert summary["upper"].max() > end / 100
    lines = [each for each in axes.collections if isinstance(each, LineCollection)]
    ends = [
        float(place) for each in lines for segment in each.get_segments() if len(segment) for place in segment[:, 0]
    ]
    assert max(ends) == end
    points = [each for each in axes.collections if not isinstance(each, LineCollection)]
    places = [[float(x) for x in np.ma.getdata(each.get_offsets())[:, 0]] for each in points]
    assert sum(x == end for each in places for x in each) == int((summary["upper"] > end / 100).sum())
    assert any(to_hex(colour) == PAPER.lower() for each in points for colour in each.get_facecolors())


def test_a_determined_share_states_its_interval(study: Any) -> None:
    found = examine(load(study), unproven=True)
    note = by_source(found).note
    share = next(each for each in found.variance_sources[1].sources if each.source == "init")
    assert share.determined
    if share.share < 1:
        assert f"of the variance (95 % interval {100 * (1 - min(share.share_upper, 1)):.0f} to" in note


def test_a_source_without_an_effect_is_reported_as_such(make_study: Any) -> None:
    planned = arms()
    next(arm for arm in planned if arm.name == "aim[init]").accuracies = [0.4] * 12
    found = examine(load(make_study(planned, 12, claim=None, images=4000)), unproven=True)
    assert "aim: varying the initial values alone had no effect in 12 seeds." in by_source(found).note
