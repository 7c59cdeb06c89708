"""Mistakes in a user's data set, network, loss or rule are reported before or during the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from tiny_study import changed, write

import ablations
from aimlib.errors import ConfigError, UsageError

DATA = """
import numpy as np

from aimlib.datasets import DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.registry import datasets


def split(name, count):
    labels = np.arange(count) % 3
    pixels = np.full((count, 8, 8, 1), 50, dtype=np.uint8) * (1 + labels[:, None, None, None]).astype(np.uint8)
    return Images(pixels, labels.astype(np.int64), tuple(f"{name}/{each}" for each in range(count)))


@datasets.register("stripes")
class Stripes(DatasetPlugin):
    def shape(self):
        return ImageShape(1, 8, 8, classes=3)

    def load(self):
        return with_fingerprint(split("train", 40), split("test", 20), ("a", "b", "c"))
"""
NETWORK = """
from torch import nn

from aimlib.backbones import Backbone
from aimlib.memory.structure import Layout
from aimlib.registry import backbones


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.scale = nn.Parameter(self.linear.bias.detach().clone())

    def forward(self, images):
        return self.linear(images.flatten(1)) * self.scale


@backbones.register("plain")
class Plain(Backbone):
    def build(self, shape):
        return Head(shape.classes)

    def layout(self, network):
        return Layout()
"""
LOSS = """
from torch.nn import functional

from aimlib.registry import losses
from aimlib.training.losses import Loss


@losses.register("mine")
class Mine(Loss):
    def forward(self, logits, targets):
        return functional.cross_entropy(logits, targets, reduction="mean")
"""
RULE = """
from aimlib.registry import selections
from aimlib.training.selections import Selection


@selections.register("mine")
class Mine(Selection):
    def select(self, epochs):
        return max(epochs, key=lambda row: row["validation_accuracy"])["epoch"]
"""


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def study(folder: Path, code: str, changes: dict[str, Any]) -> Path:
    (folder / "own.py").write_text(code, encoding="utf-8")
    arms = {"baseline": {}, "longer": {"role": "treatment", "training": {"epochs": 3}}}
    return write(folder, changed({"plugins": ["own.py"], "arms": arms, **changes}))


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        ablations.check(path, timing=False, trust=True)
    return str(caught.value)


def notes(path: Path) -> str:
    return "\n".join(ablations.check(path, timing=False, trust=True).notes)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("Images(pixels,", "Images(pixels / 255,", "train.pixels is float64; return uint8 from 0 to 255"),
        (
            "Images(pixels,",
            "Images(pixels[..., 0],",
            "train.pixels has the shape (40, 8, 8); change it to [images, height,",
        ),
        ("astype(np.int64)", "astype(np.int32)", "train.labels is int32; convert it with labels.astype(numpy.int64)"),
        ("astype(np.int64)", "astype(np.int64) + 1", "train.labels are between 1 and 3, but shape() returns 3 classes"),
        ("astype(np.int64)", "astype(np.int64)[1:]", "train has 40 images, labels of the shape (39,) and 40 names"),
        ('f"{name}/{each}"', "each", "train.names must be non-empty strings; convert a number with str(number)"),
        ('f"{name}/{each}"', "name", "train.names contains a name twice; use a unique name for every image"),
        ('split("test", 20)', 'split("test", 0)', "test has no images; return at least one"),
        ('("a", "b", "c")', '("a", "b", "a")', "classes contains a name twice"),
    ],
)
def test_a_data_set_class_written_by_a_user_is_checked_when_it_is_loaded(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in DATA
    said = refusal(study(tmp_path, DATA.replace(right, wrong), {"base.data": "stripes"}))
    assert f"base.data: data set 'stripes' (own.py, line 15, class Stripes): load(): {message}" in said


def test_a_fingerprint_that_is_not_computed_from_the_data_is_refused(tmp_path: Path) -> None:
    code = DATA.replace("with_fingerprint(split", "DataSet(split").replace('"c"))', '"c"), "version 1")')
    code = code.replace("import DatasetPlugin", "import DataSet, DatasetPlugin")
    said = refusal(study(tmp_path, code, {"base.data": "stripes"}))
    assert "load(): fingerprint is 'version 1'; return `with_fingerprint(train, test, classes)`" in said


def test_a_data_set_class_written_by_a_user_is_accepted_if_it_fits(tmp_path: Path) -> None:
    ablations.check(study(tmp_path, DATA, {"base.data": "stripes"}), timing=False, trust=True)


@pytest.mark.parametrize(
    ("right", "wrong", "names"),
    [
        (" * self.scale", "", "scale"),
        (" * self.scale", " * self.scale.detach()", "scale"),
        ("self.linear(images", "self.linear.requires_grad_().forward(images", ""),
        ("return self.linear(images.flatten(1))", "return self.linear(images.flatten(1)).detach()", "linear.weight"),
    ],
)
def test_parameters_that_training_cannot_reach_are_reported(tmp_path: Path, right: str, wrong: str, names: str) -> None:
    said = notes(study(tmp_path, NETWORK.replace(right, wrong), {"base.model.backbone": "plain"}))
    found = [line for line in said.splitlines() if "gradients:" in line]
    if not names:
        assert not found
    else:
        assert all(f"so training would never change values that count as parameters ({names}" in line for line in found)
        assert len(found) == 2


def test_a_tensor_that_is_changed_in_place_is_reported_before_the_runs(tmp_path: Path) -> None:
    code = NETWORK.replace(
        "return self.linear(images.flatten(1)) * self.scale",
        "y = (self.linear(images.flatten(1)) * self.scale).exp()\n        z = y * y\n        return z + y.mul_(2)",
    )
    assert "gradients cannot be computed: one of the variables" in notes(
        study(tmp_path, code, {"base.model.backbone": "plain"})
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_that_sums_over_the_batch_is_reported_in_a_note(tmp_path: Path, reduction: str) -> None:
    path = study(tmp_path, LOSS.replace("mean", reduction), {"base.training.loss": "mine"})
    noted = "loss: 'mine' doubles if every image appears twice in a batch" in notes(path)
    assert noted == (reduction == "sum")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("functional.cross_entropy(logits, targets)", "forward() must return a finite scalar tensor with a gradient"),
        ("return functional.mse_loss(logits, targets)", "(own.py [own code "),
    ],
)
def test_a_loss_that_fails_is_reported_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    code = LOSS.replace('return functional.cross_entropy(logits, targets, reduction="mean")', line)
    said = refusal(study(tmp_path, code, {"base.training.loss": "mine"}))
    assert message in said
    assert "does it lack `return`?" in said or ", line 11, in forward)" in said


def test_a_rule_that_needs_validation_images_is_refused_if_there_are_none(tmp_path: Path) -> None:
    path = study(tmp_path, RULE, {"base.training.selection": "mine", "base.training.validation_fraction": 0})
    assert "select() needs validation measures, which are None because training.validation_fraction is 0" in refusal(
        path
    )


def test_a_failure_in_user_code_is_reported_with_its_line(tmp_path: Path) -> None:
    code = NETWORK.replace(
        "return self.linear(",
        'if images.device.type != "meta":\n            images = images.double()\n        return self.linear(',
    )
    path = study(tmp_path, code, {"base.model.backbone": "plain", "seeds": 1, "arms": {"baseline": {}}})
    session = ablations.run(path, tmp_path / "out", executor="inline", trust=True)
    (reason,) = session.failed.values()
    assert "own.py [own code " in reason
    assert ", line 18, in forward)" in reason


def test_a_subject_must_be_a_noun_phrase(tmp_path: Path) -> None:
    assert "what: 'Does it help?' is a sentence" in notes(study(tmp_path, LOSS, {"what": "Does it help?"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arms/longer": {"training.epochs": 3}},
            "arms.longer.training.epochs: unknown key; key paths are for factors and --set, so nest the keys: "
            "training: {epochs: ...}",
        ),
        (
            {"arms/longer": {"model.backbone.widths": [4]}},
            "so nest the keys: model: {backbone: {widths: ...}}",
        ),
        ({"vary": "aim", "factors/loss.gamma": [1, 2]}, "factors.loss.gamma: not a key path below model, data, "),
        ({"vary": "aim", "factors/loss.gamma": [1, 2]}, "did you mean 'training.loss.gamma'?"),
        ({"vary": "aim", "factors/gamma": [1, 2]}, "or training.loss.gamma for a component's option"),
        (
            {"base.training.augmentation": {"horizontal_flip": True}},
            "a number, not a switch: write a value such as 0.5",
        ),
        ({"base.training.fine_tuning": "none"}, "got 'none' (text); write null to leave it out"),
        (
            {"base.training.transforms": {"name": "mixup"}},
            "got {'name': 'mixup'} (mapping); put the mapping in brackets",
        ),
        (
            {"base.model.weights": "https://example.org/x.pth"},
            "runs do not download files: download it, and set the file's path",
        ),
    ],
)
def test_keys_and_values_in_the_wrong_place_are_reported(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ablations.check(write(tmp_path, changed(changes)), timing=False)
    assert message in str(caught.value)


def test_training_code_given_by_a_dotted_name_and_an_option_without_its_path_are_reported(tmp_path: Path) -> None:
    data, arms = {"name": "digits", "size": 8}, {"baseline": {}, "other": {"options": {"rate": 2}}}
    base = {"data": data, "training": {"epochs": 1}, "options": {"rate": 1}}
    document: dict[str, Any] = {"name": "own", "train": "loop.train", "base": base, "arms": arms}
    with pytest.raises(ConfigError, match=r"write a function in a file as loop\.py:train"):
        ablations.check(write(tmp_path, document), timing=False)
    factors = {"vary": "other", "factors": {"rate": [1, 2]}}
    with pytest.raises(ConfigError, match=r"factors\.rate: .*; did you mean 'options\.rate'\?"):
        ablations.check(write(tmp_path, document | factors), timing=False)


def test_the_nearest_study_file_is_suggested(tmp_path: Path) -> None:
    write(tmp_path, changed({}), "first.yaml")
    with pytest.raises(ConfigError, match=r"first\.yml: no such file or shipped study; did you mean '.*first\.yaml'\?"):
        ablations.check(tmp_path / "first.yml", timing=False)


def test_a_mistake_is_reported_only_once(tmp_path: Path) -> None:
    factors = {"training.loss.alpha": [0.1, 0.2], "training.loss.gamma": [1.0, 2.0]}
    path = write(tmp_path, changed({"vary": "aim", "factors": factors}))
    with pytest.raises(ConfigError) as caught:
        ablations.check(path, timing=False)
    (problem,) = caught.value.problems
    assert "arms.aim[alpha=0.1,gamma=1.0].training.loss.name: missing: set it to the name of the loss" in problem
    assert problem.endswith("(and in 3 other combinations)")
    path = write(
        tmp_path,
        changed(
            {"base.model.backbone.name": "smal_resnet", "arms.baseline.model": {"backbone": {"blocks": [1, 1, 1]}}}
        ),
    )
    with pytest.raises(ConfigError) as caught:
        ablations.check(path, timing=False)
    (problem,) = caught.value.problems
    assert "base.model.backbone.name: unknown backbone 'smal_resnet'; did you mean 'small_resnet'?" in problem
