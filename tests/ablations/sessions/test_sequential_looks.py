"""One look after another until no question is open: seeds are added according to the frozen plan, without reading
results."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tiny_study import numbers

import analysis
from ablations.sessions import sequential_looks
from ablations.sessions.launch import run
from ablations.sessions.result import SessionResult
from ablations.sessions.sequential_looks import extended
from ablations.spec.study import read_study

StudyMaker = Callable[..., Path]


def session(**changes: Any) -> SessionResult:
    given: dict[str, Any] = {"failed": {}, "open": (), "computed": 2} | changes
    return SessionResult(Path("x"), planned=10, settled_before=0, **given)


def driven(
    monkeypatch: pytest.MonkeyPatch,
    study: Path,
    looks: Sequence[tuple[str, ...]],
    planned: Sequence[int] = (),
    sessions: Sequence[SessionResult] = (),
) -> tuple[list[list[int]], SessionResult, str]:
    """Return the computed seeds, the session and its messages for looks at which these comparisons are open."""
    runs: list[list[int]] = []
    found, given = iter(looks), iter(sessions)

    def compute(seeds: Sequence[int]) -> SessionResult:
        runs.append(list(seeds))
        return next(given, session())

    def look(_: Path) -> Any:
        return SimpleNamespace(unsettled=next(found), primary=None, headline="a headline")

    monkeypatch.setattr(sequential_looks, "_look", look)
    said = io.StringIO()
    console = Console(file=said, width=200)
    last = sequential_looks.until_verdict(read_study(study), planned, compute, console)
    return runs, last, said.getvalue()


def test_seeds_are_added_from_look_to_look_until_no_question_is_open(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, last, said = driven(monkeypatch, study({"seeds": 2}), [("aim − baseline",), ()])
    assert runs == [list(range(5)), list(range(8))]
    assert last.computed == 4
    assert "look after 5 pairs: a headline" in said
    assert "open: aim − baseline; adding 3 pairs for the next look" in said
    assert "further pairs could not settle any open question" in said


def test_a_study_ends_when_no_look_is_left(study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    open_still = [("aim − baseline",)] * 4
    runs, _, said = driven(monkeypatch, study({"seeds": [3, 9], "looks": [5, 6], "further_block": 2}), open_still)
    assert runs == [[3, 9, 10, 11, 12], [3, 9, 10, 11, 12, 13], [3, 9, 10, 11, 12, 13, 14, 15]]
    assert "no look is left" in said


def test_an_extended_study_continues_from_its_seeds(study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, _, _ = driven(monkeypatch, study({"seeds": 5}), [()], planned=range(8))
    assert runs == [list(range(8))]
    runs, _, _ = driven(monkeypatch, study({"seeds": 5}), [()], planned=[7, 8])
    assert runs == [list(range(5))], "the seeds of a different study are not used"


@pytest.mark.parametrize(
    "trouble", [{"failed": {"x": "why"}}, {"open": ("x",)}, {"interrupted": "Ctrl-C", "code": 130}]
)
def test_no_look_is_taken_if_a_pair_is_missing(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch, trouble: dict[str, Any]
) -> None:
    runs, last, said = driven(monkeypatch, study(), [], sessions=[session(**trouble)])
    assert (len(runs), said) == (1, "")
    assert (last.failed, last.open, last.interrupted) == (
        trouble.get("failed", {}),
        trouble.get("open", ()),
        trouble.get("interrupted", ""),
    )


def test_added_seeds_follow_the_largest_seed() -> None:
    assert extended([4, 1], 4) == [4, 1, 5, 6]
    assert extended([0, 1, 2], 2) == [0, 1, 2]


def test_a_real_study_runs_to_its_end_and_its_plan_remains_frozen(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"base.data.size": 8, "base.training.epochs": 1, "looks": [5, 6], "seeds": 3})
    directory = tmp_path / "out"
    found = run(path, directory, executor="inline", until_verdict=True)
    assert found.open == ()
    frozen = json.loads((directory / "analysis_plan.json").read_text())
    assert frozen["content"]["seeds"] == [0, 1, 2, 3, 4]
    findings = analysis.examine(analysis.load(directory))
    pairs = len(numbers(directory)) // 2
    assert pairs == 6 or (pairs == 5 and not findings.unsettled)
    assert findings.deviations == ()
    assert (found.settled_before, found.computed) == (0, found.planned)
    again = run(path, directory, executor="inline", until_verdict=True)
    assert (again.settled_before, again.computed) == (found.planned, 0)


def test_pairs_are_added_one_by_one_if_the_verdict_may_be_read_at_any_number_of_pairs(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study({"seeds": 2, "looks": "any"})
    runs, _, said = driven(monkeypatch, path, [("aim − baseline",), ("aim − baseline",), ()])
    assert runs == [list(range(5)), list(range(6)), list(range(7))]
    assert "adding 1 pairs for the next look" not in said
    assert "adding 1 pair for the next look" in said


def test_pairs_are_added_in_blocks_up_to_the_maximum(study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study({"seeds": 7, "looks": "any", "block": 4, "max_pairs": 13})
    runs, _, said = driven(monkeypatch, path, [("aim − baseline",)] * 4)
    assert [len(seeds) for seeds in runs] == [7, 11, 13]
    assert "open: aim − baseline; max_pairs is reached, 13" in said
    runs, _, _ = driven(monkeypatch, path, [("aim − baseline",)], planned=range(20))
    assert [len(seeds) for seeds in runs] == [20], "a study that already has more pairs is read with all of them"


def test_a_real_study_without_planned_looks_reaches_its_verdict(study: StudyMaker, tmp_path: Path) -> None:
    changes = {"base.data.size": 8, "base.training.epochs": 1, "looks": "any", "max_pairs": 7, "seeds": 3}
    directory = tmp_path / "out"
    found = run(study(changes), directory, executor="inline", until_verdict=True)
    assert found.open == ()
    findings = analysis.examine(analysis.load(directory))
    pairs = len(numbers(directory)) // 2
    assert pairs == 7 or (5 <= pairs < 7 and not findings.unsettled)
    assert findings.deviations == ()
    further = run(study(changes | {"max_pairs": 8}), directory, executor="inline", until_verdict=True)
    assert analysis.examine(analysis.load(directory)).deviations == (), "continuing is not a deviation"
    assert further.planned >= found.planned
