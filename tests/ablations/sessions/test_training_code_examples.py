"""Each example of a user's own training code runs unchanged, reproduces its numbers, and continues where it paused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_runs import restored_registries

import ablations
import analysis
from ablations.planning import own_code
from ablations.planning import plan as planning
from ablations.spec.study import read_study
from aimlib.training.checkpoint_manager import Paused
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.own.loop import Attempt, train

FOLDER = Path(__file__).parents[3] / "examples" / "training_code"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


@pytest.mark.parametrize(("name", "package"), [("forest", "sklearn"), ("lightning", "lightning"), ("timm", "timm")])
def test_an_example_runs_unchanged(name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    session = ablations.run(FOLDER / f"{name}.yaml", tmp_path / "out", ["seeds=1"], executor="inline", trust=True)
    assert (session.computed, session.failed) == (2, {})
    runs = analysis.load(tmp_path / "out").runs
    assert list(runs["repeated"].dropna()) == ["same"], "its random draws depend only on the seed"
    assert runs["test_accuracy"].min() > 0.15, "the code learns"


@pytest.mark.parametrize(("name", "package"), [("lightning", "lightning"), ("timm", "timm")])
def test_an_example_continues_with_the_same_numbers(name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    study = read_study(FOLDER / f"{name}.yaml", ["seeds=1"])
    own_code.enter(study, True)
    run, *_ = planning.plan(study).runs
    assert isinstance(run.config, OwnRunConfig)
    data = planning.plan(study).data[run.arm]
    whole = train(run.config, data, Attempt(threads=1))
    asked = iter([False, True])
    with pytest.raises(Paused):
        train(run.config, data, Attempt("r", tmp_path, threads=1, pause=lambda: next(asked)))
    rest = train(run.config, data, Attempt("r", tmp_path, threads=1))
    assert [epoch["train_loss"] for epoch in rest.epochs] == [epoch["train_loss"] for epoch in whole.epochs]
    assert (rest.predictions == whole.predictions).all()
