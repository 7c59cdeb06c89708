"""Kinds of mistakes in a study file: in the YAML, and in the values."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import yaml
from bad_input_kinds import Kind
from victims import STUDY as CONTENT
from victims import Victim

CHECK = "check STUDY --no-timing"
GOOD = yaml.safe_dump(CONTENT, sort_keys=False)
DEEP = "a: " + "[" * 20_000


def file(name: str, content: str | bytes, place: str, cause: str, remedy: str) -> Kind:
    """Return a kind of study file with this content."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        victim.study.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return Kind(name, CHECK, place, cause, remedy, arrange)


def made(name: str, make: Callable[[Victim], object], cause: str, remedy: str) -> Kind:
    """Return a kind in which the result of a function, such as a folder or a pipe, replaces the study file."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        victim.study.unlink()
        make(victim)

    return Kind(name, CHECK, "study.yaml", cause, remedy, arrange)


FILES = [
    file("an empty study file", "", "study.yaml", "contains nothing", "write keys, such as name"),
    file("a study file that is not a mapping", "[1]", "study.yaml", "contains a list", "write keys, such as name"),
    file("a study file that is not a mapping", "x", "study.yaml", "contains a single value", "write keys"),
    file("a study that is not UTF-8", GOOD.encode() + b"# \xe9", "study.yaml", "is not UTF-8", "save it as UTF-8"),
    file(
        "a NUL character in a study", GOOD + "\0", "study.yaml", "unacceptable character #x0000", "remove the character"
    ),
    file("an escape sequence in a study", GOOD + "# \x1b[2J", "study.yaml", "#x001b", "remove the character"),
    file("a tab as indentation", "name: x\n\tbase: {}", "study.yaml:2:1", r"'\t' that cannot", "indent with spaces"),
    file("two documents in one file", f"{GOOD}---\n{GOOD}", "study.yaml:31:1", "another document", "remove the line"),
    file("a bracket that is not closed", "name: [x", "study.yaml:1:9", "expected ',' or ']'", "close the bracket"),
    file("a key given twice", f"{GOOD}name: y", "study.yaml:31:1", "'name' is given twice", "keep one of them"),
    file("a value that begins with a reserved character", "name: @x", "study.yaml:1:7", "'@' that cannot", "in quotes"),
    file("an alias that is not defined", "name: *x", "study.yaml:1:7", "undefined alias 'x'", "define the anchor"),
    file("an alias that refers to itself", "name: &x [*x]", "study.yaml", "more than 100000 values", "write fewer"),
    file("excessively deep nesting", DEEP, "study.yaml", "nested too deeply", "remove levels"),
    file("a Python tag", "name: !!python/name:os.system", "study.yaml:1:7", "has the tag", "write a plain value"),
    file("an include", "base: !include other.yaml", "study.yaml:1:7", "has the tag", "write a plain value"),
    file("binary data", "name: !!binary aGk=", "study.yaml", "tags are not used", "write a plain value"),
    file("template braces", "name: {{x}}", "study.yaml:1:8", "unhashable key", "in quotes"),
    file("a key that is not text", f"{GOOD}5: 1", "study.yaml: 5", "keys must be strings", "got 5 (integer)"),
    file(
        "a merge key with a single value",
        f"<<: 5\n{GOOD}",
        "study.yaml:1:5",
        "expected a mapping",
        "correct this place",
    ),
    file("an unknown YAML version", f"%YAML 9.9\n---\n{GOOD}", "study.yaml:1:1", "incompatible YAML", "correct this"),
    file(
        "a number with thousands of digits",
        f"{GOOD}x: {'9' * 5000}",
        "study.yaml",
        "4300 digits",
        "use a smaller number",
    ),
    file(
        "a study file of several megabytes",
        f"{GOOD}# {'x' * 2_000_000}",
        "study.yaml",
        "more than 1,000,000 bytes",
        "pass a study file",
    ),
    file(
        "a name that is hundreds of kilobytes long",
        GOOD.replace("planted", "x" * 300_000),
        "name",
        "characters left out",
        "at most 64",
    ),
    file(
        "thousands of unknown keys",
        "\n".join(f"k{number}: 1" for number in range(2_000)),
        "k0",
        "more problems",
        "correct the others first",
    ),
    made(
        "a pipe in place of a study", lambda victim: os.mkfifo(victim.study), "is a pipe or a device", "save the study"
    ),
    made(
        "a device in place of a study",
        lambda victim: victim.study.symlink_to("/dev/zero"),
        "is a pipe or a device",
        "save the study",
    ),
    made("a link to itself", lambda victim: victim.study.symlink_to("study.yaml"), "no such file", "shipped: "),
    Kind("a file name that is too long", f"check {'x' * 5000}", "xxx", "File name too long", "pass a study file"),
]


def key(name: str, override: str, place: str, cause: str, remedy: str) -> Kind:
    """Return a kind of invalid value that an override sets; values in study files are checked in the same way."""
    overrides = " ".join(f"--set {each}" for each in override.split(" "))
    return Kind(name, f"{CHECK} {overrides}", place, cause, remedy)


AIM, M, ADAM = "arms.aim", "arms.m", "training.optimizer"
VALUES = [
    key("an unknown key", "armz={}", "armz", "unknown key", "did you mean 'arms'?"),
    key("an unknown key", "base.modle={}", "base.modle", "unknown key", "did you mean 'model'?"),
    key("an unknown option of a plugin", f"{ADAM}.rate=1", f"base.{ADAM}.rate", "unknown key", "known keys: "),
    key(
        "a value of the wrong type",
        "training.epochs=ten",
        "base.training.epochs",
        "'ten'",
        "must be a valid",
    ),
    key("a value of the wrong type", "name=5", "name", "got 5 (integer)", "must be a valid string"),
    key("true in place of a number", "training.epochs=true", "base.training.epochs", "true/false", "must be a valid"),
    key("a fraction in place of an integer", "training.epochs=2.5", "base.training.epochs", "2.5", "must be a valid"),
    key(
        "a number in place of true or false", "training.shuffle=1", "base.training.shuffle", "got 1", "must be a valid"
    ),
    key("a value in place of a mapping", "base=5", "base", "got 5", "must be a mapping of keys to values"),
    key("a mapping in place of a value", "training.epochs.x=3", "base.training.epochs", "{'x': 3}", "must be a valid"),
    key("a number below its range", "training.epochs=0", "base.training.epochs", "got 0", "greater than or equal to 1"),
    key(
        "a number above its range", "data.train_images=5000", "base.data.train_images", "5000", "less than or equal to"
    ),
    key("a number that is not finite", "delta_pp=.nan", "delta_pp", "got nan", "must be a finite number"),
    key("a number that is not finite", "delta_pp=1e400", "delta_pp", "got inf", "must be a finite number"),
    key("a name that leads out of a folder", "name=../x", "name", "'../x'", "use at most 64 letters"),
    key("escapes in a name", 'name="\\e[2J"', "name", r"'\x1b[2J'", "use at most 64 letters"),
    key("an unpaired surrogate in a name", 'name="\\ud800"', "name", r"'\ud800'", "use at most 64 letters"),
    key("a name that reverses text", "arms.\u202e={}", r"arms.'\u202e'", "must be printable", "of at most 100"),
    key("no seeds", "seeds=[]", "seeds", "seeds", "must be a number of seeds"),
    key("a seed listed twice", "seeds=[0,0]", "seeds", "a seed is listed twice", "remove one"),
    key("a negative seed", "seeds=[-1]", "seeds.0", "got -1", "greater than or equal to 0"),
    key(
        "a seed that is too large for the generators",
        "seeds=[2147483648]",
        "seeds.0",
        "2147483648",
        "must be less than",
    ),
    key("looks that are not increasing", "looks=[8,5]", "looks", "got (8, 5)", "must be increasing numbers of pairs"),
    key("an unknown claim in a study", "claim=stanford", "claim", "unknown claim 'stanford'", "known: "),
    key("a claim file that does not exist", "claim=x.yaml", "claim", "No such file", "for an example see"),
    key("an unknown protocol", "protocol=x", "protocol", "unknown protocol 'x'", "known: as_described"),
    key(
        "a component that does not exist",
        "model.backbone=resnet5",
        "base.model.backbone.name",
        "unknown",
        "'resnet50'?",
    ),
    key("a component that does not exist", f"{ADAM}=adm", f"base.{ADAM}.name", "unknown optimizer", "'adam'?"),
    key(
        "a component that does not exist",
        "training.selection=best",
        "base.training.selection.name",
        "unknown",
        "known: ",
    ),
    key("an unknown augmentation", "training.augmentation.blur=1", "augmentation.blur", "unknown key", "known keys: "),
    key("no backbone", "model.backbone={}", "base.model.backbone.name", "missing", "the name of the backbone"),
    key("no arms", "arms={}", "arms", "empty", "define at least two arms"),
    key("an arm that is not a mapping", f"{M}=5", M, "got 5", "must be a mapping with the arm's changes to the base"),
    key("two equal arms", f"{M}={{}}", M, "identical to arms.baseline", "change an option, or remove one"),
    key("an arm that starts from no arm", f"{M}.of=x", f"{M}.of", "unknown arm 'x'", "known: "),
    key(
        "arms that start from each other",
        "arms.a.of=b arms.b.of=a",
        "arms.a.of",
        "start from each other",
        "let one of them start from the base",
    ),
    key("a role that does not exist", f"{AIM}.role=king", f"{AIM}.role", "'king'", "known: baseline, control"),
    key(
        "a control without an arm to control for",
        f"{M}.control=frozen_memory",
        M,
        "needs 'of'",
        "set it to the name of the arm",
    ),
    key(
        "a control for an arm without memory",
        f"{M}.of=baseline {M}.control=frozen_memory",
        M,
        "'baseline' has",
        "set `of` to",
    ),
    key(
        "a component that does not exist",
        f"{M}.of=aim {M}.control=frozen",
        f"{M}.control.name",
        "unknown control",
        "known: ",
    ),
    key(
        "a control in the base",
        "model.control=frozen_memory",
        "base.model.control",
        "belongs to one arm",
        "in that arm",
    ),
    key("an option that has no effect", f"{AIM}.model.memory=none", f"{AIM}.model", "no effect", "no memory|remove"),
    key(
        "a memory that no layer reads",
        f"{M}.model.memory=conv_ones",
        f"{M}.model",
        "no layer reads",
        "block_entry|every",
    ),
    key(
        "a batch larger than the data",
        "training.batch_size=400",
        "base.training.batch_size",
        "400 is greater",
        "lower it",
    ),
    key(
        "an empty validation set",
        "training.validation_fraction=0.001",
        "validation_fraction",
        "less than one",
        "raise|give|set",
    ),
    key(
        "a selection rule without validation images",
        "training.validation_fraction=0",
        "base.training",
        "'best_validation'",
        "raise it",
    ),
    key(
        "a patience greater than the number of epochs",
        "training.early_stopping.patience=5",
        "early_stopping",
        "is not less than",
        "lower patience or increase",
    ),
    key(
        "widths and blocks for different numbers of stages",
        "model.backbone.widths=[4]",
        "base.model.backbone",
        "1 stages|1 stage",
        "in both",
    ),
    key(
        "a network that cannot be built",
        "model.backbone.widths=[1000000000,4,8]",
        "arms.baseline",
        "cannot be built",
        "lower|choose|change|smaller",
    ),
    key(
        "images too small for a network",
        "model.backbone=vgg16_bn",
        "arms.baseline",
        "does not take images",
        "choose another size",
    ),
    key(
        "an update that does not fit the network",
        f"model.backbone=mlp {AIM}.model.update=conv_sigmoid",
        AIM,
        "works on feature maps",
        "choose update",
    ),
    key("an impossible device", "resources.device=gpu", "resources.device", "'gpu'", "must be 'auto'"),
    key("a CUDA device without GPUs", "resources.device=cuda", "resources", "cuda needs gpus", "set|give"),
    key(
        "an amount of memory without a unit",
        "resources.memory=lots",
        "resources.memory",
        "'lots'",
        "give a number and a unit",
    ),
    key(
        "a fractional number of GPUs greater than one",
        "resources.gpus=1.5",
        "resources",
        "1.5",
        "must be a whole number",
    ),
    key("factors without an arm to vary", "factors={model.memory.channels:[4,8]}", "vary", "missing", "name one of"),
    key("a design without factors", "design=ladder", "design", "no effect", "remove it"),
    key("a design that does not exist", "design=latin", "design", "'latin'", "must be 'full_factorial'"),
    key(
        "equal levels",
        "vary=aim factors={model.memory.channels:[8,8]}",
        "factors.model.memory.channels",
        "are equal",
        "remove one",
    ),
    key(
        "levels of two factors that cannot be combined",
        'vary=aim factors={training.early_stopping:[{"patience":1}],training.early_stopping.patience:[2]}',
        "factors.training.early_stopping",
        "sets training.early_stopping.patience to 1, and level 2 of factors.training.early_stopping.patience",
        "set it in only one of these factors",
    ),
    key(
        "levels that look the same",
        "vary=aim factors={c:{ab:{training:{epochs:2}},\uff41b:{training:{epochs:3}}}}",
        "factors",
        "look the same",
        "rename one",
    ),
    key(
        "an unprintable level name",
        "vary=aim factors={c:{\u202eab:{training:{epochs:2}},x:{}}}",
        "factors.c",
        "unprintable characters",
        "remove them",
    ),
    key("no levels", "vary=aim factors={model.memory.channels:[]}", "factors", "[]", "write the levels as a list"),
    key(
        "a factor that is not a key path", "vary=aim factors={seed:[1,2]}", "factors.seed", "not a key path", "use one"
    ),
    key("generators without a fractional design", "generators=[a=b*c]", "generators", "no effect", "remove it"),
    key("a search that is not a mapping", "search=5", "search", "got 5", "must be a mapping of keys to values"),
    key("a search for an unknown arm", "search={vary:x,trials:5}", "search", "x", "known|give|must|unknown"),
    key("an empty study to reuse", 'reuse=[""]', "reuse", "got ['']", "must be study directories"),
    key("a study to reuse that does not exist", "reuse=[NOWHERE]", "reuse", "neither a study directory", "specify a"),
    key("an override below a single value", "name.x=1", "name", "{'x': 1}", "must be a valid string"),
    key("an override without a value", "a..b=1", "--set a..b=1", "no key with a value", "write key.path=value"),
]


def claim(name: str, content: str | None, cause: str, remedy: str) -> Kind:
    """Return a kind of claim file with this content; None stands for a pipe."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        path = victim.folder / "own.yaml"
        if content is None:
            os.mkfifo(path)
        else:
            path.write_text(content, encoding="utf-8")

    return Kind(name, f"{CHECK} --set claim=own.yaml", "own.yaml", cause, remedy, arrange)


CLAIMS = [
    claim("a claim that is not YAML", "}{", "not a readable claim", "for an example see"),
    claim("a claim with aliases", "a: &a [x]\nname: *a", "aliases are not used", "for an example see"),
    claim("a claim that is nested too deeply", DEEP, "more than 50 levels", "for an example see"),
    claim("a list in place of a claim", "- 1", "got [1]", "must be a mapping of keys to values"),
    claim("a claim without a statement", "name: x", "missing", "set a value"),
    claim("a pipe in place of a claim", None, "is a pipe or a device", "for an example see"),
]
KINDS = [*FILES, *VALUES, *CLAIMS]
