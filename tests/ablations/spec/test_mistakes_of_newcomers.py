"""Every likely mistake in a first study is reported with its place, its cause and what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import REMOVED, TINY, changed

from ablations.commands.check import check
from aimlib.errors import UsageError

TEXT = yaml.safe_dump({**TINY, "arms": {**TINY["arms"], "m": {"of": "aim", "control": "matched_parameters"}}})
LISTED = Path(__file__).with_name("mistakes_of_newcomers.txt")
Change = Mapping[str, Any] | Callable[[str], str]
AIM, TRAINING = "arms.aim.model", "base.training"
M = {"of": "aim", "control": "matched_parameters"}


def swapped(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def without_base(text: str) -> str:
    document = yaml.safe_load(text)
    return yaml.safe_dump({**document.pop("base"), **document}, sort_keys=False)


MISTAKES: dict[str, tuple[Change, str, str, str]] = {
    "training options at the top level of the study": (
        {"epochs": 3},
        "epochs",
        "unknown key",
        "set base.training.epochs",
    ),
    "the keys of base at the top level of the study": (without_base, "training", "unknown key", "set base.training;"),
    "memory options directly below an arm": (
        {"arms.other": {"memory": "conv_ones"}},
        "arms.other.memory",
        "it belongs elsewhere",
        "set arms.other.model.memory",
    ),
    "training options directly below an arm": (
        {"arms.other": {"batch_size": 8}},
        "arms.other.batch_size",
        "it belongs elsewhere",
        "set arms.other.training.batch_size",
    ),
    "a device among the training options": (
        {f"{TRAINING}.device": "cuda"},
        f"{TRAINING}.device",
        "it belongs elsewhere",
        "set resources.device",
    ),
    "lr for the learning rate": (
        {f"{TRAINING}.optimizer": {"name": "adam", "lr": 0.1}},
        f"{TRAINING}.optimizer.lr",
        "unknown key",
        "did you mean 'learning_rate'?",
    ),
    "seed for seeds": ({"seed": 3}, "seed", "unknown key", "did you mean 'seeds'?"),
    "variants for arms": ({"variants": {}}, "variants", "unknown key", "did you mean 'arms'?"),
    "a key with a capital letter": ({"Seeds": 3}, "Seeds", "unknown key", "did you mean 'seeds'?"),
    "arms as a list": (
        {"arms": ["baseline", "aim"]},
        "arms",
        "got ['baseline', 'aim'] (list)",
        "must be a mapping of keys to values",
    ),
    "an arm with nothing after its colon": ({"arms.empty": None}, "arms.empty", "got None", "or {} if there are none"),
    "a study without arms": ({"arms": REMOVED}, "arms", "missing", "write the configurations to compare, e.g."),
    "a study without a name": ({"name": REMOVED}, "name", "missing", "give the study a name"),
    "a name with a space": ({"name": "my study"}, "name", "'my study'", "use at most 64 letters, digits"),
    "a torchvision network under its own name": (
        {"base.model.backbone": "resnet18"},
        "base.model.backbone",
        "unknown backbone 'resnet18'",
        "{name: torchvision, architecture: resnet18}",
    ),
    "a data set that does not exist": (
        {"base.data": {"name": "digit"}},
        "base.data",
        "unknown data set 'digit'",
        "did you mean 'digits'?",
    ),
    "photos that were not downloaded": (
        {"base.data": {"name": "stanford_dogs", "size": 64}},
        "base.data",
        "Images is missing",
        "fetch it with `ablate data download stanford_dogs",
    ),
    "a data set from another library": (
        {"base.data": {"name": "svhn"}},
        "base.data",
        "unknown data set 'svhn'",
        "{name: image_folder, root: FOLDER}",
    ),
    "a memory without a placement": (
        {f"{AIM}": {"memory": "conv_ones"}},
        "arms.aim.model",
        "no layer reads the memory",
        "set placement: block_entry|",
    ),
    "a misspelled placement": (
        {f"{AIM}.placement": "every_layers"},
        f"{AIM}.placement",
        "unknown placement 'every_layers'",
        "did you mean 'every_layer'?",
    ),
    "a misspelled control": (
        {"arms.m": {**M, "control": "matched_params"}},
        "arms.m.control",
        "unknown control 'matched_params'",
        "did you mean 'matched_parameters'?",
    ),
    "a control without the arm to control for": (
        {"arms.m": {"control": "matched_parameters"}},
        "arms.m",
        "a control needs 'of'",
        "set it to the name of the arm to control for",
    ),
    "a control for the baseline": (
        {"arms.m": {**M, "of": "baseline"}},
        "arms.m",
        "needs an arm with memory, but 'baseline' has none",
        "set `of` to aim",
    ),
    "a control for an arm in a study without memory": (
        {"arms.m": {**M, "of": "baseline"}, "arms.aim": {"model": {"conv_init": "glorot_uniform"}}},
        "arms.m",
        "needs an arm with memory, but 'baseline' has none, nor has any other arm",
        "write the control's own configuration, with a role, instead of `of` and `control`",
    ),
    "a control for an arm with a misspelled name": (
        {"arms.m": {**M, "of": "AiM"}},
        "arms.m.of",
        "unknown arm 'AiM'",
        "did you mean 'aim'?",
    ),
    "an optimizer with a capital letter": (
        {f"{TRAINING}.optimizer": "Adam"},
        f"{TRAINING}.optimizer",
        "unknown optimizer 'Adam'",
        "did you mean 'adam'?",
    ),
    "a number in quotes": ({f"{TRAINING}.epochs": "2"}, f"{TRAINING}.epochs", "got '2' (text)", "without quotes"),
    "a number with a unit": (
        {"base.data.size": "8px"},
        "base.data.size",
        "got '8px' (text)",
        "must be a valid integer",
    ),
    "a single number instead of a list": (
        {"base.model.backbone.widths": 8},
        "base.model.backbone.widths",
        "got 8 (integer)",
        "write [8]",
    ),
    "no epochs": ({f"{TRAINING}.epochs": REMOVED}, f"{TRAINING}.epochs", "missing", "protocol: controlled, which sets"),
    "zero epochs": ({f"{TRAINING}.epochs": 0}, f"{TRAINING}.epochs", "got 0", "must be greater than or equal to 1"),
    "seeds in words": ({"seeds": "five"}, "seeds", "must be a number of seeds", "e.g. [0, 1, 2]; got 'five'"),
    "two arms that are the same": (
        {"arms.same": {}},
        "arms.same",
        "identical to arms.baseline",
        "change an option, or remove one of the arms",
    ),
    "a factor without vary": ({"factors": {"model.placement": ["a", "b"]}}, "vary", "missing", "name one of aim"),
    "a factor with a single level that is not in a list": (
        {"factors": {"model/placement": "a"}, "vary": "aim"},
        "factors",
        "got 'a'",
        "write the levels as a list: {model/placement: [a, ...]}",
    ),
    "a factor without its full key path": (
        {"factors": {"placement": ["block_entry", "stage_only"]}, "vary": "aim"},
        "factors.placement",
        "not a key path",
        "did you mean 'model.placement'?",
    ),
    "a misspelled key path in a factor": (
        {"factors": {"model.placment": ["block_entry", "stage_only"]}, "vary": "aim"},
        "factors.model.placment",
        "unknown key",
        "did you mean 'placement'?",
    ),
    "a misspelled design": (
        {"factors": {"model.placement": ["block_entry", "stage_only"]}, "vary": "aim", "design": "factorial"},
        "design",
        "got 'factorial' (text)",
        "must be 'full_factorial', 'one_at_a_time'",
    ),
    "a claim that does not exist": ({"claim": "mine"}, "claim", "unknown claim 'mine'", "the path of a .yaml file"),
    "a claim file that does not exist": (
        {"claim": "claim.yaml"},
        "claim",
        "(No such file next to the study",
        "for an example see",
    ),
    "a misspelled protocol": (
        {"protocol": "control"},
        "protocol",
        "unknown protocol 'control'",
        "did you mean 'controlled'?",
    ),
    "gpu for gpus": ({"resources": {"gpu": 1}}, "resources.gpu", "unknown key", "did you mean 'gpus'?"),
    "true for early stopping": (
        {f"{TRAINING}.early_stopping": True},
        f"{TRAINING}.early_stopping",
        "got True",
        "must be a mapping of keys to values; got True (true/false); its keys: min_delta, patience",
    ),
    "a batch larger than the data": (
        {f"{TRAINING}.batch_size": 512},
        f"{TRAINING}.batch_size",
        "512 is greater than the number of training images, 40",
        "lower it",
    ),
    "too few images for a validation split": (
        {f"{TRAINING}.validation_fraction": 0.1},
        f"{TRAINING}.validation_fraction",
        "is less than one image",
        "increase it, or set it to 0",
    ),
    "a line that is indented differently": (
        swapped("  baseline: {}", "   baseline: {}"),
        "study.yaml:",
        "not valid YAML",
        "indent this line like the others at its level",
    ),
    "a tab": (swapped("  baseline: {}", "\tbaseline: {}"), "study.yaml:", "'\\t'", "indent with spaces"),
    "a brace that is not closed": (
        swapped("  baseline: {}", "  baseline: {"),
        "study.yaml:",
        "expected ',' or '}'",
        "close the bracket that was opened before this place",
    ),
    "a colon without a space": (
        lambda text: text + "looks:5\n",
        "study.yaml:",
        "could not find expected ':'",
        "write key: value, with a colon and a space",
    ),
    "an arm defined twice": (
        swapped("  baseline: {}", "  baseline: {}\n  baseline: {}"),
        "study.yaml:",
        "key 'baseline' is given twice",
        "keep one of them",
    ),
}
OF_COMMANDS: dict[str, tuple[str, list[str], str, str, str]] = {
    "a Python file in place of a study": ("run.py", [], "run.py", "is a Python file", "run it with `python run.py`"),
    "a folder in place of a study": ("folder", [], "folder", "is a folder", "pass the study file, e.g. folder/study"),
    "a misspelled name of a shipped study": ("dmo", [], "dmo", "no such file or shipped study", "did you mean 'demo'?"),
    "a command-line option without a value": (
        "demo",
        ["epochs"],
        "--set epochs",
        "no key with a value",
        "e.g. --set training.epochs=10",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_its_place_cause_and_remedy(mistake: str, tmp_path: Path) -> None:
    change, place, cause, remedy = MISTAKES[mistake]
    text = change(TEXT) if callable(change) else yaml.safe_dump(changed(dict(change), yaml.safe_load(TEXT)))
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refusal:
        check("study.yaml", timing=False)
    where = place if place == "study.yaml:" else f"study.yaml: {place}"
    told = [line for line in str(refusal.value).splitlines() if line.startswith(where)]
    assert [line for line in told if cause in line and remedy in line], str(refusal.value)


@pytest.mark.parametrize("mistake", OF_COMMANDS)
def test_a_mistake_on_the_command_line_is_reported_in_the_same_way(mistake: str, tmp_path: Path) -> None:
    source, overrides, place, cause, remedy = OF_COMMANDS[mistake]
    (tmp_path / "folder").mkdir()
    (tmp_path / "run.py").write_text("import ablations\n")
    with pytest.raises(UsageError) as refusal:
        check(source, overrides, timing=False)
    said = str(refusal.value)
    assert said.startswith(place)
    assert cause in said
    assert remedy in said


def test_the_study_without_the_mistakes_is_valid(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TEXT, encoding="utf-8")
    assert len(check("study.yaml", timing=False).plan.arms) == 3


def test_all_listed_mistakes_are_tested_and_at_least_thirty_are_listed() -> None:
    listed = [line for line in LISTED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert sorted(listed) == sorted([*MISTAKES, *OF_COMMANDS])
    assert len(listed) >= 30
