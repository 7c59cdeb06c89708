"""Messages about a user's classes and functions state what is wrong, in which file and class, and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from tiny_study import changed, write
from training_code_study import training_code_study

import ablations
from aimlib.errors import UsageError

IMPORTS = """
import torch
from torch import nn
from aimlib import registry
from aimlib.backbones import Backbone
from aimlib.component import ComponentConfig
from aimlib.controls import Control
from aimlib.datasets import DatasetPlugin
from aimlib.memory.sources import MemorySource
from aimlib.memory.structure import Layout
from aimlib.placements import Placement
from aimlib.training.callbacks import Callback
from aimlib.training.losses import Loss
from aimlib.training.optimizers import OptimizerPlugin
from aimlib.training.schedules import Schedule
from aimlib.training.selections import Selection
from aimlib.updates import MemoryUpdate
"""


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def refusal(folder: Path, code: str, changes: dict[str, Any]) -> str:
    """Return what `check` says about a study with this code."""
    (folder / "own.py").write_text(IMPORTS + code, encoding="utf-8")
    path = write(folder, changed({"plugins": ["own.py"], **changes}))
    with pytest.raises(UsageError) as caught:
        ablations.check(path, timing=False, trust=True)
    return str(caught.value)


def registered(family: str, body: str, base: str = "") -> str:
    """Return code that registers a class ``Mine`` as ``mine``."""
    return f'@registry.{family}.register("mine")\nclass Mine{f"({base})" if base else ""}:\n{body}\n'


WHERE = r"\(own\.py, line 18, class Mine\)"
LOSS = {"base.training.loss": "mine"}
MEMORY = {"arms.aim.model.memory": {"name": "mine", "channels": 4, "rows": 2, "columns": 2}}
SELECTION = {"base.training.selection": "mine"}
VALUES = "torch.ones(1, self.config.channels, self.config.rows, self.config.columns)"


def memory(forward: str, count: str = "degrees_of_freedom = 1") -> str:
    """Return code that registers a memory source."""
    return registered("memories", f"    {forward}\n    {count}", "MemorySource")


def selection(line: str) -> str:
    """Return code that registers a selection rule with one line."""
    return registered("selections", f"    def select(self, epochs): {line}", "Selection")


NETWORK = {"base.model.backbone": {"name": "mine"}}
WRONG = {
    "no base": (
        registered("losses", "    def forward(self, logits, targets): return logits.sum()"),
        LOSS,
        rf"plugins: loss 'mine' {WHERE} is not a subclass of aimlib\.training\.losses\.Loss; write `from "
        r"aimlib\.training\.losses import Loss` and `class Mine\(Loss\):`",
    ),
    "a base of torch": (
        registered("losses", "    def forward(self, logits, targets): return logits.sum()", "nn.Module"),
        LOSS,
        rf"loss 'mine' {WHERE} is not a subclass of aimlib\.training\.losses\.Loss; ",
    ),
    "no base of training code": (
        registered("trainers", "    def train(self, config, run): ..."),
        {},
        r"is not a subclass of aimlib\.training\.own\.base\.TrainingCode; write `from aimlib\.training\.own\.base "
        r"import ",
    ),
    "no base of samplers": (
        "from ablations.spec.search_families import samplers\n"
        '@samplers.register("mine")\nclass Mine:\n    def build(self, seed): ...\n',
        {},
        r"sampler 'mine' \(own\.py, line 19, class Mine\) is not a subclass of ablations\.search\.samplers\.Sampler; ",
    ),
    "a method is missing": (
        registered("backbones", "    def build(self, shape): return nn.Flatten()", "Backbone"),
        NETWORK,
        rf"plugins: backbone 'mine' {WHERE} lacks layout; write `def layout\(self, network\):` in it",
    ),
    "a method has another name": (
        registered("placements", "    def read(self, layers): return []", "Placement"),
        {"arms.aim.model.placement": "mine"},
        rf"placement 'mine' {WHERE} lacks reads; it defines 'read': rename that to 'reads'",
    ),
    "plain options": (
        registered("losses", "    class Config:\n        a = 1.0\n    def forward(self, logits, targets): ...", "Loss"),
        LOSS,
        rf"loss 'mine' {WHERE}: Config must be a subclass of aimlib\.component\.ComponentConfig; write `class Config\(",
    ),
    "no network": (
        registered("backbones", "    def build(self, shape): nn.Flatten()\n    def layout(self, n): ...", "Backbone"),
        NETWORK,
        rf"arms\.baseline, arms\.aim: backbone 'mine' {WHERE}: build\(\) returned None; make it return "
        r"torch\.nn\.Module; does it lack `return`\?",
    ),
    "another layout": (
        registered(
            "backbones",
            "    def build(self, shape): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
            "    def layout(self, network): return ['0']",
            "Backbone",
        ),
        NETWORK,
        rf"backbone 'mine' {WHERE}: layout\(\) returned a list; make it return Layout$",
    ),
    "no model": (
        registered("controls", "    def transform(self, model, shape): ...", "Control"),
        {"arms.other": {"of": "aim", "control": "mine"}},
        rf"arms\.other: control 'mine' {WHERE}: transform\(\) returned None; make it return ModelConfig; does it lack",
    ),
    "no shape": (
        registered("datasets", "    def shape(self): ...\n    def load(self): ...", "DatasetPlugin"),
        {"base.data": {"name": "mine"}},
        rf"data set 'mine' {WHERE}: shape\(\) returned None; make it return ImageShape; does it lack `return`\?",
    ),
    "no optimizer": (
        registered(
            "optimizers", "    def build(self, parameters): torch.optim.SGD(parameters, lr=1)", "OptimizerPlugin"
        ),
        {"base.training.optimizer": {"name": "mine", "learning_rate": 0.1}},
        rf"optimizer 'mine' {WHERE}: build\(\) returned None; make it return torch\.optim\.Optimizer; does it lack",
    ),
    "no rate": (
        registered("schedules", "    def rate(self, time): self.learning_rate", "Schedule"),
        {"base.training.schedule": "mine"},
        rf"schedule 'mine' {WHERE}: rate\(\) returned None; make it return a number; does it lack `return`\?",
    ),
    "an unknown layer": (
        registered("placements", "    def reads(self, layers): return ['layer99']", "Placement"),
        {"arms.aim.model.placement": "mine"},
        r"placement 'mine' chose a layer 'layer99' that the network does not have; (the nearest of its \d+|its) "
        r"layers: .*fc",
    ),
    "layers instead of their names": (
        registered("placements", "    def reads(self, layers): return layers[:1]", "Placement"),
        {"arms.aim.model.placement": "mine"},
        r"placement 'mine': reads\(\) returned layers; make it return their names, as in \[layer\.name for layer in",
    ),
    "an argument too many": (
        registered("placements", "    def reads(self, layers, network): return []", "Placement"),
        {"arms.aim.model.placement": "mine"},
        rf"plugins: placement 'mine' {WHERE}: reads\(self, layers, network\) is called with \(layers\); write `def "
        r"reads\(self, layers\):`",
    ),
    "an argument too few": (
        registered("callbacks", "    def on_epoch_end(self, run): ...", "Callback"),
        {"base.training.callbacks": ["mine"]},
        rf"callback 'mine' {WHERE}: on_epoch_end\(self, run\) is called with \(run, row\); write `def on_epoch_end",
    ),
    "another constructor": (
        registered(
            "updates", "    def __init__(self, channels): ...\n    def forward(self, x, m): ...", "MemoryUpdate"
        ),
        {"arms.aim.model.update": "mine"},
        rf"update 'mine' {WHERE}: __init__\(self, channels\) is called with \(config, features, memory, where\); ",
    ),
    "a method in place of a property": (
        memory("def forward(self, batch): ...", count="def degrees_of_freedom(self): return 1"),
        MEMORY,
        rf"memory source 'mine' {WHERE}: degrees_of_freedom is a method, but is used as a value; write `@property`",
    ),
    "a property is missing": (
        memory("def forward(self, batch): ...", count=""),
        MEMORY,
        r"lacks degrees_of_freedom; write `@property` and `def degrees_of_freedom\(self\):` in it",
    ),
    "a count that is none": (
        memory(f"def forward(self, batch): return {VALUES}", count="degrees_of_freedom = 'many'"),
        MEMORY,
        rf"memory source 'mine' {WHERE}: degrees_of_freedom is 'many'; make it return an integer",
    ),
    "a memory of another size": (
        memory("def forward(self, batch): return torch.ones(1, self.config.channels, 3, 1)"),
        MEMORY,
        rf"arms\.aim: memory source 'mine' {WHERE}: forward\(\) returned a tensor of shape \[1, 4, 3, 1\] for a batch "
        r"of 2; make it return the memory, \[1 or 2, 4, 2, 2\]: \[1 or batch, channels, rows, columns\]",
    ),
    "no memory": (
        memory("def forward(self, batch): torch.ones(1)"),
        MEMORY,
        rf"memory source 'mine' {WHERE}: forward\(\) returned None for a batch of 2; make it return the memory",
    ),
    "a memory that reads a value": (
        memory(f"def forward(self, batch): return {VALUES} * torch.ones(1, device='meta').item()"),
        MEMORY,
        r"arms\.aim: this network cannot be built: it reads the value of a tensor, but networks are checked with "
        r"tensors that have no values \(.*\) \(own\.py.*, line \d+, in forward\); correct that line, "
        r"or change its sizes",
    ),
    "an update that returns its features": (
        registered("updates", "    def forward(self, features, memory): return features", "MemoryUpdate"),
        {"arms.aim.model.update": "mine"},
        rf"update 'mine' {WHERE}: forward\(\) returned a tensor of shape .* make it return the memory, \[1 or 2, ",
    ),
    "an update that returns nothing": (
        registered("updates", "    def forward(self, features, memory): features.mean()", "MemoryUpdate"),
        {"arms.aim.model.update": "mine"},
        rf"update 'mine' {WHERE}: forward\(\) returned None for a batch of 2; make it return the memory",
    ),
    "an update whose sizes do not fit": (
        registered("updates", "    def forward(self, features, memory): return features + memory", "MemoryUpdate"),
        {"arms.aim.model.update": "mine"},
        r"this network cannot be built: .* \(own\.py.*, line 20, in forward\); correct that line, or change its sizes",
    ),
    "epochs counted from 0": (
        selection("return max(range(len(epochs)), key=lambda i: epochs[i]['train_accuracy'])"),
        SELECTION,
        rf"selection rule 'mine' {WHERE}: select\(\) returned 0 for a run of 1 epoch; make it return the number of one",
    ),
    "a row in place of its number": (
        selection("return epochs[-1]"),
        SELECTION,
        rf"selection rule 'mine' {WHERE}: select\(\) returned a dict for a run of 1 epoch; make it return the number",
    ),
    "no epoch": (selection("len(epochs)"), SELECTION, r"select\(\) returned None for a run of 1 epoch; "),
    "a column that does not exist": (
        selection("return 1 + max(range(len(epochs)), key=lambda i: epochs[i]['val_acc'])"),
        SELECTION,
        r"a plugin failed: KeyError: 'val_acc' \(own\.py.*, line 20, in <lambda>\)",
    ),
    "a hidden oracle": (
        selection("return 1 + max(range(len(epochs)), key=lambda i: epochs[i]['test_accuracy'])"),
        SELECTION,
        rf"selection rule 'mine' {WHERE}: select\(\) depends on test measures; use other measures, or set",
    ),
    "a state that is not stored": (
        registered("callbacks", "    def state_dict(self): return {'seen': set()}", "Callback"),
        {"base.training.callbacks": ["mine"]},
        r"training\.callbacks: mine: state_dict\(\)\['seen'\]: contains a set, which a checkpoint cannot store; ",
    ),
    "a state that cannot be continued from": (
        registered("callbacks", "    def load_state_dict(self, state): self.seen = state['seen']", "Callback"),
        {"base.training.callbacks": ["mine"]},
        r"a plugin failed: KeyError: 'seen' \(own\.py.*, line 20, in load_state_dict\)",
    ),
}


def test_a_declared_oracle_and_rules_that_do_not_need_one_are_accepted(tmp_path: Path) -> None:
    for body in (
        "    oracle = True\n    def select(self, epochs): return epochs[-1]['epoch'] if epochs[0]['test_loss'] else 1",
        "    def select(self, epochs): return torch.tensor([e['train_loss'] for e in epochs]).argmin() + 1",
    ):
        with restored_registries():
            (tmp_path / "own.py").write_text(IMPORTS + registered("selections", body, "Selection"), encoding="utf-8")
            path = write(tmp_path, changed({"plugins": ["own.py"], **SELECTION}))
            assert ablations.check(path, timing=False, trust=True).plan.runs


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_in_a_user_class_is_reported_with_place_and_remedy(tmp_path: Path, case: str) -> None:
    code, changes, message = WRONG[case]
    said = refusal(tmp_path, code, changes)
    assert re.search(message, said), said


def test_a_class_without_the_base_class_that_defines_its_constructor_is_accepted(tmp_path: Path) -> None:
    body = (
        "    def __init__(self, config): self.config = config\n"
        "    def reads(self, layers): return [layer.name for layer in layers if not layer.obstacle]"
    )
    (tmp_path / "own.py").write_text(IMPORTS + registered("placements", body), encoding="utf-8")
    path = write(tmp_path, changed({"plugins": ["own.py"], "arms.aim.model.placement": "mine"}))
    assert ablations.check(path, timing=False, trust=True).plan.runs


@pytest.mark.parametrize("arguments", ["config", "", "config, run, more"])
def test_training_code_with_wrong_arguments_is_refused_when_the_study_is_read(tmp_path: Path, arguments: str) -> None:
    path = training_code_study(tmp_path)
    (tmp_path / "loop.py").write_text(f"def train({arguments}):\n    pass\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        ablations.check(path, timing=False, trust=True)
    assert str(caught.value) == (
        f"{path}: train: loop.py, line 1: training code is called as train(config, run), but this is "
        f"train({arguments}); write `def train(config, run):`"
    )


def test_training_code_may_have_additional_arguments_with_defaults(tmp_path: Path) -> None:
    path = training_code_study(tmp_path)
    (tmp_path / "loop.py").write_text("def train(config, run, more=1, *rest):\n    pass\n", encoding="utf-8")
    assert ablations.check(path, timing=False, trust=True).plan.runs
