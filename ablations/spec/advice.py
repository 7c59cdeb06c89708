"""Advice on frequent mistakes in a study: keys in the wrong place or with another tool's name."""

from __future__ import annotations

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
_TORCHVISION = re.compile(
    r"alexnet|googlenet|inception_v3|(convnext|densenet|efficientnet|mnasnet|mobilenet|regnet|resnet|resnext|shufflenet|"
    r"squeezenet|swin|vgg|vit|wide_resnet)\w*_?\w*\d\w*"
)
_BAYESIAN = re.compile(
    r"unknown sampler '(?P<name>bayes\w*|bo|bohb|optuna|gaussian_?process)'; (?:did you mean '\w+'\? )?", re.IGNORECASE
)
"""Names for Bayesian optimization that are not names of samplers."""
_OF_PROTOCOL = re.compile(r".*\btraining\.(epochs|batch_size|optimizer|selection): missing; ")
_MISSING = {
    "name": "give the study a name; its folder gets the same name",
    "base": "give what all arms share: base: {data: ..., model: ..., training: ...}",
    "arms": "give the configurations to compare, e.g. arms: {baseline: {}, mine: {model: {...}}}",
    "base.data": "give the data set, e.g. data: digits; `ablate plugins` lists them",
    "base.model": "give the network, e.g. model: {backbone: small_resnet}; `ablate plugins` lists the backbones",
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
"""Where a key belongs: in an arm or `base` if its place begins with one of the run's keys, otherwise in the study."""


def advised(problems: Iterable[str]) -> list[str]:
    """Return messages about a study, with better advice than a list of known keys if there is any.

    Parameters
    ----------
    problems : messages that begin with a key path.
    """
    return [_advised(problem) for problem in problems]


def _advised(problem: str) -> str:
    if found := _UNKNOWN_KEY.fullmatch(problem):
        return _with_place(problem, found)
    if (found := _UNKNOWN_BACKBONE.search(problem)) and _TORCHVISION.fullmatch(found["name"]):
        return problem.replace(
            "; ", f"; a network of torchvision is {{name: torchvision, architecture: {found['name']}}}; ", 1
        )
    problem = _BAYESIAN.sub(r"unknown sampler '\g<name>'; tpe and gp are Bayesian, so give one of them; ", problem)
    path, _, said = problem.partition(": ")
    if said.startswith("missing; ") and path in _MISSING:
        return f"{path}: missing; this key has no default, so {_MISSING[path]}"
    if "unknown data set" in said:
        return f"{problem}; your own pictures, one folder per class: {{name: image_folder, root: FOLDER}}"
    if _OF_PROTOCOL.match(problem):
        return f"{problem}, or give the study a protocol, such as protocol: controlled, which sets it"
    return problem


def _with_place(problem: str, found: re.Match[str]) -> str:
    parent, _, key = found["path"].rpartition(".")
    known = found["known"].split(", ")
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
    return f"{found['path']}: unknown key; it belongs elsewhere: give {place}; keys known here: {found['known']}"


def _root(parent: str) -> str:
    """Return the part of a study in which a key of a run was given: an arm, or else `base`."""
    arm = re.fullmatch(r"(arms\..+?)(\.(?:model|data|training|options)(\..*)?)?", parent)
    return arm[1] if arm else "base"
