"""Copies of a study that were continued separately and then merged, for example with rsync."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from victims import Victim

import ablations
import analysis
from aimlib.errors import StoreError
from aimlib.records import ledger

VERDICTS = ("examine", "report")


def merge(copy: Path, study: Path, *names: str) -> None:
    for name in names:
        shutil.copytree(copy / name, study / name, dirs_exist_ok=True)


def continued(victim: Victim) -> Path:
    """Return a second directory of the same study, in which all runs were computed separately."""
    copy = victim.folder / "copy"
    ablations.run(victim.study, copy, executor="inline")
    return copy


def test_there_is_no_verdict_if_both_copies_entered_the_same_run(victim: Victim) -> None:
    copy = continued(victim)
    shutil.copy(copy / "analysis_plan.json", victim.directory / "analysis_plan.json")
    merge(copy, victim.directory, "runs", "ledger")
    said = victim.read()
    for entry in VERDICTS:
        assert "the ledger contains 2 different rows for it" in said[entry], said
        assert "delete its file, and run `ablate run`" in said[entry]
    assert not ablations.verify(victim.directory).is_intact
    for path in victim.runs:
        path.unlink()
    assert victim.run() == {"run": "ok"}
    said = victim.read()
    assert {said[entry] for entry in VERDICTS} == {"ok"}, said
    twice = "the ledger contains 2 frozen analysis plans"
    assert twice in analysis.examine(analysis.load(victim.directory)).headline
    packed = ablations.archive(victim.directory, victim.folder / "packed.tar.gz")
    assert twice in packed.verdict
    assert ablations.recompute(packed.path).verdict == packed.verdict


def test_a_missing_page_does_not_excuse_a_second_row(victim: Victim) -> None:
    path = victim.directory / "ledger" / "aaaaaaaaaaaa.0000"
    entries = [ledger.entry(ledger.NO_HASH, "session", "aaaaaaaaaaaa", "2026-01-01T00:00:00Z")]
    for kind, what, digest in (
        ("gap", "bbbbbbbbbbbb.0000", "2026-01-01T00:00:00Z"),
        ("row", victim.runs[0].stem, "1" * 64),
    ):
        entries.append(ledger.entry(entries[-1].hash, kind, what, digest))
    path.write_text(ledger.Page("aaaaaaaaaaaa", 0, ledger.NO_HASH, tuple(entries)).text())
    said = victim.read()
    for name in VERDICTS:
        assert "the ledger contains 2 different rows for it" in said[name], said
    victim.runs[0].unlink()
    assert victim.run() == {"run": "ok"}
    said = victim.read()
    assert {said[name] for name in VERDICTS} == {"ok"}, said


def test_reuse_does_not_copy_a_row_for_which_the_ledger_contains_two_entries(victim: Victim) -> None:
    merge(continued(victim), victim.directory, "runs", "ledger")
    victim.ablate(
        "run", victim.study, "--out", victim.folder / "new", "--executor", "inline", "--reuse", victim.directory
    )
    assert "its study's ledger contains 2 different rows for this run" in victim.printed
    assert "2 runs: 2 computed now" in victim.printed


def test_reuse_refuses_a_study_with_the_plan_of_another_study(victim: Victim) -> None:
    victim.plant("study.json", (victim.directory / "study.json").read_text().replace('"planted"', '"another"'))
    with pytest.raises(StoreError, match=r"study\.json"):
        ablations.run(victim.study, victim.folder / "new", executor="inline", reuse=victim.directory)
    document = victim.plan()
    victim.plant("study.json", json.dumps(document | {"name": "another"}))
    with pytest.raises(StoreError, match=r"study\.json: it is not one of the plans in plans/"):
        ablations.run(victim.study, victim.folder / "new", executor="inline", reuse=victim.directory)
