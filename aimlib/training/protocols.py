"""Training protocols: named recipes on which a study can be based, for example with ``protocol: as_run``.

A protocol is data: documents like those of a study file, with the keys ``data`` and ``training`` (and ``model`` in
`baseline` and `aim`). `common` applies to every arm. `baseline` and `aim` contain the additional options of the two
arms in the reported pair; a study repeats them in its own file, so that every confound is visible there. Importing this
module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Protocol:
    """A recipe.

    Attributes
    ----------
    name, description, source : texts for lists and reports.
    common : options that all arms share.
    baseline, aim : additional options of the two arms in the reported pair; empty if a protocol does not have them.
    """

    name: str
    description: str
    source: str
    common: Document
    baseline: Document = field(default_factory=dict)
    aim: Document = field(default_factory=dict)


_NOTEBOOKS = "github.com/Joy-Lunkad/AiM, commit 3d79d31"

# tf.image.resize: to 224 x 224 without keeping the aspect ratio, bilinear without antialiasing.
_AS_RUN_DATA = {"size": 224, "resize": "squash", "antialias": False}

_AS_RUN_TRAINING: dict[str, Any] = {
    "epochs": 50,
    "batch_size": 16,
    # Keras's Adam: learning rate 1e-3, epsilon 1e-7 on the root of the uncorrected second moment.
    "optimizer": {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"},
    # ReduceLROnPlateau(monitor="val_accuracy", patience=3, min_delta=1e-4), factor 0.1 by default.
    "schedule": {"name": "plateau", "factor": 0.1, "patience": 3, "min_delta": 1e-4},
    # EarlyStopping(monitor="val_accuracy", patience=7, min_delta=1e-3, restore_best_weights=True)
    "early_stopping": {"patience": 7, "min_delta": 1e-3},
    # The notebooks use the test set as validation data.
    "monitor": "test",
    "selection": "best_test",
    "validation_fraction": 0.0,
    # The training set was never reshuffled; for its order, see `as_run_exact`.
    "shuffle": False,
    "drop_last": True,
    "evaluation_drop_last": True,
    "input_scaling": "raw",
    # RandomRotation(0.15), RandomTranslation(0.1, 0.1), RandomFlip() (both axes), RandomContrast(0.1); one contrast
    # factor per batch in that version of TensorFlow.
    "augmentation": {
        "rotation": 0.15,
        "translation": 0.1,
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "contrast": 0.1,
        "contrast_per": "batch",
        "resampling": "each",
    },
}

# Details of the author's run that `as_run` does not reproduce: TensorFlow's decoder, no rounding after resizing, and
# the order in which TensorFlow Datasets reads the official names. `as_run` is part of stored studies and never changes.
_EXACT_DATA = {**_AS_RUN_DATA, "decoder": "fast", "pixels": "fine"}
_EXACT_TRAINING = {**_AS_RUN_TRAINING, "order": "tfds"}

# keras.applications.ResNet50: stride-2 stem, Glorot uniform by default, epsilon 1.001e-5; the model was built on the
# augmented input and then called with that input again.
_AS_RUN_BASELINE: dict[str, Any] = {
    "model": {"backbone": {"stem_stride": 2, "bn_epsilon": 1.001e-5}, "conv_init": "glorot_uniform"},
    "training": {"augmentation": {"passes": 2}},
}

_AS_RUN_AIM: dict[str, Any] = {
    "model": {
        "backbone": {"stem_stride": 1, "bn_epsilon": 1e-3},
        "conv_init": "he_normal",
        "memory": {"name": "conv_ones", "channels": 1024, "rows": 7, "columns": 7},
        "placement": "block_entry",
        "update": "conv_sigmoid",
        "update_after": "first_block",
        "routing": "as_run",
        "read_init": "whole",
    },
    "training": {"augmentation": {"passes": 1}},
}

# "The exact same architecture, trained in exactly the same way": both arms have the control's stem, initializer and
# epsilon and the same augmentation; every layer reads the current memory; there is an update after every stage.
_DESCRIBED: dict[str, Any] = {
    "model": {"backbone": {"stem_stride": 2, "bn_epsilon": 1.001e-5}, "conv_init": "glorot_uniform"},
    "training": {"augmentation": {"passes": 1}},
}

_DESCRIBED_AIM: dict[str, Any] = {
    "model": {
        **_DESCRIBED["model"],
        "memory": {"name": "conv_ones", "channels": 1024, "rows": 7, "columns": 7},
        "placement": "every_layer",
        "update": "conv_sigmoid",
        "update_after": "stage",
        "routing": "current",
    },
    "training": _DESCRIBED["training"],
}

_CONTROLLED_TRAINING: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 64,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_epochs": 5},
    "selection": "best_validation",
    "validation_fraction": 0.1,
    "shuffle": True,
    "input_scaling": "standardise",
    "augmentation": {"rotation": 0.05, "translation": 0.1, "horizontal_flip": 0.5, "contrast": 0.1},
}

_WELL_TRAINED_TRAINING: dict[str, Any] = {
    "epochs": 300,
    "batch_size": 64,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_epochs": 10},
    "selection": "best_validation",
    "validation_fraction": 0.1,
    "shuffle": True,
    "input_scaling": "standardise",
    "label_smoothing": 0.1,
    "augmentation": {"horizontal_flip": 0.5, "contrast": 0.2, "crop_scale": 0.25},
}

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="as_run",
            description="what the author's notebooks did, test set as validation set included",
            source=_NOTEBOOKS,
            common={"data": _AS_RUN_DATA, "training": _AS_RUN_TRAINING},
            baseline=_AS_RUN_BASELINE,
            aim=_AS_RUN_AIM,
        ),
        Protocol(
            name="as_run_exact",
            description="as_run with the author's pixels, in the order in which he read them",
            source=f"{_NOTEBOOKS}; tensorflow-datasets 4.0.1",
            common={"data": _EXACT_DATA, "training": _EXACT_TRAINING},
            baseline=_AS_RUN_BASELINE,
            aim=_AS_RUN_AIM,
        ),
        Protocol(
            name="as_described",
            description="the same recipe, identical in both arms but for the memory, as the post says",
            source="J. Lunkad, Can Giving Memory to Entire Neural Nets be Revolutionary?, Towards AI, 2021",
            common={"data": _AS_RUN_DATA, "training": _AS_RUN_TRAINING},
            baseline=_DESCRIBED,
            aim=_DESCRIBED_AIM,
        ),
        Protocol(
            name="controlled",
            description="shuffled, standardized, epoch chosen on held-out images, equal epochs, no look at test data",
            source="cosine with warm-up: Loshchilov and Hutter, 2017; Goyal et al., 2017",
            common={"training": _CONTROLLED_TRAINING},
        ),
        Protocol(
            name="well_trained",
            description="a recipe meant to pass 40 % on Stanford Dogs from scratch, so that no arm is undertrained",
            source=(
                "random resized crop and label smoothing: Szegedy et al., 2015 and 2016; decoupled weight decay: "
                "Loshchilov and Hutter, 2019; long schedules from scratch: Wightman et al., 2021"
            ),
            common={"training": _WELL_TRAINED_TRAINING},
        ),
    )
}
