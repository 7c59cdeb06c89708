"""A budget of device hours: only affordable looks are started, and the cost of the other looks is reported."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import ablate
from rich.console import Console

import analysis
from ablations.sessions import budget, sequential_looks
from ablations.sessions.budget import Budget
from ablations.sessions.launch import run
from ablations.sessions.result import SessionResult
from aimlib.errors import UsageError

StudyMaker = Callable[..., Path]
Run = Callable[..., SessionResult]
SMALL = {"base/training/epochs": 1}


@pytest.fixture
def an_hour_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the duration of every stored run to one hour on each of its CPUs."""
    stored = budget._rows
    monkeypatch.setattr(budget, "_rows", lambda store: stored(store).assign(seconds=3600.0))


@pytest.fixture
def with_budget(study: StudyMaker, tmp_path: Path) -> Run:
    def start(hours: str | None, changes: dict[str, Any] | None = None, **options: Any) -> SessionResult:
        file = study({"seeds": 8, **SMALL, **(changes or {})})
        return run(file, tmp_path / "out", executor="inline", budget=hours, **options)

    return start


@pytest.mark.parametrize(
    ("text", "hours", "device"),
    [
        ("20gpuh", 20, "gpu"),
        ("1.5 cpuh", 1.5, "cpu"),
        (".5GPUh", 0.5, "gpu"),
        ("90gpumin", 1.5, "gpu"),
        ("12 gpu-hours", 12, "gpu"),
        ("1 CPU-hour", 1, "cpu"),
        ("30 cpu minutes", 0.5, "cpu"),
    ],
)
def test_amounts_of_device_hours_are_parsed(text: str, hours: float, device: str) -> None:
    assert Budget.parse(text) == Budget(hours, device)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["20", "20h", "gpuh", "20gpu", "-3gpuh", "1e3gpuh", "0gpuh", "20gpudays", "nan cpuh", ""]
)
def test_an_invalid_amount_is_refused_with_the_right_notation(text: str) -> None:
    with pytest.raises(UsageError, match=r"--budget .*(use a number with gpuh or cpuh|must be greater than 0)"):
        Budget.parse(text)


@given(st.floats(1e-4, 1e6))
def test_the_proposed_budget_is_just_enough(hours: float) -> None:
    proposed = Budget.parse(f"{budget._rounded_up(hours)}gpuh").hours
    assert hours * (1 - 1e-5) <= proposed <= hours * 1.1 + 1e-9


@pytest.mark.usefixtures("an_hour_each")
def test_whole_looks_are_computed_as_long_as_the_budget_covers_them(with_budget: Run, tmp_path: Path) -> None:
    first = with_budget("12cpuh")
    assert (first.computed, len(first.open), first.cut_off) == (10, 6, False)
    assert first.budget is not None
    assert first.budget.open == set(first.open)
    assert first.budget.text == (
        "budget: 10 CPU-hours of 12 are used. The next step, to 8 pairs, needs 6 more runs, about 6 CPU-hours. "
        "The same command with --budget 16cpuh or more continues."
    )
    results = analysis.load(tmp_path / "out")
    assert sorted(results.runs["seed"].unique()) == [0, 1, 2, 3, 4], "only the pairs of the first look"
    assert analysis.examine(results).primary.interval.n == 5  # type: ignore[union-attr]
    again = with_budget("15.9cpuh")
    assert (again.computed, again.settled_before, len(again.open)) == (0, 10, 6)
    last = with_budget("16cpuh")
    assert (last.computed, last.open, last.budget) == (6, (), None)


@pytest.mark.usefixtures("an_hour_each")
def test_before_any_measurement_one_seed_is_computed(with_budget: Run, tmp_path: Path) -> None:
    found = with_budget("3cpuh", {"resources": {"cpus": 2}})
    assert (found.computed, len(found.open)) == (2, 14)
    assert set(analysis.load(tmp_path / "out").runs["seed"]) == {0}
    assert found.budget is not None
    assert found.budget.hours == 4, "two runs with two CPUs each"
    assert found.budget.text == (
        "budget: 4 CPU-hours of 3 are used. The next step, to 5 pairs, needs 8 more runs, about 16 CPU-hours; all 14 "
        "open runs need about 28 CPU-hours. The same command with --budget 20cpuh or more continues."
    )


@pytest.mark.usefixtures("an_hour_each")
def test_seeds_before_the_first_look_are_started_one_by_one(with_budget: Run) -> None:
    found = with_budget("5cpuh", {"seeds": 3})
    assert (found.computed, len(found.open)) == (4, 2)
    assert found.budget is not None
    assert "to 3 pairs, needs 2 more runs" in found.budget.text


@pytest.mark.usefixtures("an_hour_each")
def test_a_study_that_runs_until_its_verdict_does_not_add_looks_beyond_the_budget(
    with_budget: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    undecided = SimpleNamespace(unsettled=("aim − baseline",), primary=None, headline="a headline")
    monkeypatch.setattr(sequential_looks, "_look", lambda _: undecided)
    found = with_budget("12cpuh", {"seeds": 5}, until_verdict=True, console=Console(file=said, width=200))
    assert "look after 5 pairs: " in said.getvalue()
    assert found.computed == 10
    assert len(analysis.load(tmp_path / "out").runs) == 10
    assert found.budget is not None
    assert "to 8 pairs, needs 6 more runs" in found.budget.text


def test_the_time_of_an_unmeasured_arm_is_scaled_by_its_work_and_copied_runs_cost_nothing() -> None:
    class Summary:
        def __init__(self, multiply_adds: int) -> None:
            self.multiply_adds = multiply_adds

    training = SimpleNamespace(epochs=3)
    arms = [
        SimpleNamespace(
            name=name, resources=SimpleNamespace(cpus=2, gpus=0.5), config=SimpleNamespace(training=training)
        )
        for name in ("a", "b")
    ]
    plan: Any = SimpleNamespace(arms=arms, summaries={"a": Summary(100), "b": Summary(250)})
    frame = pd.DataFrame(
        {
            "arm": ["a", "a", "a", "b"],
            "status": ["finished", "finished", "failed", "finished"],
            "seconds": [1800.0, 5400.0, None, 9e9],
            "reused_from": [None, None, None, "other@1"],
        }
    )
    found = budget.AffordableRuns(Budget(9, "gpu"), plan, [], None)  # type: ignore[arg-type]
    assert found._hours_used(Budget(9, "gpu"), frame) == pytest.approx(1.0)
    assert found._hours_used(Budget(9, "cpu"), frame) == pytest.approx(4.0)
    assert found._seconds(frame) == pytest.approx({"a": 3600.0, "b": 9000.0})


def test_gpu_hours_cannot_limit_a_study_without_gpus(with_budget: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in this study uses a GPU; use CPU-hours"):
        with_budget("20gpuh")
    assert not (tmp_path / "out" / "study.json").exists()


def test_a_search_is_limited_by_its_number_of_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ablate(capsys, "run", "screening_small", "--out", tmp_path / "out", "--budget", "2cpuh")
    assert code == 2
    assert "--budget: a search is limited by the number of its trials; set search.trials instead" in " ".join(
        err.split()
    )


def test_the_command_reports_the_open_runs_and_exits_with_code_1(
    study: StudyMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study({"seeds": 2, **SMALL})
    words = ("run", file, "--out", tmp_path / "out", "--executor", "inline", "--budget")
    code, out, _ = ablate(capsys, *words, "0.000001cpuh")
    shown = " ".join(out.split())
    assert code == 1
    assert "4 runs: 2 computed now, 0 settled before, 0 failed, 2 open" in shown
    assert "The same command with --budget" in shown
    assert "interrupted" not in shown
    code, out, _ = ablate(capsys, *words, "1cpuh")
    assert (code, "budget" in out) == (0, False)
