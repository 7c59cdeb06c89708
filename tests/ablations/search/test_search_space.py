"""The search space is derived from the plugins' dimensions, and screening and confirmation work from end to end."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from drivers import Farm
from fake_launcher import FakeLauncher
from tiny_runs import NEEDED
from tiny_study import numbers

import analysis
from ablations.commands.check import check
from ablations.search import Parameter, corners, described, merged, space, suggest
from ablations.sessions import screening
from ablations.sessions.launch import run
from ablations.spec.study import read_study
from aimlib.component import Categorical, Integer, Real
from aimlib.config import ModelConfig
from aimlib.errors import ConfigError, UsageError
from aimlib.placements import Placement
from aimlib.registry import FAMILIES, memories, placements, updates
from aimlib.training.run import Run

StudyMaker = Callable[..., Path]
ARM: dict[str, Any] = {
    "model": {
        "backbone": {"name": "small_resnet", "widths": [4, 4], "blocks": [1, 1]},
        "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 3},
        "placement": "every_layer",
        "update": "conv_sigmoid",
        "update_after": "block",
    },
    "training": {"optimizer": {"name": "adam", "learning_rate": 1e-3}},
}
ALL = ("model.memory", "model.placement", "model.update", "model.update_after", "model.carry", "model.read_init")


def by_name(over: tuple[str, ...] = ALL) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in space(over, ARM)}


def test_every_dimension_of_every_plugin_is_in_the_space() -> None:
    parameters = by_name()
    for path, family in (("model.memory", memories), ("model.placement", placements), ("model.update", updates)):
        choices = parameters[path].dimension
        assert isinstance(choices, Categorical)
        usable = [name for name in family.names() if name != "layers"]  # an option without a default
        assert [choice for choice in choices.choices if choice != "none"] == usable
        for name in usable:
            for option, dimension in getattr(family.get(name), "search_space", {}).items():
                found = parameters[f"{path}.{name}.{option}"]
                assert found.dimension == dimension
                assert found.only_if == (path, name)


def test_every_dimension_names_an_option_and_stays_within_its_range() -> None:
    """In all families, a plugin accepts both ends of every range that it declares."""
    seen = 0
    for family in FAMILIES:
        for name in family.names():
            plugin = family.get(name)
            for option, dimension in getattr(plugin, "search_space", {}).items():
                ends = dimension.choices if isinstance(dimension, Categorical) else (dimension.low, dimension.high)
                for end in ends:
                    assert getattr(family.parse({"name": name, **NEEDED.get(name, {}), option: end}), option) == end
                    seen += 1
    assert seen > 40


def test_a_third_party_plugin_and_its_dimensions_are_included_automatically() -> None:
    class Few(Placement):
        """A placement with few reading layers."""

        search_space: ClassVar[dict[str, Any]] = {"count": Integer(1, 5)}

        class Config(placements.get("every_layer").Config):  # type: ignore[misc, name-defined]
            """The number of layers."""

            count: int = 2

        def reads(self, layers: Any) -> list[str]:
            return [layer.name for layer in layers[: self.config.count]]  # type: ignore[attr-defined]

    placements.register("few")(Few)
    try:
        parameters = by_name()
        assert parameters["model.placement.few.count"].dimension == Integer(1, 5)
        assert "few" in parameters["model.placement"].dimension.choices  # type: ignore[union-attr]
    finally:
        del placements._classes["few"]


def test_options_are_drawn_only_if_their_plugin_was_chosen() -> None:
    parameters = space(ALL, ARM)
    fixed = optuna.trial.FixedTrial(
        {
            "model.memory": "dense_ones",
            "model.memory.dense_ones.channels": 32,
            "model.memory.dense_ones.inputs": 7,
            "model.memory.dense_ones.initial_scale": 0.5,
            "model.placement": "block_entry",
            "model.update": "none",
            "model.carry": "with",
            "model.carry.decay": 0.8,
            "model.carry.share": 0.3,
            "model.read_init": "own",
        }
    )
    drawn = suggest(fixed, parameters)  # calling any method that `fixed` lacks raises an error
    assert drawn == {
        "model": {
            "memory": {"name": "dense_ones", "channels": 32, "inputs": 7, "initial_scale": 0.5},
            "placement": {"name": "block_entry"},
            "update": "none",
            "carry": {"decay": 0.8, "share": 0.3},
            "read_init": "own",
        }
    }


def test_the_drawn_values_merged_over_the_arm_form_a_valid_model() -> None:
    parameters, sampler = space(ALL, ARM), optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    seen: set[str] = set()
    for _ in range(60):
        document = merged(ARM, suggest(study.ask(), parameters))
        model = ModelConfig.parse(document["model"])
        assert model.memory is not None
        assert (model.memory.rows, model.memory.columns) == (2, 3), "the arm's rows and columns are kept"  # type: ignore[attr-defined]
        seen |= {model.memory.name, model.update.name if model.update else "none"}
    assert seen == {*memories.names(), *updates.names(), "none"}


def test_a_single_option_belongs_to_the_component_that_the_arm_uses() -> None:
    (rate,) = space(("training.optimizer.learning_rate",), ARM)
    assert rate.dimension == Real(1e-5, 1e-2, log=True)
    assert suggest(optuna.trial.FixedTrial({rate.name: 0.01}), [rate]) == {
        "training": {"optimizer": {"learning_rate": 0.01}}
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("model.memories", "'model.memories' cannot be searched over; did you mean 'model.memory'"),
        ("training.epochs", "'training.epochs' cannot be searched, because trials that differ"),
        (
            "model.memory.rows",
            ("model.memory of the varied arm, 'conv_ones', has no such dimension; its dimensions: channels"),
        ),
    ],
)
def test_a_path_that_cannot_be_searched_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space((path,), ARM)


def test_the_corners_contain_every_choice_and_both_ends_of_every_range() -> None:
    parameters = space(ALL, ARM)
    found = list(corners(parameters))
    documents = [document for _, document in found]
    assert len(documents) == len({json.dumps(document, sort_keys=True) for document in documents})
    channels = {d["model"]["memory"].get("channels") for d in documents if d["model"]["memory"]["name"] == "noise"}
    assert channels == {16, 1024}
    assert {d["model"].get("update_after") for d in documents} == {None, "stage", "first_block", "block"}
    assert any(d["model"].get("carry", {}) and d["model"]["carry"]["decay"] == 0.99 for d in documents)
    for document in documents:
        ModelConfig.parse(merged(ARM, document)["model"])


def test_descriptions_of_parameters_are_readable() -> None:
    parameters = by_name()
    assert described(parameters["model.memory.conv_ones.channels"]) == (
        "model.memory.conv_ones.channels: 16 to 1024, logarithmic, where model.memory is conv_ones"
    )
    assert described(parameters["model.update_after"]).endswith("where model.update is not none")


SEARCH: dict[str, Any] = {
    "vary": "aim",
    "over": ["model.placement", "model.update", "training.optimizer.learning_rate"],
    "trials": 4,
    "batch": 2,
    "seeds": [90],
    "top": 2,
    "training": {"epochs": 1},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 90]}, "search.seeds: 0 is also a seed of the study"),
        ({"vary": "aims"}, "search.vary: unknown arm 'aims'; did you mean 'aim'"),
        ({"over": ["model.nothing"]}, "search.over: 'model.nothing' cannot be searched over"),
        ({"trials": 0}, "search.trials: .*greater than or equal to 1"),
        ({"sampler": "cma"}, "search.sampler.name: unknown sampler 'cma'; did you mean 'cmaes'"),
        ({"size": 3}, "search.size: unknown key"),
    ],
)
def test_an_invalid_search_is_refused(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(study({"search": {**SEARCH, **changes}}), timing=False)


def test_a_study_with_both_a_search_and_factors_is_refused(study: StudyMaker) -> None:
    factors = {"factors/model.memory.channels": [4, 8], "vary": "aim"}
    with pytest.raises(ConfigError, match="search: a study with a search cannot have factors"):
        check(study({"search": SEARCH, **factors}), timing=False)


def test_check_shows_the_space_and_builds_its_corners(study: StudyMaker) -> None:
    notes = check(study({"search": SEARCH}), timing=False).notes
    assert any("4 trials x 1 seed = 4 runs of arm 'aim'" in note for note in notes)
    assert any("model.update: one of none, attention, conv_sigmoid, gated, residual" in note for note in notes)
    assert any(note.endswith("can be built") and "corners of the space checked" in note for note in notes)


def test_a_plain_run_does_not_ignore_a_search(study: StudyMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this study starts with a search; run it with ablations"):
        run(study({"search": SEARCH}), tmp_path / "out", executor="inline")


BOTH: dict[str, Any] = {**SEARCH, "vary": ["baseline", "aim"], "trials": 2, "top": 1}


def test_a_search_runs_the_screening_and_the_confirmation_without_computing_any_run_twice(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = study({"search": BOTH, "seeds": [0, 1]}), tmp_path / "out"
    first = screening.run(path, out, executor="inline")
    assert first.confirmed
    screened, confirmed = analysis.load(out / "screening"), analysis.load(out / "confirmation")
    assert set(screened.runs["seed"]) == {90}
    assert set(screened.runs["epochs_run"]) == {1}
    means = screened.runs.set_index("arm")["validation_accuracy"]
    assert {trial.name: trial.value for trial in first.trials if trial.buildable} == means.to_dict()
    assert screened.runs["arm"].str.startswith("aim_").sum() == 2
    assert screened.runs["arm"].str.startswith("baseline_").sum() == 2
    plan = {arm.name: arm for arm in confirmed.plan.arms}
    assert [(arm.name, arm.role) for arm in confirmed.plan.arms][:2] == [("baseline", "baseline"), ("aim", "treatment")]
    assert len(plan) == 4
    for arm in ("baseline", "aim"):
        tried = [trial for trial in first.trials if trial.arm == arm and trial.buildable]
        best, other = sorted(tried, key=lambda trial: (-(trial.value or 0), trial.number))
        rate = best.drawn["training.optimizer.learning_rate"]
        assert plan[arm].config["training"]["optimizer"]["learning_rate"] == rate, "the best trial replaces the arm"
        assert other.name in plan
    assert set(confirmed.runs["seed"]) == {0, 1}
    assert set(confirmed.runs["epochs_run"]) == {2}, "confirmed with the study's budget"
    assert not set(screened.runs["run_id"]) & set(confirmed.runs["run_id"])
    assert confirmed.frozen is not None
    assert confirmed.frozen.runs_before == 0, "frozen before the first run in the confirmation"
    inline = "ablations.execution.inline.InlineExecutor.execute"
    monkeypatch.setattr(inline, lambda *_: pytest.fail("nothing is left to run"))
    again = screening.run(path, out, executor="inline")
    assert again.trials == first.trials
    assert again.session.computed == 0


def test_launcher_options_are_passed_on(study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def launched(path: Path, out: Path, **options: Any) -> Any:
        seen.append(options)
        return FakeLauncher()(path, out)

    monkeypatch.setattr(screening.launch, "run", launched)
    screening.run(study({"search": SEARCH}), tmp_path / "out", address="auto", executor="ray", until_verdict=True)
    common = {"address": "auto", "executor": "ray", "console": None}
    assert seen == [common, common, {**common, "until_verdict": True}], "only the confirmation has a verdict"


def test_a_screening_continues_after_an_interruption(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study is interrupted in the middle of a real run, both in the search and in the confirmation."""
    path = study({"search": {**SEARCH, "trials": 2, "training": {"epochs": 2}, "top": 0}, "seeds": [0]})
    screening.run(path, tmp_path / "whole", executor="inline")
    real, left = Run.epoch, [0]

    def epoch(run: Run, *arguments: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(run, *arguments)

    monkeypatch.setattr(Run, "epoch", epoch)
    for lived in (3, 4, 99):
        left[0] = lived
        with contextlib.suppress(KeyboardInterrupt):
            screening.run(path, tmp_path / "broken", executor="inline")
    ranking = [tmp_path / name / "screening" / "ranking.csv" for name in ("whole", "broken")]
    assert ranking[0].read_bytes() == ranking[1].read_bytes()
    for part in ("screening", "confirmation"):
        assert numbers(tmp_path / "broken" / part) == numbers(tmp_path / "whole" / part)


@pytest.mark.slow  # separate processes, killed at least three times
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sampler", ["tpe", {"name": "gp", "n_startup_trials": 1}])
def test_a_repeatedly_killed_search_has_the_same_result(
    study: StudyMaker, tmp_path: Path, farm: Farm, sampler: Any
) -> None:
    """Drivers are killed with -9 at any point. The screening, the freeze and the confirmation keep their order."""
    search = {**BOTH, "trials": 3, "training": {"epochs": 8}, "top": 0, "sampler": sampler}
    path = study({"search": search, "seeds": [0, 1]})
    assert farm.wait(farm.run(path, tmp_path / "whole")) == 0
    rng = random.Random(1)
    kills, patience = 0, 0.5
    while True:
        driver = farm.run(path, tmp_path / "broken")
        time.sleep(rng.uniform(0.5, 1.0) * patience)
        if not farm.kill(driver):
            break
        kills += 1
        patience *= 1.15  # a driver that is killed before its first epoch does not leave anything behind
    assert farm.wait(farm.run(path, tmp_path / "broken")) == 0
    assert kills >= 3
    ranking = [tmp_path / name / "screening" / "ranking.csv" for name in ("whole", "broken")]
    assert ranking[0].read_bytes() == ranking[1].read_bytes()
    for part in ("screening", "confirmation"):
        assert numbers(tmp_path / "broken" / part) == numbers(tmp_path / "whole" / part)


def test_configurations_that_cannot_be_built_are_skipped(study: StudyMaker, tmp_path: Path) -> None:
    """With `input_only`, no layer reads after an update. A draw with both is refused with the reason, and does not
    count as a trial."""
    over = ["model.placement", "model.update"]
    path = study({"search": {**SEARCH, "over": over, "trials": 5, "sampler": "random"}, "seeds": [0]})
    found = screening.screen(read_study(path), tmp_path / "out", FakeLauncher())
    refused = [trial for trial in found.trials if not trial.buildable]
    assert len([trial for trial in found.trials if trial.buildable]) == 5
    assert refused
    assert all("the update has no effect" in trial.reason and trial.value is None for trial in refused)


def test_a_corner_that_cannot_be_built_is_reported(study: StudyMaker) -> None:
    changes = {"arms.aim.model.placement": "input_only", "arms.aim.model.update": None}
    notes = check(study({**changes, "search": {**SEARCH, "over": ["model.routing"]}}), timing=False).notes
    assert any("corner model.routing=as_run cannot be built" in note for note in notes)
    assert any("2 corners of the space checked, 1 can be built" in note for note in notes)
