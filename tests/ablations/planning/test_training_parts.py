"""Losses and other parts of training in a study: loaded from a file, and tried before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from tiny_study import changed, write

import ablations
from ablations.search.space import space
from aimlib.errors import ConfigError, UsageError

LOSS = '''
from torch.nn import functional

from aimlib.component import ComponentConfig, Real
from aimlib.registry import losses
from aimlib.training.losses import Loss, LossConfig

SHARPEST = 1.0


@losses.register("own_tempered")
class Tempered(Loss):
    """The cross-entropy at a temperature."""

    source = "own idea"
    search_space = {"temperature": Real(0.5, 2.0)}

    class Config(LossConfig):
        temperature: float = 2.0

    def forward(self, logits, targets):
        return functional.cross_entropy(logits * SHARPEST / self.config.temperature, targets)
'''


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


AUGMENTATION = '''
import torch

from aimlib.registry import augmentations
from aimlib.training.augmentations import Augmentation


@augmentations.register("own_dots")
class Dots(Augmentation):
    """Sets a random pixel to white."""

    source = "own idea"

    def augment(self, image):
        row = int(torch.randint(image.shape[1], ()))
        image[:, row, 0] = 255
        return image
'''


def study(folder: Path, code: str = LOSS, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_loss.py").write_text(code, encoding="utf-8")
    arms = {"baseline": {}, "own": {"training": {"loss": "own_tempered"}}}
    return write(folder, changed({"arms": arms, "plugins": ["my_loss.py"], **changes}))


def ids(path: Path) -> dict[str, str]:
    found = ablations.check(path, timing=False, trust=True)
    return {run.arm: run.run_id for run in found.plan.runs}


def test_an_edited_loss_changes_the_run_ids_of_the_arms_that_use_it(tmp_path: Path) -> None:
    before = ids(study(tmp_path / "one"))
    after = ids(study(tmp_path / "two", LOSS.replace("SHARPEST = 1.0", "SHARPEST = 1.5")))
    assert before["baseline"] == after["baseline"]
    assert before["own"] != after["own"]


def test_a_loss_can_be_searched_together_with_its_options(tmp_path: Path) -> None:
    ids(study(tmp_path))
    document = {"training": {"loss": {"name": "own_tempered"}}}
    (single,) = space(["training.loss.temperature"], document)
    assert (single.path, single.dimension.low) == (("training", "loss", "temperature"), 0.5)
    names = {parameter.name for parameter in space(["training.loss"], document)}
    assert {"training.loss", "training.loss.focal.gamma", "training.loss.own_tempered.temperature"} <= names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": {"name": "cross_entropy", "weight": [1.0, 2.0]}}, "has 2 weights for 10 classes"),
        (
            {"transforms": [{"name": "random_erasing", "value": [0.0, 1.0], "p": 1.0}]},
            "random_erasing: fails for images",
        ),
        ({"transforms": ["mixup", "rand_augment"]}, "'rand_augment' must come before 'mixup'"),
        ({"criterion": "focal"}, "loss"),
        (
            {"callbacks": "gradient_norm"},
            "training.callbacks: must be a list; got 'gradient_norm' (text); write [gradient_norm]",
        ),
        ({"loss": "focall"}, "did you mean 'focal'"),
        ({"loss": "mse", "label_smoothing": 0.1}, "no effect together with a loss"),
        ({"loss": {"name": "focal", "gama": 1.0}}, "unknown key; did you mean 'gamma'"),
    ],
)
def test_a_mistake_in_a_training_component_is_found_by_check(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, changed({"arms.other": {"training": options}}))
    with pytest.raises(ConfigError) as caught:
        ablations.check(path, timing=False)
    assert message in str(caught.value)
    assert "other" in str(caught.value)


def test_an_arm_replaces_the_loss_of_the_base_but_not_its_options(tmp_path: Path) -> None:
    losses = {"base.training.loss": {"name": "focal", "gamma": 3.0}}
    arms = {"arms": {"baseline": {}, "a": {"training": {"loss": "mse"}}, "b": {"training": {"loss": {"alpha": 0.5}}}}}
    found = ablations.check(write(tmp_path, changed({**losses, **arms})), timing=False)
    stated = {arm.name: arm.config.training.loss for arm in found.plan.arms}
    assert [stated[name].name for name in ("baseline", "a", "b")] == ["focal", "mse", "focal"]
    assert (stated["b"].alpha, stated["b"].gamma) == (0.5, 3.0)


def test_user_augmentations_in_a_file_are_found_in_the_list(tmp_path: Path) -> None:
    arms = {"baseline": {}, "own": {"training": {"transforms": ["random_crop", {"name": "own_dots"}]}}}
    path = study(tmp_path, AUGMENTATION, arms=arms)
    before = ids(path)
    assert before["own"] != ids(study(tmp_path / "two", AUGMENTATION.replace("255", "254"), arms=arms))["own"]
    checked = ablations.check(path, timing=False, plugins=False)
    assert [arm.name for arm in checked.plan.arms] == ["baseline"], "the arm with own code is left out"


def test_a_user_loss_that_fails_is_reported_with_its_line(tmp_path: Path) -> None:
    broken = LOSS.replace("logits * SHARPEST / self.config.temperature", "logits / self.confg")
    with pytest.raises(ConfigError, match=r"a plugin failed: AttributeError.*line \d+"):
        ids(study(tmp_path, broken))


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (("focal", "focal"), "arm 'baseline' reports its own training.loss, focal; choose a different measure"),
        (
            ("cross_entropy", {"name": "cross_entropy", "label_smoothing": 0.1}),
            "report different values of training.loss; set",
        ),
        ((None, None), ""),
    ],
)
def test_a_verdict_about_losses_requires_that_all_arms_use_the_same_cross_entropy(
    losses: tuple[Any, Any], message: str, tmp_path: Path
) -> None:
    arms = {f"arms.{arm}.training.loss": loss for arm, loss in zip(("baseline", "aim"), losses, strict=True) if loss}
    path = write(tmp_path, changed({"measure": "loss", "delta": 0.1, **arms}))
    try:
        ablations.check(path, timing=False)
        found = ""
    except UsageError as error:
        found = str(error)
    assert bool(found) == bool(message)
    assert message in found


OWN_NET = '''
from torch import nn

from aimlib.backbones import Backbone
from aimlib.component import ComponentConfig
from aimlib.memory.structure import Layout
from aimlib.registry import backbones


@backbones.register("own_net")
class OwnNet(Backbone):
    """A linear network."""

    source = "own idea"

    class Config(ComponentConfig):
        widths: tuple[int, ...] = (4,)

    def build(self, shape):
        size = shape.channels * shape.height * shape.width
        width = self.config.widths[0]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Linear(width, OUTPUTS))

    def layout(self, network):
        return Layout()
'''


def own_net(folder: Path, outputs: str) -> Path:
    (folder / "net.py").write_text(OWN_NET.replace("OUTPUTS", outputs))
    arms = {"baseline": {}, "wider": {"role": "treatment", "model": {"backbone": {"widths": [8]}}}}
    return write(folder, changed({"plugins": ["net.py"], "base.model": {"backbone": "own_net"}, "arms": arms}))


def test_a_list_is_accepted_for_an_option_that_is_a_tuple(tmp_path: Path) -> None:
    plan = ablations.check(own_net(tmp_path, "shape.classes"), timing=False, trust=True).plan
    assert plan.arms[1].config.model.backbone.widths == (8,)  # type: ignore[attr-defined]


def test_a_network_whose_outputs_are_not_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"the network returns \(16, 11\) for 16 images of 10 classes, but must return"
    ):
        ablations.check(own_net(tmp_path, "11"), timing=False, trust=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("def forward(self, logits, targets)", "def forward(self, logits)"),
            "forward(self, logits) is called with (logits_BC, targets); write `def forward(self, logits_BC, targets):`",
        ),
        (("logits * SHARPEST", "logits.detach() * SHARPEST"), "without a gradient: it does not depend on the logits"),
    ],
)
def test_a_loss_that_cannot_train_is_refused_with_the_reason(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "my_loss.py").write_text(
        LOSS.replace(*change).replace(
            "def forward(self, logits):", "def forward(self, logits):\n        targets = None"
        )
    )
    arms = {"arms.aim.training.loss": "own_tempered", "plugins": ["my_loss.py"]}
    with pytest.raises(UsageError) as error:
        ablations.check(write(tmp_path, changed(arms)), timing=False, trust=True)
    assert message in str(error.value)


def test_a_scalar_that_no_run_can_report_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    measure = {"measure": {"scalar": "nll", "better": "lower"}, "delta": 0.1}
    with pytest.raises(UsageError, match="measure: no run of baseline, aim reports a scalar; add training"):
        ablations.check(write(tmp_path, changed(measure)), timing=False)
    logging = {**measure, "base.training.callbacks": ["gradient_norm"]}
    assert ablations.check(write(tmp_path, changed(logging)), timing=False).plan.runs


def test_a_mistake_that_all_arms_share_is_reported_once(tmp_path: Path) -> None:
    broken = {"base.model.backbone": {"name": "torchvision", "architecture": "resnet-18"}}
    with pytest.raises(UsageError) as error:
        ablations.check(write(tmp_path, changed(broken)), timing=False)
    assert "study.yaml: arms.baseline, arms.aim: backbone.architecture: unknown" in str(error.value)
    assert str(error.value).count("unknown") == 1
