"""Copies of one study that were continued separately and then merged, for instance with rsync."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from victims import Victim

import ablations
from aimlib.errors import StoreError

VERDICTS = ("examine", "report")


def merge(copy: Path, study: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(copy / name, study / name, dirs_exist_ok=True)


def continued(victim: Victim) -> Path:
    """Return a copy of the study that computed its first run again, and had never heard of the first row."""
    copy = victim.folder / "copy"
    ablations.run(victim.study, copy, executor="inline")
    return copy


def test_a_run_of_which_both_copies_entered_a_row_has_no_verdict(victim: Victim) -> None:
    copy = continued(victim)
    shutil.copy(copy / "analysis_plan.json", victim.directory / "analysis_plan.json")
    merge(copy, victim.directory, "runs", "ledger")
    said = victim.read()
    for entry in VERDICTS:
        assert "the ledger contains 2 different rows of it" in said[entry], said
        assert "delete its file, and run `ablate run`" in said[entry]
    assert not ablations.verify(victim.directory).is_intact
    for path in victim.runs:
        path.unlink()
    assert victim.run() == {"run": "ok"}
    said = victim.read()
    assert {said[entry] for entry in VERDICTS} == {"ok"}, said


def test_reuse_takes_no_row_of_a_study_whose_ledger_has_two(victim: Victim) -> None:
    merge(continued(victim), victim.directory, "runs", "ledger")
    victim.ablate(
        "run", victim.study, "--out", victim.folder / "new", "--executor", "inline", "--reuse", victim.directory
    )
    assert "the ledger of its study contains 2 different rows of it" in victim.printed
    assert "2 runs: 2 computed now" in victim.printed


def test_reuse_refuses_a_study_with_the_plan_of_another(victim: Victim) -> None:
    victim.plant("study.json", (victim.directory / "study.json").read_text().replace('"planted"', '"another"'))
    with pytest.raises(StoreError, match=r"study\.json"):
        ablations.run(victim.study, victim.folder / "new", executor="inline", reuse=victim.directory)
    document = victim.plan()
    victim.plant("study.json", json.dumps(document | {"name": "another"}))
    with pytest.raises(StoreError, match=r"study\.json: it is not one of the plans in plans/"):
        ablations.run(victim.study, victim.folder / "new", executor="inline", reuse=victim.directory)
