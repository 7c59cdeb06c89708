"""Properties of a training step and an evaluation on a device, for every arm of every shipped study."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from step_cases import STUDIES, arms_of, distinct, small_run

import aimlib.training.run
from ablations.planning.arms import Arm
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.models import _controlled, skeleton
from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu
from aimlib.testing.device_waits import DEVICE, DeviceWaits, optimizers_on
from aimlib.training import augmentation
from aimlib.training.epoch import Epoch
from aimlib.training.evaluation import Tally, _evaluate_batch
from aimlib.training.loaders import HostLoader, ResidentLoader
from aimlib.training.optimizers._adam import Adam
from aimlib.training.run import Run
from aimlib.training.steps import proof

pytestmark = pytest.mark.xdist_group("shipped studies")  # expanding the arms takes seconds in every process
MIXED = "confounds_small"
"""A study whose eleven arms combine the differences between the two arms of replication_small. The arms of
replication_small are tested before this study."""
WHOLE = {"demo", "squeeze_excitation", "replication_small"}
"""Studies in which every arm is quick. Of the other small studies, only the first arm is quick; the others are slow."""
SMALL = sorted((name for name in STUDIES if name.endswith("_small") or name in WHOLE), key=lambda name: name == MIXED)


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build networks directly on the meta device, with their names and shapes but without drawing values."""

    def build(model: ModelConfig, shape: ImageShape, seed: int) -> torch.nn.Module:
        return _controlled(model, skeleton(model, shape))

    monkeypatch.setattr(aimlib.training.run, "build", build)


def waits(arm: Arm, steps: int = 2, **training: Any) -> list[str]:
    """Return the operations that wait for the device, in an arm's training steps and one batch of its evaluation.

    Steps load their images from the host; for the evaluation, the images are on the device.
    """
    config, data = small_run(arm, 4, **training)
    with optimizers_on("meta"):
        run = Run(config, data, DEVICE)
        resident = ResidentLoader(data.train, DEVICE)
        run._loaders = dict.fromkeys(run._loaders, HostLoader(data.train, DEVICE))  # done by a background thread
        epoch, tally, batch = Epoch(1, 0, DEVICE), Tally(DEVICE), run.training[:4]
        with DeviceWaits() as mode:
            run.network.train()
            for _ in range(steps):
                epoch.add(*run.step(batch, 1), len(batch))
            run.network.eval()
            x_BCHW, labels = resident.batch(batch)
            _evaluate_batch(
                run.network, x_BCHW, labels, run.scaling, run.options.precision, tally, 3, "channels_last", run.loss
            )
    return mode.found


def quick_and_slow(studies: list[str]) -> list[Any]:
    """Return every study with its quick arms and with its slow arms.

    Each arm takes a second; all arms together take minutes.
    """
    cases = []
    for study in studies:
        quick = slice(0) if study not in SMALL or study == MIXED else slice(None if study in WHOLE else 1)
        if quick.stop != 0:
            cases.append(pytest.param(study, quick, id=study))
        if quick.stop is not None:
            cases.append(pytest.param(study, slice(quick.stop, None), id=f"{study}, slow arms", marks=pytest.mark.slow))
    return cases


def own_arms(study: str, studies: list[str], part: slice) -> list[str]:
    """Return those arms that do not occur in any earlier study."""
    return [name for home, name in distinct(studies) if home == study][part]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("study", "part"), quick_and_slow(STUDIES))
def test_no_step_of_a_shipped_study_waits_for_the_device(study: str, part: slice, without_values: None) -> None:
    own = own_arms(study, SMALL if study in SMALL else STUDIES, part)
    found = {own[0]: waits(arms_of(study)[own[0]], steps=2 if study in SMALL else 1)} if own else {}
    found |= {name: waits(arms_of(study)[name], steps=1) for name in own[1:]}  # only the first arm runs a second step
    assert {name: reasons for name, reasons in found.items() if reasons} == {}


def test_quick_and_slow_cases_together_cover_all_arms() -> None:
    parts = {
        study: [case.values[1] for case in quick_and_slow(STUDIES) if case.values[0] == study] for study in STUDIES
    }
    arms = list(range(20))
    assert {study for study, cut in parts.items() if [arm for part in cut for arm in arms[part]] != arms} == set()


@pytest.mark.parametrize("epsilon_on", ["uncorrected", "corrected"])
@pytest.mark.parametrize("name", [pytest.param("baseline", marks=pytest.mark.slow), "aim"])  # part of a different case
def test_no_as_run_step_with_a_fused_optimizer_waits_for_the_device(
    name: str, epsilon_on: str, without_values: None
) -> None:
    arm = arms_of("replication_small")[name]
    fused = arm.config.training.optimizer.model_copy(update={"fused": True, "epsilon_on": epsilon_on})
    assert waits(arm, optimizer=fused) == []


def test_an_index_in_the_form_of_a_list_is_detected(without_values: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a list to select shifts from the draws, as the former augmentation did."""
    real = augmentation._resampled

    def as_it_was(draws_BD: torch.Tensor, *given: Any) -> Any:
        assert draws_BD[:, [2, 1]].shape[1] == 2
        return real(draws_BD, *given)

    monkeypatch.setattr(augmentation, "_resampled", as_it_was)
    assert any("comes from the host" in reason for reason in waits(arms_of("replication_small")["aim"]))


def test_a_step_count_that_is_read_from_the_device_is_detected(
    without_values: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read the step count before each step, as the former optimizer did."""
    real = Adam.build

    def as_it_was(self: Adam, parameters: Any) -> torch.optim.Optimizer:
        def read(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            for state in optimizer.state.values():
                int(state["step"])

        optimizer = real(self, parameters)
        optimizer.register_step_pre_hook(read)
        return optimizer

    monkeypatch.setattr(Adam, "build", as_it_was)
    with pytest.raises(RuntimeError, match="meta"):
        waits(arms_of("demo")["aim"])


@pytest.mark.parametrize(("study", "part"), quick_and_slow(SMALL))
def test_a_captured_step_of_a_shipped_study_is_bitwise_identical_to_an_eager_step(study: str, part: slice) -> None:
    for name in own_arms(study, SMALL, part):
        config, data = small_run(arms_of(study)[name], 4)
        with cuda_graphs_on_cpu():
            run = Run(config, data, torch.device("cpu"))
            run.network.train()
            finding, step = proof.compare(run.computation, run.inputs(run.training[:4], 1, None))
        assert finding == proof.Finding(True), name
        assert step is not None
