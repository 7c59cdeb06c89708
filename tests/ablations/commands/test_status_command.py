"""`ablate status` in the middle of a study: the study's progress, and the verdict as of the last look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import ARMS, FakeStudy, write_study

import analysis
from ablations.commands.status import command, status
from analysis.findings.standing import standing


def made(folder: Path, missing: list[tuple[str, int]], seeds: int = 8, **options: Any) -> analysis.Results:
    status = dict.fromkeys(missing, "missing")
    draws = np.random.default_rng(1)
    arms = [replace(arm, accuracies=list(draws.normal(arm.mean, 0.005, 8))) for arm in ARMS]
    study = FakeStudy(arms, list(range(seeds)), status=status, looks=[5, 8, 12], **options)
    return analysis.load(write_study(folder, study, np.random.default_rng(0)))


def test_before_the_first_look_there_is_no_verdict_and_no_difference(tmp_path: Path) -> None:
    said = standing(made(tmp_path, [(arm.name, seed) for arm in ARMS for seed in range(3, 8)]))
    assert said == ("12 of 32 runs have a result. No verdict yet: 3 of the 5 pairs for the first look are settled.")


def test_between_two_looks_the_verdict_of_the_last_look_applies(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    said = standing(made(tmp_path / "half", [("aim", 6), ("aim", 7), ("frozen", 7)]))
    (tmp_path / "five").mkdir()
    five = analysis.examine(made(tmp_path / "five", [(arm.name, seed) for arm in ARMS for seed in range(5, 8)]))
    assert said.startswith("29 of 32 runs have a result. As of the look after 5 pairs: ")
    assert "5 paired seeds" in said
    assert said.endswith(five.headline)


def test_a_verdict_does_not_wait_for_runs_that_it_does_not_need(tmp_path: Path) -> None:
    results = made(tmp_path, [("frozen", 7)])
    assert standing(results) == analysis.examine(results).headline


def test_a_complete_study_has_a_headline(tmp_path: Path) -> None:
    results = made(tmp_path, [])
    assert standing(results) == analysis.examine(results).headline


def test_a_study_with_fewer_seeds_than_the_first_look_needs_states_how_many_runs_are_done(tmp_path: Path) -> None:
    said = standing(made(tmp_path, [("aim", 1)], seeds=2))
    assert said == "7 of 8 runs have a result. No verdict yet."


@pytest.mark.parametrize("missing", [[], [("aim", 7)]])
def test_additional_arms_do_not_affect_the_gates(tmp_path: Path, missing: list[tuple[str, int]]) -> None:
    results = made(tmp_path, missing)
    whole, gates = analysis.examine(results), analysis.examine(results, further=False)
    assert gates.headline == whole.headline
    assert gates.causal == whole.causal
    kept = [c for c in whole.family.comparisons if c.family == "gate"]
    assert [c.name for c in gates.family.comparisons] == [c.name for c in kept]
    assert [c.interval for c in gates.family.comparisons] == [c.interval for c in kept]


def test_the_node_hours_of_a_cluster_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, [])
    command(str(tmp_path))
    assert "node-hours" not in capsys.readouterr().out
    folder = tmp_path / "live"
    folder.mkdir(exist_ok=True)
    for session, seconds in (("0" * 12, 3600.0), ("1" * 12, 1800.0)):
        (folder / f"{session}.nodes").write_text(json.dumps({"node_seconds": seconds}), encoding="ascii")
    command(str(tmp_path))
    assert "1.5 node-hours so far, in 2 sessions" in capsys.readouterr().out


def test_the_status_says_that_rows_are_not_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, [])
    command(str(tmp_path))
    said = "This quick summary does not verify the rows; `ablate verify` does."
    assert said in capsys.readouterr().out
    found = status(str(tmp_path))
    assert said in repr(found)
    assert said in found._repr_html_()
