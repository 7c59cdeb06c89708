"""The modes of training steps, their effect on the run id, and modes that a machine does not support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch._dynamo
from test_checkpoint_manager import At
from tiny_runs import AIM, data_set, run_config, without_clock

from aimlib.errors import UsageError
from aimlib.training.loop import Paused, train
from aimlib.training.numerics import numerics_of

FINGERPRINT = "0" * 20


def identity(**options: Any) -> str:
    return run_config(**options).run_id(FINGERPRINT)


def test_auto_and_eager_have_the_same_identity_and_the_other_modes_do_not() -> None:
    ids = {step: identity(training__step=step) for step in ("auto", "eager", "graph", "compiled")}
    assert identity() == ids["auto"] == ids["eager"]
    assert len(set(ids.values())) == 3


@pytest.mark.parametrize("place", ["auto", "device", "host"])
def test_the_location_of_the_images_is_not_part_of_the_identity(place: str) -> None:
    assert identity(training__data_on=place) == identity()


def test_the_memory_format_is_part_of_the_identity() -> None:
    assert identity(training__memory_format="channels_last") == identity()
    assert identity(training__memory_format="contiguous") != identity()


def test_a_runs_numerical_settings_are_applied() -> None:
    usual = {"precision": "float32", "tf32": False, "memory_format": "channels_last", "step": "eager"}
    assert numerics_of(run_config()) == numerics_of(run_config(training__step="eager")) == usual
    stated = run_config(training__step="compiled", training__tf32=True, training__memory_format="contiguous")
    assert numerics_of(stated) == {**usual, "tf32": True, "memory_format": "contiguous", "step": "compiled"}


def test_a_graph_is_refused_when_a_run_begins_on_a_cpu() -> None:
    config = run_config(training__step="graph")  # valid, because a head node without a GPU also reads the configuration
    with pytest.raises(
        UsageError, match=r"training.step: graph: a cpu device cannot capture CUDA graphs; set training.st"
    ):
        train(config, data_set())


def test_on_a_cpu_auto_is_eager() -> None:
    notices: list[str] = []
    auto = train(run_config(model=AIM), data_set(), on_notice=notices.append)
    assert (auto.step, auto.data_on, auto.peak_device_bytes, notices) == ("eager", "host", None, [])
    assert without_clock(auto) == without_clock(train(run_config(model=AIM, training__step="eager"), data_set()))


def test_contiguous_networks_learn_the_same_weights_up_to_rounding() -> None:
    last = train(run_config(model=AIM), data_set())
    first = train(run_config(model=AIM, training__memory_format="contiguous"), data_set())
    assert first.epochs[-1]["train_loss"] == pytest.approx(last.epochs[-1]["train_loss"], rel=1e-3)


COMPILED: dict[str, Any] = {
    "model": {**AIM, "carry": {}},
    "training__optimizer": "adamw",
    "training__augmentation": {"horizontal_flip": 0.5, "contrast": 0.1},
    "training__step": "compiled",
}


@pytest.mark.slow
def test_compiled_steps_are_reproducible_and_close_to_eager_steps(tmp_path: Path) -> None:
    config, data = run_config(**COMPILED), data_set()
    whole = train(config, data)
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=At(5))
    resumed = train(config, data, run_id="run", checkpoint_directory=tmp_path)
    assert whole.step == resumed.step == "compiled"
    assert without_clock(resumed) == without_clock(whole)
    eager = train(run_config(**{**COMPILED, "training__step": "eager"}), data)
    assert whole.epochs[-1]["train_loss"] == pytest.approx(eager.epochs[-1]["train_loss"], rel=0.01)


def test_a_failing_compiler_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        def call(*_: Any) -> Any:
            raise torch._dynamo.exc.BackendCompilerFailed(fails, RuntimeError("no C++ compiler"), None)

        return call

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UsageError, match=r"training.step: compiled: torch.compile cannot.*set training.step to auto"):
        train(run_config(training__step="compiled"), data_set())
