"""Every mistake in a study is reported before anything runs: where it is, what is wrong, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate
from tiny_study import REMOVED, changed, write

from ablations.commands.check import check
from ablations.spec.study import read_study
from aimlib.errors import ConfigError

MEMORY = {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}
ADAM = "base.training.optimizer"
CONTROL = {"of": "aim", "control": "matched_parameters"}


REMEDY = re.compile(
    r"did you mean|for an example see|known: |known keys: |must be |start from|name one of|in both|letters, digits|"
    r"\b(give|write|define|move|use|must be|choose|change|remove|lower|raise|set)\b|ablate data download|"
    r"printable text of|a key path below"
)
"""The remedy: an instruction, or the permitted values."""


class Bad:
    """A mistake: changes to the tiny study, the key path in the message, and other parts of the message."""

    def __init__(self, changes: dict[str, Any], where: str, *says: str) -> None:
        self.changes, self.where, self.says = changes, where, says


def bad(path: str, value: Any, where: str, *says: str) -> Bad:
    return Bad({path: value}, where, *says)


DOCUMENT = [
    bad("armz", {}, "armz", "unknown key", "did you mean 'arms'?"),
    bad("base.modle", {}, "base.modle", "unknown key", "did you mean 'model'?", "known keys: model, data, training"),
    bad("base.seed", 3, "base.seed", "unknown key"),
    bad("name", REMOVED, "name", "missing"),
    bad("base", REMOVED, "base", "missing"),
    bad("arms", REMOVED, "arms", "missing"),
    bad("name", "../elsewhere", "name", "'../elsewhere'", "it becomes a folder's name"),
    bad("name", "a/b", "name", "letters, digits"),
    bad("name", "..", "name", "64 letters"),
    bad("name", "tiny\n", "name", "64 letters"),
    bad("name", "x" * 65, "name", "at most 64"),
    bad("name", 5, "name", "must be a valid string; got 5 (integer)"),
    bad("description", 5, "description", "must be a valid string"),
    bad("claim", "stanford_dog_aim", "claim", "unknown claim", "did you mean 'stanford_dogs_aim'?"),
    bad("claim", "nowhere.yaml", "claim", "nowhere.yaml: not a readable claim"),
    bad("delta_pp", 0, "delta_pp", "must be greater than 0"),
    bad("delta_pp", float("nan"), "delta_pp", "must be a finite number"),
    bad("seeds", [0, 1, 0], "seeds", "[0, 1, 0]: a seed is listed twice"),
    bad("seeds", [], "seeds", "must be a number of seeds"),
    bad("seeds", 0, "seeds", "must be a number of seeds"),
    bad("seeds", 2_000_000_000, "seeds", "must be a number of seeds (1 to 10000"),
    bad("seeds", "3", "seeds", "or a list of seeds"),
    bad("seeds", True, "seeds", "must be a number of seeds"),
    bad("seeds", [0, -1], "seeds.1", "must be greater than or equal to 0; got -1"),
    bad("seeds", [2**31], "seeds.0", "must be less than 2147483648"),
    bad("seeds", [1.0], "seeds.0", "must be a valid integer; got 1.0 (number)"),
    bad("resources", {"gpus": 1.5}, "resources", "gpus: 1.5: must be a whole number if greater than 1"),
    bad("resources", {"gpus": -1}, "resources.gpus", "must be greater than or equal to 0"),
    bad("resources", {"cpus": 0}, "resources.cpus", "must be greater than or equal to 1"),
    bad("resources", {"cpu": 1}, "resources.cpu", "unknown key", "did you mean 'cpus'?"),
    bad("resources", {"device": "gpu"}, "resources.device", "'auto', 'cpu' or 'cuda'"),
    bad("resources", {"device": "cuda"}, "resources", "device: cuda needs gpus"),
    bad("resources", {"device": "cpu", "gpus": 1}, "resources", "gpus: 1 has no effect"),
]

ARMS = [
    bad("arms", {}, "arms", "empty; define at least two arms"),
    bad("arms", [], "arms", "must be a mapping of keys to values"),
    bad("arms.aim", None, "arms.aim", "must be a mapping with the arm's changes to the base, or {} if there are none"),
    bad("arms.aim", 5, "arms.aim", "got 5"),
    bad("arms.aim.modle", {}, "arms.aim.modle", "unknown key", "did you mean 'model'?"),
    bad("arms.aim.seed", 3, "arms.aim.seed", "unknown key"),
    bad("arms.aim.role", "treatement", "arms.aim.role", "unknown role 'treatement'", "did you mean 'treatment'?"),
    bad("arms.aim.role", ["control"], "arms.aim.role", "unknown role", "choose one of them"),
    bad("arms.aim.question", "two\nlines?", "arms.aim.question", "must be a single line of text"),
    bad(
        "arms.m",
        {"of": "aim", "role": "other", "question": "So?"},
        "arms.m",
        "not allowed for an arm with the role other",
        "move it to a",
    ),
    bad(
        "arms.m",
        {"of": "aim", "role": "aim", "question": "So?"},
        "arms.m",
        "not allowed for an arm with the role treatment",
        "move it to a",
    ),
    bad("what", "", "what", "must be a single line of text"),
    bad("measure", "f1", "measure", "must be one of accuracy, balanced_accuracy, macro_f1, loss", "got 'f1'"),
    bad("measure", {"scalar": "a\nb", "better": "lower"}, "measure", "must be one of", "e.g. {scalar: perplexity"),
    bad("measure", {"scalar": "bleu"}, "measure", "higher or lower is better", "e.g. {scalar: perplexity"),
    bad("measure", "loss", "delta: missing", "set the smallest difference in test loss that would matter, in nats"),
    Bad({"measure": "loss", "delta": 0.1, "delta_pp": 1.0}, "delta_pp", "is not in percentage points", "set delta"),
    bad("delta", 0.1, "delta", "test accuracy is in percentage points", "set delta_pp instead"),
    bad("keep_scores", "float32", "keep_scores", "'none' or 'float16'"),
    bad("delta", -1, "delta", "greater than 0"),
    Bad(
        {"measure": "macro_f1", "claim": "stanford_dogs_aim"},
        "measure",
        "a claim is about accuracy, but the measure is macro_f1",
        "remove one of the two",
    ),
    bad("what", "x" * 200, "what", "at most 120 characters"),
    bad("arms/", {}, "arms.''", "printable text"),
    bad("arms/two\nlines", {}, "arms.'two\\nlines'", "printable text"),
    bad("arms.twin", {}, "arms.twin", "identical to arms.baseline", "change an option, or remove one"),
    bad("arms.twin", {"of": "aim", "model": {"memory": {"channels": 4}}}, "arms.twin", "identical to arms.aim"),
    bad("arms.m", {"control": "frozen_memory"}, "arms.m", "a control needs 'of'"),
    bad("arms.m", {"of": "aimm"}, "arms.m.of", "unknown arm 'aimm'", "did you mean 'aim'?", "known: aim, baseline"),
    bad("arms.m", {"of": "m"}, "arms.m.of", "unknown arm 'm'"),
    Bad({"arms.a": {"of": "b"}, "arms.b": {"of": "a"}}, "arms.a.of", "the arms a -> b -> a start from each other"),
    bad("arms.m", {"of": "baseline", "control": "frozen_memory"}, "arms.m", "'baseline' has none"),
    bad(
        "arms.m",
        {"of": "aim", "control": "frozen"},
        "arms.m.control.name",
        "unknown control 'frozen'",
        "known: frozen_memory",
    ),
    bad("arms.m", {"of": "aim", "control": 5}, "arms.m.control", "must be the name of a control", "got 5"),
    bad("arms.m", {"of": "aim", "control": {}}, "arms.m.control.name", "missing: set it to the name of the control"),
    bad(
        "arms.m",
        {"of": "aim", "control": {"name": "matched_parameters", "tolerence": 0.01}},
        "arms.m.control.tolerence",
        "unknown key",
        "did you mean 'tolerance'?",
    ),
    bad(
        "arms.m",
        {"of": "aim", "control": {"name": "matched_parameters", "tolerance": 1e-9}},
        "arms.m",
        "no widths of backbone 'small_resnet' come within",
        "raise control.tolerance",
    ),
    Bad(
        {"arms.m": CONTROL, "arms.n": {"of": "m", "training": {"epochs": 3}}},
        "arms.n.of",
        "arm 'm' is a control",
        "start from the arm to control for, 'aim'",
    ),
    bad("arms.aim.model.control", "frozen_memory", "arms.aim", "model.control cannot be set directly", "set 'of'"),
    bad("base.model.control", "frozen_memory", "base.model.control", "a control belongs to one arm"),
]

COMPONENTS = [
    bad(
        "base.model.backbone.name",
        "smal_resnet",
        "base.model.backbone.name",
        "unknown backbone",
        "did you mean 'small_resnet'?",
    ),
    bad("base.model.backbone", "resnet5", "base.model.backbone.name", "did you mean 'resnet50'?"),
    bad(
        "arms.aim.model.memory.name", "conv_one", "arms.aim.model.memory.name", "unknown memory source", "'conv_ones'?"
    ),
    bad(
        "arms.aim.model.placement", "blok_entry", "arms.aim.model.placement.name", "unknown placement", "'block_entry'?"
    ),
    bad("arms.aim.model.update", "conv_sigmoyd", "arms.aim.model.update.name", "unknown update", "'conv_sigmoid'?"),
    bad("base.data.name", "digit", "base.data.name", "unknown data set", "did you mean 'digits'?", "known: cifar10, "),
    bad(ADAM, "adm", "base.training.optimizer.name", "unknown optimizer", "'adam'?"),
    bad(
        "base.training.schedule", "cosin", "base.training.schedule.name", "unknown learning-rate schedule", "'cosine'?"
    ),
    bad(
        "base.training.selection",
        "best_val",
        "base.training.selection.name",
        "unknown selection rule",
        "'best_validation'?",
    ),
    bad("base.data", REMOVED, "base.data", "missing; this key has no default"),
    bad("base.training", REMOVED, "base.training", "missing"),
    bad("base.training.epochs", REMOVED, "base.training.epochs", "missing"),
    bad("base.model.backbone", REMOVED, "base.model.backbone", "missing"),
    bad("base.training", None, "base.training", "got None (nothing)"),
    bad("base.training.epoch", 2, "base.training.epoch", "unknown key", "did you mean 'epochs'?"),
    bad(
        ADAM,
        {"name": "adam", "learnin_rate": 0.1},
        "base.training.optimizer.learnin_rate",
        "did you mean 'learning_rate'?",
    ),
    bad("arms.aim.model.memory.chanels", 4, "arms.aim.model.memory.chanels", "did you mean 'channels'?"),
    bad("arms.aim.model.memry", {}, "arms.aim.model.memry", "did you mean 'memory'?"),
    bad("base.training.epochs", "ten", "base.training.epochs", "must be a valid integer; got 'ten' (text)"),
    bad("base.training.epochs", True, "base.training.epochs", "got True (true/false)"),
    bad("base.training.epochs", -1, "base.training.epochs", "must be greater than or equal to 1; got -1"),
    bad("base.training.epochs", 2.0, "base.training.epochs", "must be a valid integer; got 2.0 (number)"),
    bad("base.training.shuffle", 1, "base.training.shuffle", "must be a valid boolean; got 1"),
    bad("base.training.shuffle", "no", "base.training.shuffle", "got 'no' (text)"),
    bad(f"{ADAM}.learning_rate", float("nan"), f"{ADAM}.learning_rate", "must be a finite number; got nan"),
    bad(f"{ADAM}.learning_rate", float("inf"), f"{ADAM}.learning_rate", "must be a finite number; got inf"),
    bad(f"{ADAM}.learning_rate", -1, f"{ADAM}.learning_rate", "must be greater than 0; got -1"),
    bad("base.model.backbone.widths", [4, 4], "base.model.backbone", "widths has 2 stages and blocks has 3", "in both"),
    bad("base.model.backbone.blocks", [1], "base.model.backbone", "widths has 3 stages and blocks has 1"),
    bad("base.model.backbone.widths", [4, "a", 8], "base.model.backbone.widths.1", "must be a valid integer; got 'a'"),
    bad("base.data.train_images", 5000, "base.data.train_images", "must be less than or equal to 1297"),
    bad("base.data.root", "/x", "base.data.root", "unknown key"),
]

EFFECTS = [
    bad("arms.aim.model.memory", "none", "arms.aim.model", "placement, update: no effect", "no memory"),
    bad(
        "arms.b",
        {"model": {"placement": "block_entry"}},
        "arms.b.model",
        "placement: no effect",
        "conv_ones|dense_ones|noise|parameter",
    ),
    bad("arms.b", {"model": {"read_init": "own"}}, "arms.b.model", "read_init: no effect"),
    bad("arms.aim.model.placement", REMOVED, "arms.aim.model", "no layer reads the memory", "block_entry|every_layer"),
    bad(
        "arms.aim.model",
        {"memory": MEMORY, "placement": "block_entry", "update_after": "block"},
        "arms.aim.model",
        "update_after has no effect",
    ),
    bad(
        "arms.aim.model.placement",
        "input_only",
        "arms.aim",
        "the update has no effect",
        "choose another placement or update: none",
    ),
    bad("base.training.augmentation", {}, "base.training.augmentation", "no effect", "set one of rotation"),
    bad("arms.aim.training", {"augmentation": {"passes": 2}}, "arms.aim.training.augmentation", "no effect"),
    bad(
        "base.training.early_stopping",
        {"patience": 2},
        "base.training.early_stopping",
        "patience 2 is not less than the maximum of 2 epochs",
    ),
    Bad(
        {"base.training.validation_fraction": 0},
        "base.training",
        "validation_fraction is 0, but selection 'best_validation'",
    ),
    bad("base.training.validation_fraction", 0.01, "base.training.validation_fraction", "less than one image"),
    bad("base.training.validation_fraction", 0.99, "base.training.validation_fraction", "leaves 0 of 40 images"),
    bad(
        "base.training.batch_size",
        41,
        "base.training.batch_size",
        "41 is greater than the number of training images, 40",
        "lower it",
    ),
    Bad({"arms.aim.training": {"batch_size": 400}}, "arms.aim.training.batch_size", "400 is greater"),
    Bad(
        {"base.training.batch_size": 31, "base.training.drop_last": True},
        "base.training.drop_last",
        "30 training images do not fill a batch of 31",
    ),
    bad(
        "base.data",
        {"name": "stanford_dogs", "classes": 3, "size": 16, "root": "/nonexistent"},
        "base.data",
        "/nonexistent/Images is missing",
        "ablate data download stanford_dogs",
    ),
    bad(
        "base.model.backbone",
        "vgg16_bn",
        "arms.baseline",
        "VGG does not take images of 1 channel, 8 x 8",
        "choose another size",
    ),
    bad("base.model.backbone", "mlp", "arms.aim", "update 'conv_sigmoid' works on feature maps", "choose update: none"),
    bad("base.model.backbone.widths", [10**9] * 3, "arms.baseline", "this network cannot be built"),
    bad("arms.aim.model.memory.channels", 10**12, "arms.aim", "this network cannot be built"),
]

PATH = "model.memory.channels"
FACTORS = [
    Bad({"factors": {PATH: [4, 8]}}, "vary", "missing; name one of baseline, aim"),
    Bad({"factors": {PATH: [4, 8]}, "vary": "aimm"}, "vary", "unknown arm 'aimm'", "did you mean 'aim'?"),
    Bad({"design": "one_at_a_time"}, "design", "no effect", "no factors"),
    Bad({"vary": "aim"}, "vary", "no effect", "no factors"),
    Bad(
        {"factors": {PATH: [4, 8]}, "vary": "aim", "design": "latin"},
        "design",
        "'leave_one_out', 'fractional_factorial' or 'variance'",
    ),
    Bad({"factors": {PATH: [8, 8]}, "vary": "aim"}, f"factors.{PATH}", "levels [0] (8) and [1] (8) are equal"),
    Bad({"factors": {PATH: []}, "vary": "aim"}, f"factors: {PATH}", "write the levels as a list"),
    Bad({"factors": {PATH: 8}, "vary": "aim"}, f"factors: {PATH}", "write the levels as a list", "got 8"),
    Bad({"factors": [PATH], "vary": "aim"}, "factors", "must be a mapping from key paths"),
    Bad(
        {"factors": {"memory.channels": [8]}, "vary": "aim"}, "factors.memory.channels", "a key path below model, data"
    ),
    Bad({"factors": {"model": [8]}, "vary": "aim"}, "factors.model", "a key path below"),
    Bad({"factors": {"model..memory": [8]}, "vary": "aim"}, "factors.model..memory", "a key path below"),
    Bad({"factors": {"model.": [8]}, "vary": "aim"}, "factors.model.", "a key path below"),
    Bad({"factors": {"seed": [8]}, "vary": "aim"}, "factors.seed", "a key path below"),
    Bad(
        {"factors": {"model.memory.channls": [8]}, "vary": "aim"},
        "factors.model.memory.channls",
        "did you mean 'channels'?",
    ),
    Bad(
        {"factors": {"model.memry.channels": [8]}, "vary": "aim"},
        "factors.model.memry.channels",
        "did you mean 'memory'?",
    ),
    Bad({"factors": {PATH: [8, "x"]}, "vary": "aim"}, f"factors.{PATH}", "must be a valid integer; got 'x'"),
    Bad({"factors": {PATH: [8, True]}, "vary": "aim"}, f"factors.{PATH}", "got True (true/false)"),
    Bad({"factors": {PATH: [8]}, "vary": "baseline"}, "arms.baseline[channels=8].model.memory.name", "missing"),
    Bad({"arms.m": CONTROL, "factors": {PATH: [8]}, "vary": "m"}, "vary", "arm 'm' is a control"),
]

ALL = DOCUMENT + ARMS + COMPONENTS + EFFECTS + FACTORS


def name_of(case: Bad) -> str:
    return " and ".join(
        f"{path}={'removed' if value is REMOVED else value!r}"[:60] for path, value in case.changes.items()
    )


@pytest.mark.parametrize("case", ALL, ids=name_of)
def test_a_bad_study_is_refused(case: Bad, study: Callable[..., Path]) -> None:
    path = study(case.changes)
    with pytest.raises(ConfigError) as refusal:
        check(path, timing=False)
    problems = refusal.value.problems
    assert all(problem.startswith(f"{path}: ") for problem in problems)
    assert len(set(problems)) == len(problems), "nothing is reported twice"
    about = [problem.removeprefix(f"{path}: ") for problem in problems]
    found = [text for text in about if text.startswith(tuple(case.where + end for end in (": ", ".", ";", " ", ", ")))]
    assert found, about
    for part in case.says:
        assert part in found[0]
    assert REMEDY.search(found[0]), found[0]
    for noise in ("Input", "pydantic", "ArmSpec", "function-", "Traceback", "dict["):
        assert noise not in found[0]


@pytest.mark.parametrize("case", ALL[::11], ids=name_of)
@pytest.mark.parametrize("command", ["check", "run"])
def test_the_command_line_reports_a_bad_study_with_code_2(
    case: Bad, command: str, study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--no-timing"] if command == "check" else ["--out", tmp_path / "out", "--executor", "inline"]
    code, out, err = ablate(capsys, command, study(case.changes), *extra)
    assert (code, out) == (2, "")
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert case.where in err
    assert all(part in err for part in case.says)
    assert not (tmp_path / "out").exists(), "no study was started"


@pytest.mark.parametrize(
    "case",
    [DOCUMENT[0], *(pytest.param(case, marks=pytest.mark.slow) for case in (EFFECTS[-4], FACTORS[0]))],
    ids=name_of,
)
def test_a_process_ends_with_code_2_and_no_traceback(case: Bad, study: Callable[..., Path], command: Any) -> None:
    process = command("check", study(case.changes), "--no-timing")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert "Traceback" not in err
    assert f"error: {study(case.changes)}: {case.where}" in err


def test_all_mistakes_are_reported_together(study: Callable[..., Path]) -> None:
    path = study({"base.training.epochs": "ten", "arms.aim.model.placement": "blok", "base.data.size": 1000})
    with pytest.raises(ConfigError) as refusal:
        check(path, timing=False)
    told = [problem.removeprefix(f"{path}: ").partition(":")[0] for problem in refusal.value.problems]
    assert sorted(told) == ["arms.aim.model.placement.name", "base.data.size", "base.training.epochs"]


def test_a_mistake_is_reported_with_its_line(study: Callable[..., Path]) -> None:
    """The mistake is in the arm itself, or the arm inherits it from another arm or the base."""
    arms = {
        "arms.longer": {"of": "aim", "training": {"epochs": 0}},
        "arms.longest": {"of": "longer", "training": {"batch_size": 0}},
    }
    path = study({**arms, "base.training.label_smoothing": 2})
    with pytest.raises(ConfigError) as refusal:
        check(path, timing=False)
    told = {problem.removeprefix(f"{path}: ").partition(":")[0] for problem in refusal.value.problems}
    assert told == {
        "base.training.label_smoothing",
        "arms.longer.training.epochs",
        "arms.longest.training.batch_size",
    }


def test_the_message_about_an_unknown_study_lists_the_shipped_studies() -> None:
    with pytest.raises(
        ConfigError, match=r"dmo: no such file or shipped study; did you mean 'demo'\? shipped: .*demo, "
    ):
        check("dmo")


def test_a_key_path_keeps_the_spaces_in_an_arm_name(tmp_path: Path) -> None:
    path = write(tmp_path, changed({"arms.aim 64": {"modle": {}}}))
    with pytest.raises(ConfigError, match=r"arms\.aim 64\.modle: unknown key; did you mean 'model'"):
        read_study(path)


def test_a_claim_file_is_found_next_to_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deeper"
    folder.mkdir()
    (folder / "own.yaml").write_text("name: own\n", encoding="utf-8")
    path = write(folder, changed({"claim": "own.yaml"}))
    monkeypatch.chdir(tmp_path)
    assert read_study(path).spec.claim == str(folder / "own.yaml")
