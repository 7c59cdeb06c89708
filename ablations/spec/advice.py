"""Advice on frequent mistakes in a study: keys in the wrong place or with another tool's name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from ablations.spec.levels import RUN_KEYS
from ablations.spec.resources import Resources
from aimlib.config import AugmentationConfig, EarlyStoppingConfig, ModelConfig, TrainingConfig
from aimlib.training.tuning.config import FineTuningConfig

_UNKNOWN_KEY = re.compile(
    r"(?P<path>.+?): unknown key; (?:did you mean '(?P<near>[^']+)'\? )?known keys: (?P<known>.+)"
)
_UNKNOWN_BACKBONE = re.compile(r"unknown backbone '(?P<name>[^']+)'; ")
_DOTTED_CODE = re.compile(r"unknown training code '(?P<module>\w+)\.(?P<function>\w+)'")
_TORCHVISION = re.compile(
    r"alexnet|googlenet|inception_v3|(convnext|densenet|efficientnet|mnasnet|mobilenet|regnet|resnet|resnext|shufflenet|"
    r"squeezenet|swin|vgg|vit|wide_resnet)\w*_?\w*\d\w*"
)
_BAYESIAN = re.compile(
    r"unknown sampler '(?P<name>bayes\w*|bo|bohb|optuna|gaussian_?process)'; (?:did you mean '\w+'\? )?", re.IGNORECASE
)
"""Names for Bayesian optimization that are not names of samplers."""
_CHOICE = re.compile(r"unknown (?P<kind>sampler|pruner) '(?P<name>[^']+)'; known: (?P<known>.+)")
_OTHER_CHOICES = {
    "asha": "successive_halving",
    "sha": "successive_halving",
    "bohb": "hyperband",
    "botorch": "gp",
    "skopt": "gp",
    "hyperopt": "tpe",
    "sobol": "qmc",
    "halton": "qmc",
    "evolution": "nsgaii",
    "genetic": "nsgaii",
    "nsgaiii": "nsgaii",
    "exhaustive": "grid",
    "gridsearch": "grid",
    "randomsearch": "random",
}
"""Names of samplers and pruners in other tools, without underscores, each with the closest sampler or pruner here."""
_DESIGN = re.compile(r"design: must be .*; got '([^']*)' \(text\)")
_OTHER_DESIGNS = {
    **dict.fromkeys(("grid", "gridsearch", "factorial", "cartesian", "product", "all", "crossed"), "full_factorial"),
    **dict.fromkeys(("ofat", "oat", "oaat", "ablation", "onefactoratatime", "single"), "one_at_a_time"),
    **dict.fromkeys(("loo", "leaveout", "dropone", "loco"), "leave_one_out"),
    **dict.fromkeys(("fractional", "plackettburman", "taguchi", "screening"), "fractional_factorial"),
    **dict.fromkeys(("incremental", "cumulative", "stepwise"), "ladder"),
}
"""Other names for designs, without punctuation."""
_OF_SEARCH = {
    **dict.fromkeys(
        ("n_trials", "num_trials", "num_samples", "n_iter", "run_cap", "max_trials", "max_evals"), "trials"
    ),
    **dict.fromkeys(("parameters", "params", "space", "search_space", "param_space"), "ranges"),
    **dict.fromkeys(("distributions", "param_grid", "param_distributions", "dimensions"), "ranges"),
    **dict.fromkeys(("method", "algorithm", "search_alg", "sweeper", "optimizer", "strategy"), "sampler"),
    **dict.fromkeys(("early_terminate", "early_stopping", "scheduler", "stopper"), "pruner"),
    **dict.fromkeys(("max_concurrent", "n_jobs", "max_concurrent_trials", "batch_size"), "batch"),
    **dict.fromkeys(("random_state", "seed"), "sampler_seed"),
}
"""Names that other tools use for keys of a search, with the corresponding keys."""
_FIXED_IN_SEARCH = {
    **dict.fromkeys(
        ("metric", "direction", "directions", "goal", "mode", "objective", "scoring"),
        "a search always looks for the highest validation accuracy",
    ),
    **dict.fromkeys(("study_name", "load_if_exists", "resume", "name"), "a search continues in the study's directory"),
    **dict.fromkeys(("refit", "cv"), "the best trials are confirmed on the study's seeds"),
}
"""Other tools' keys for settings that a search here does not have, with the fixed behavior."""
_OF_PROTOCOL = re.compile(r".*\btraining\.(epochs|batch_size|optimizer|selection): missing; ")
_MISSING = {
    "name": "give the study a name; its folder gets the same name",
    "base": "write here what all arms share: base: {data: ..., model: ..., training: ...}",
    "arms": "write the configurations to compare, e.g. arms: {baseline: {}, mine: {model: {...}}}",
    "base.data": "name the data set, e.g. data: digits; `ablate plugins` lists the data sets",
    "base.model": "name the network, e.g. model: {backbone: small_resnet}; `ablate plugins` lists the backbones",
}
"""Advice for a required key that is missing."""

OTHER_NAMES = {
    "architecture": "backbone",
    "augment": "augmentation",
    "augmentations": "transforms",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "conditions": "arms",
    "configs": "arms",
    "controls": "control",
    "cpu": "cpus",
    "criterion": "loss",
    "dataset": "data",
    "experiments": "arms",
    "frozen": "freeze",
    "gpu": "gpus",
    "image_size": "size",
    "learningrate": "learning_rate",
    "loss_fn": "loss",
    "loss_function": "loss",
    "lr": "learning_rate",
    "lr_scheduler": "schedule",
    "n_epochs": "epochs",
    "n_seeds": "seeds",
    "net": "backbone",
    "network": "backbone",
    "num_epochs": "epochs",
    "num_seeds": "seeds",
    "optim": "optimizer",
    "patience": "early_stopping",
    "pretrained": "weights",
    "repeats": "seeds",
    "replicates": "seeds",
    "scheduler": "schedule",
    "train": "training",
    "trainer": "training",
    "variants": "arms",
    "wd": "weight_decay",
}
"""Names that other tools use, with the corresponding keys."""
_TOP = (
    "seeds",
    "looks",
    "what",
    "measure",
    "delta_pp",
    "delta",
    "claim",
    "protocol",
    "factors",
    "design",
    "vary",
    "search",
    "arms",
    "resources",
)
_PLACES = {
    **{key: f"resources.{key}" for key in Resources.model_fields if not key.endswith("_auto")},
    **{key: f"model.memory.{key}" for key in ("channels", "rows", "columns", "floats", "initial_scale")},
    **{key: f"model.backbone.{key}" for key in ("widths", "blocks", "stem_stride")},
    **{key: f"data.{key}" for key in ("root", "classes", "size", "train_images")},
    **{key: f"training.optimizer.{key}" for key in ("learning_rate", "weight_decay", "momentum")},
    **{key: f"training.early_stopping.{key}" for key in EarlyStoppingConfig.model_fields},
    **{key: f"training.augmentation.{key}" for key in AugmentationConfig.model_fields},
    **{key: f"training.fine_tuning.{key}" for key in FineTuningConfig.model_fields},
    **{key: f"training.{key}" for key in ("select_on", *TrainingConfig.model_fields)},
    **{key: f"model.{key}" for key in ModelConfig.model_fields},
    **{key: key for key in (*RUN_KEYS, *_TOP)},
}
"""Where a key belongs: in an arm or in `base` if its key path begins with one of the run's keys, otherwise at the top
level of the study."""


def advised(problems: Iterable[str]) -> list[str]:
    """Return messages about a study, with better advice than a list of known keys where possible.

    Parameters
    ----------
    problems : messages that begin with a key path.
    """
    return [_advised(problem) for problem in problems]


def _advised(problem: str) -> str:
    if found := _UNKNOWN_KEY.fullmatch(problem):
        return _with_nesting(found) or _with_place(problem, found)
    if (found := _UNKNOWN_BACKBONE.search(problem)) and _TORCHVISION.fullmatch(found["name"]):
        return problem.replace(
            "; ", f"; write a torchvision network as {{name: torchvision, architecture: {found['name']}}}; ", 1
        )
    problem = _with_choice(problem)
    path, _, said = problem.partition(": ")
    if said.startswith("missing; ") and path in _MISSING:
        return f"{path}: missing; this key has no default, so {_MISSING[path]}"
    if "unknown data set" in said:
        return f"{problem}; for your own pictures, one folder per class, use {{name: image_folder, root: FOLDER}}"
    if found := _DOTTED_CODE.search(problem):
        problem = f"{problem}; write a function in a file as {found['module']}.py:{found['function']}"
    if _OF_PROTOCOL.match(problem):
        problem = f"{problem}, or give the study a protocol, such as protocol: controlled, which sets it"
    return problem


def _with_choice(problem: str) -> str:
    """Add to a message the design, sampler or pruner that another tool's name stands for."""
    if (found := _DESIGN.fullmatch(problem)) and (design := _OTHER_DESIGNS.get(re.sub(r"\W|_", "", found[1].lower()))):
        return f"{problem}; did you mean {design!r}?"
    if (found := _CHOICE.search(problem)) and (choice := _choice_meant(found)):
        return problem.replace("; known: ", f"; did you mean {choice!r}? known: ", 1)
    return _BAYESIAN.sub(r"unknown sampler '\g<name>'; tpe and gp are Bayesian, so use one of them; ", problem)


def _choice_meant(found: re.Match[str]) -> str | None:
    """Return the sampler or pruner that another tool's name, or an Optuna class such as ``TPESampler``, stands for."""
    last = found["name"].removesuffix("()").rpartition(".")[2].lower()
    plain = re.sub(rf"[\W_]|{found['kind']}$", "", last)
    known = {choice.replace("_", ""): choice for choice in found["known"].split(", ")}
    return known.get(plain) or known.get(_OTHER_CHOICES.get(plain, "").replace("_", ""))


def _with_place(problem: str, found: re.Match[str]) -> str:
    parent, _, key = found["path"].rpartition(".")
    known = found["known"].split(", ")
    if parent == "search" and key.lower() in _FIXED_IN_SEARCH:
        return f"{found['path']}: unknown key; {_FIXED_IN_SEARCH[key.lower()]}, so remove it"
    if parent == "search" and (other := _OF_SEARCH.get(key.lower())):
        return f"{found['path']}: unknown key; did you mean {other!r}? known keys: {found['known']}"
    meant = OTHER_NAMES.get(key.lower(), key)
    if meant != key and meant in known:
        return f"{found['path']}: unknown key; did you mean {meant!r}? known keys: {found['known']}"
    place = _PLACES.get(meant)
    if place is None or meant in known or (found["near"] and key not in RUN_KEYS):
        return problem
    if place.partition(".")[0] in RUN_KEYS:
        place = f"{_root(parent)}.{place}"
    if place == found["path"]:
        return problem
    return f"{found['path']}: unknown key; it belongs elsewhere: set {place}; keys known here: {found['known']}"


def _with_nesting(found: re.Match[str]) -> str:
    """Return a message that shows a key path of an arm or the base as nested keys; empty if the key is not a path."""
    path = re.fullmatch(r"(?:base|arms\..+?)\.(model|data|training|options)\.(.+)", found["path"])
    if path is None or not set(RUN_KEYS) <= set(found["known"].split(", ")):
        return ""
    keys = [path[1], *path[2].split(".")]
    nested = f"{': {'.join(keys)}: ...{'}' * (len(keys) - 1)}"
    return f"{found['path']}: unknown key; key paths are for factors and --set, so nest the keys: {nested}"


def _root(parent: str) -> str:
    """Return the part of a study in which a run's key was set: an arm, the factors, or else `base`."""
    if parent.partition(".")[0] == "factors":
        return "factors"
    arm = re.fullmatch(r"(arms\..+?)(\.(?:model|data|training|options)(\..*)?)?", parent)
    return arm[1] if arm else "base"


def key_path_meant(text: str) -> str | None:
    """Return the key path in a run that a text probably stands for, such as ``training.batch_size`` for ``batch_size``.

    Slashes and double underscores count as dots. A leading ``base`` or arm name is omitted.
    """
    keys = [key.strip() for key in re.split(r"[./]|__", text) if key.strip()]
    keys = keys[1:] if keys[:1] == ["base"] else keys[2:] if keys[:1] == ["arms"] else keys
    if not keys:
        return None
    near = difflib.get_close_matches(keys[0].lower(), RUN_KEYS, n=1, cutoff=0.75)
    last = OTHER_NAMES.get(keys[-1].lower(), keys[-1].lower())
    place = _PLACES.get(last, "")
    if len(keys) > 1 and near:
        path = ".".join([near[0], *keys[1:]])
        return (
            place
            if place.count(".") == path.count(".") and place.rpartition(".")[0] == path.rpartition(".")[0]
            else path
        )
    if "." in place and place.partition(".")[0] in RUN_KEYS:
        return place
    first = _PLACES.get(OTHER_NAMES.get(keys[0].lower(), keys[0].lower()), "")
    return ".".join([first, *keys[1:]]) if len(keys) > 1 and "." in first else None
