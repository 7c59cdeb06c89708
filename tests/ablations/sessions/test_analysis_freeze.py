"""`ablate run` freezes the analysis plan before the first run, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_study import changed, write

import analysis
from ablations.sessions import launch
from ablations.spec.study import read_study
from aimlib.errors import ConfigError
from aimlib.records import ANALYSIS_PLAN


def run(path, out, *overrides):
    return launch.run(path, out, overrides, executor="inline")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Return the directory of the tiny study, which has been run once."""
    folder = tmp_path_factory.mktemp("computed")
    run(write(folder, changed({})), folder / "out")
    return folder / "out"


@pytest.fixture
def out(computed, tmp_path):
    """Return a copy of the directory."""
    return Path(shutil.copytree(computed, tmp_path / "out"))


def test_the_plan_is_frozen_before_the_first_run_and_followed(computed):
    results = analysis.load(computed)
    assert (results.runs["started_at"] >= results.frozen.at).all()
    assert analysis.examine(results).deviations == ()
    assert results.frozen.content["looks"] == [5, 8, 12]
    assert all(abs(level - 0.0213) < 3e-4 for level in results.frozen.content["levels"])


def test_the_frozen_plan_is_never_replaced_and_a_changed_margin_is_reported(study, out):
    before = (out / ANALYSIS_PLAN).read_bytes()
    run(study(), out, "delta_pp=0.5")
    assert (out / ANALYSIS_PLAN).read_bytes() == before
    assert "Exploratory: delta_pp is 0.5" in analysis.examine(analysis.load(out)).headline


def test_adding_seeds_is_not_a_deviation(study, out):
    seeds = json.loads((out / "study.json").read_text())["seeds"]
    run(study(), out, f"seeds={[*seeds, max(seeds) + 1]}")
    assert analysis.examine(analysis.load(out)).deviations == ()


def test_runs_without_a_frozen_plan_remain_exploratory(study, out):
    (out / ANALYSIS_PLAN).unlink()
    run(study(), out)
    assert "runs began before the freeze" in analysis.examine(analysis.load(out)).headline


def test_looks_are_validated(study):
    with pytest.raises(ConfigError, match=r"looks must be increasing numbers of pairs, at least 5 each; got \(4, 8\)"):
        read_study(study({"looks": [4, 8]}))
    assert read_study(study({"looks": 20})).spec.looks == (20,)
    with pytest.raises(ConfigError, match=r"looks: must be numbers of pairs, e.g. \[5, 8, 12\]"):
        read_study(study({"looks": "often"}))
