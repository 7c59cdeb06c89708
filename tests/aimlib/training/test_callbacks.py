"""Callbacks: the order of events, logged values, the end of a run, and the state in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_checkpoint_manager import At
from tiny_runs import AIM, data_set, restored_registries, run_config, without_clock

from aimlib.errors import ConfigError, PluginError, UsageError
from aimlib.registry import callbacks
from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu
from aimlib.training import checkpointing
from aimlib.training.callbacks import Callback
from aimlib.training.loop import Outcome, Paused, outcome_so_far, train

NORM = {"training__callbacks": ["gradient_norm"]}
STEPS = 4  # 27 training images in batches of 8


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def own(name: str, **members: Any) -> dict[str, Any]:
    """Register a callback with these methods, and return the option that selects it."""
    callbacks.register(name)(type("Own", (Callback,), {"__module__": "elsewhere", "__qualname__": "Own", **members}))
    return {"training__callbacks": [name]}


def test_events_occur_in_order_with_the_progress_of_the_run() -> None:
    seen: list[Any] = []
    options = own(
        "own_watching",
        on_run_start=lambda self, run: seen.append(("run start", run.epoch, run.epochs)),
        on_epoch_start=lambda self, run: seen.append(("epoch start", run.epoch, run.step)),
        on_step_end=lambda self, run: seen.append(("step end", run.epoch, run.step)),
        on_epoch_end=lambda self, run, row: seen.append(("epoch end", run.epoch, row["epoch"])),
        on_run_end=lambda self, run: seen.append(("run end", run.epoch, run.step)),
    )
    train(run_config(**options), data_set())
    expected: list[Any] = [("run start", 0, 2)]
    for epoch in (1, 2):
        steps = [("step end", epoch, step) for step in range(1, STEPS + 1)]
        expected += [("epoch start", epoch, 0), *steps, ("epoch end", epoch, epoch)]
    assert seen == [*expected, ("run end", 2, STEPS)]


def test_callbacks_do_not_see_test_measures() -> None:
    rows: list[dict[str, Any]] = []
    train(run_config(**own("own_curious", on_epoch_end=lambda self, run, row: rows.append(dict(row)))), data_set())
    assert {"train_loss", "validation_accuracy", "learning_rate"} <= set(rows[0])
    assert not [name for row in rows for name in row if name.startswith("test")]


def test_the_mean_of_logged_values_is_stored_for_each_epoch() -> None:
    def step_end(self: Callback, run: Any) -> None:
        run.log("steps", float(run.step))
        run.log("losses", run.loss)
        if run.epoch == 2:
            run.log("late", torch.tensor(float("inf")))

    outcome = train(run_config(**own("own_logging", on_step_end=step_end)), data_set())
    assert outcome.scalars is not None
    assert outcome.scalars["steps"] == [2.5, 2.5]
    assert outcome.scalars["late"] == [None, None]  # not logged, because it is not finite
    means = [row["train_loss"] for row in outcome.epochs]
    assert outcome.scalars["losses"] == pytest.approx(means, rel=0.1)  # means over steps, not over images


def test_without_callbacks_nothing_is_stored(tmp_path: Path) -> None:
    with pytest.raises(Paused):
        train(run_config(), data_set(), run_id="run", checkpoint_directory=tmp_path, pause=At(3))
    state = torch.load(tmp_path / checkpointing.FILE, weights_only=True)
    assert state["format"] == checkpointing.FORMAT
    assert "callbacks" not in state
    outcome = train(run_config(), data_set(), run_id="run", checkpoint_directory=tmp_path)
    assert (outcome.reason, outcome.scalars) == (None, None)


def test_logging_does_not_change_the_results_of_a_run() -> None:
    plain, logged = train(run_config(model=AIM), data_set()), train(run_config(model=AIM, **NORM), data_set())
    assert {**without_clock(logged), "scalars": None} == without_clock(plain)
    assert run_config(**NORM).run_id("0" * 20) != run_config().run_id("0" * 20)


def test_the_gradient_norm_is_that_of_its_step() -> None:
    norms: list[float] = []

    def step_end(self: Callback, run: Any) -> None:
        squares = [float((p.grad.double() ** 2).sum()) for p in run.network.parameters() if p.grad is not None]
        norms.append(sum(squares) ** 0.5)

    config = own("own_norm", on_step_end=step_end)["training__callbacks"]
    outcome = train(run_config(training__callbacks=["gradient_norm", *config]), data_set())
    assert outcome.scalars is not None
    expected = [sum(norms[:STEPS]) / STEPS, sum(norms[STEPS:]) / STEPS]
    assert outcome.scalars["gradient_norm"] == pytest.approx(expected, rel=1e-5)


def test_a_run_that_a_callback_ends_completes_its_epoch_and_keeps_the_first_reason() -> None:
    options = own("own_ending", on_step_end=lambda self, run: run.stop(f"step {run.step}") if run.epoch == 2 else None)
    outcome = train(run_config(training__epochs=5, **options), data_set())
    assert (outcome.status, outcome.reason, len(outcome.epochs)) == ("finished", "own_ending: step 1", 2)
    assert len(outcome.predictions) == 2
    assert outcome.selected_epoch == 2


def test_a_run_stops_at_an_accuracy() -> None:
    options = {"name": "stop_at_accuracy", "accuracy": 0.5, "monitor": "train", "epochs": 2}
    adam = {"name": "adam", "learning_rate": 0.01}
    config = run_config(training__callbacks=[options], training__epochs=20, training__optimizer=adam)
    outcome = train(config, data_set(train=90, test=30))
    reached = [row["train_accuracy"] >= 0.5 for row in outcome.epochs]
    assert len(reached) < 20
    assert reached[-2:] == [True, True]
    assert [True, True] not in [reached[n : n + 2] for n in range(len(reached) - 2)]
    assert outcome.reason is not None
    assert outcome.reason.startswith("stop_at_accuracy: train_accuracy 0.")


def test_a_callback_that_uses_validation_requires_validation_images() -> None:
    options = {"name": "stop_at_accuracy", "accuracy": 0.5}
    with pytest.raises(ConfigError, match="validation_fraction is 0, but callback 'stop_at_accuracy' needs validation"):
        run_config(training__callbacks=[options], training__validation_fraction=0.0)
    assert run_config(training__callbacks=[{**options, "monitor": "train"}], training__validation_fraction=0.0)


def counting() -> dict[str, Any]:
    """Return the options for a callback that counts steps over the entire run, logs the count, and ends the run after
    10 steps."""

    def start(self: Any, config: Any) -> None:
        Callback.__init__(self, config)
        self.steps, self.norms = 0, torch.zeros(3)

    def step_end(self: Any, run: Any) -> None:
        self.steps += 1
        self.norms[self.steps % 3] = run.loss
        run.log("count", float(self.steps))
        run.log("norm", self.norms.norm())
        if self.steps == 10:
            run.stop("ten steps")

    return own(
        "own_counting",
        __init__=start,
        on_step_end=step_end,
        state_dict=lambda self: {"steps": self.steps, "norms": self.norms},
        load_state_dict=lambda self, state: vars(self).update(steps=state["steps"], norms=state["norms"].clone()),
    )


def resumed(config: Any, folder: Path, at: int) -> Outcome:
    with pytest.raises(Paused):
        train(config, data_set(), run_id="run", checkpoint_directory=folder, pause=At(at))
    return train(config, data_set(), run_id="run", checkpoint_directory=folder)


@pytest.mark.parametrize("at", [1, 2, 4, 5, 7, 11, 13])
def test_an_interrupted_run_has_the_same_scalars_and_the_same_end(at: int, tmp_path: Path) -> None:
    config = run_config(training__epochs=5, **counting())
    whole = train(config, data_set())
    assert whole.scalars is not None
    assert whole.scalars["count"] == [2.5, 6.5, 10.5]
    assert whole.reason == "own_counting: ten steps"
    assert without_clock(resumed(config, tmp_path, at)) == without_clock(whole)


def test_the_start_event_occurs_only_once(tmp_path: Path) -> None:
    seen: list[str] = []
    options = own("own_starting", on_run_start=lambda self, run: seen.append("start"))
    resumed(run_config(**options), tmp_path, 3)
    assert seen == ["start"]


def test_an_abandoned_run_keeps_its_scalars(tmp_path: Path) -> None:
    config = run_config(training__epochs=5, **counting())
    with pytest.raises(Paused):
        train(config, data_set(), run_id="run", checkpoint_directory=tmp_path, pause=At(9))
    outcome = outcome_so_far(config, data_set(), tmp_path, "run", "given up")
    assert outcome.scalars is not None
    assert outcome.scalars["count"] == [2.5][: len(outcome.epochs)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"on_step_end": lambda self, run: run.log("test_loss", 1.0)},
            r"log\('test_loss', ...\): a column already has this name",
        ),
        ({"on_step_end": lambda self, run: run.log("a b", 1.0)}, "use letters, digits and underscores"),
        ({"on_run_end": lambda self, run: run.log("late", 1.0)}, "the run is over, so this value belongs to no epoch"),
        (
            {"on_step_end": lambda self, run: run.log("weight", torch.ones(2, 3))},
            r"log\('weight', ...\): a tensor of shape \(2, 3\) is not a single number; log its mean or norm",
        ),
    ],
)
def test_values_that_cannot_be_logged_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=rf"training.callbacks: own_bad: .*{message}|{message}"):
        train(run_config(**own("own_bad", **members)), data_set())


def test_two_callbacks_that_log_the_same_name_are_refused_instead_of_averaged() -> None:
    norms = [{"name": "gradient_norm", "norm_type": 1.0}, {"name": "gradient_norm", "norm_type": 2.0}]
    with pytest.raises(
        UsageError,
        match=r"gradient_norm 2: log\('gradient_norm', ...\): gradient_norm already "
        r"logs this name",
    ):
        train(run_config(training__callbacks=norms), data_set())


def test_a_state_that_needs_code_to_be_read_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    options = own("own_odd", state_dict=lambda self: {"seen": [Path("x")]})
    with pytest.raises(UsageError, match=r"own_odd: state_dict\(\)\['seen'\]\[0\]: contains a PosixPath"):
        train(run_config(**options), data_set(), checkpoint_directory=tmp_path, checkpoint_share=float("inf"))


def test_a_run_is_not_captured_if_its_gradients_are_read() -> None:
    with cuda_graphs_on_cpu():
        assert train(run_config(**NORM), data_set()).step == "eager"
        assert train(run_config(**own("own_silent")), data_set()).step == "graph"
        with pytest.raises(UsageError, match="graph: callback 'gradient_norm' reads gradients"):
            train(run_config(training__step="graph", **NORM), data_set())


def test_captured_and_eager_steps_log_the_same_losses() -> None:
    options = own("own_losses", on_step_end=lambda self, run: run.log("loss_of_steps", run.loss))
    with cuda_graphs_on_cpu():
        eager = train(run_config(training__step="eager", **options), data_set())
        graph = train(run_config(training__step="graph", **options), data_set())
    assert graph.scalars == eager.scalars


def test_a_method_that_looks_like_an_event_is_refused() -> None:
    from aimlib.errors import PluginError
    from aimlib.training.callbacks.base import Callback

    with pytest.raises(PluginError, match=r"on_epoch_stop is not an event; did you mean 'on_epoch_start'"):
        type("Mine", (Callback,), {"on_epoch_stop": lambda self, run: None})


def test_an_error_in_an_event_is_reported_with_the_callback_the_event_and_the_line() -> None:
    options = own("own_failing", on_run_end=lambda self, run: run.model)
    with pytest.raises(
        PluginError,
        match=r"training\.callbacks: own_failing: on_run_end failed: AttributeError: .*'model' "
        r"\(.*test_callbacks\.py, line \d+, in <lambda>\); correct it",
    ):
        train(run_config(**options), data_set())


def test_an_error_that_the_machine_may_cause_keeps_its_type() -> None:
    def step_end(self: Callback, run: Any) -> None:
        raise torch.OutOfMemoryError("no device memory")

    with pytest.raises(torch.OutOfMemoryError):
        train(run_config(**own("own_large", on_step_end=step_end)), data_set())
