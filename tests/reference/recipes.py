"""Recipes for the recorded networks and runs: one for every shipped plugin, and for every option with a separate path.

The recording contains these documents as they were at the time; only `recording.py` reads this module.
"""

from __future__ import annotations

from typing import Any

_SMALL = {"name": "small_resnet", "widths": [4, 6], "blocks": [1, 1]}
_VGG = {"widths": [3, 4, 5, 6, 6], "dense": [7, 8]}
_MEMORY = {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}
_AIM: dict[str, Any] = {
    "memory": _MEMORY,
    "placement": "every_layer",
    "update": {"name": "conv_sigmoid", "filters": [2, 2, 3]},
}
_KERAS = {"name": "resnet50_keras", "widths": [4, 5], "blocks": [2, 2]}
_AS_RUN = {
    "memory": _MEMORY,
    "placement": "block_entry",
    "update": {"name": "conv_sigmoid", "filters": [2, 2, 3]},
    "update_after": "first_block",
    "routing": "as_run",
    "read_init": "whole",
}
_SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9}}
_SLOW = {"optimizer": {"name": "sgd", "learning_rate": 1e-4}}
"""For deep networks with few channels, whose first steps would amplify rounding errors."""
_AUGMENTED = {"rotation": 0.1, "translation": 0.1, "horizontal_flip": 0.5, "contrast": 0.1}
_AS_RUN_AUGMENTED = {**_AUGMENTED, "vertical_flip": 0.5, "contrast_per": "batch", "resampling": "each"}


def _small(**changes: Any) -> dict[str, Any]:
    return {"model": {"backbone": _SMALL, **_AIM, **changes}}


def _memory(**memory: Any) -> dict[str, Any]:
    return _small(memory=memory)


def _training(**changes: Any) -> dict[str, Any]:
    return {"model": {"backbone": _SMALL, **_AIM}, "training": {**_SGD, **changes}}


STEPS: dict[str, dict[str, Any]] = {
    "small_resnet": {"model": {"backbone": _SMALL}},
    "small_resnet aim": _small(),
    "small_resnet stem stride": {"model": {"backbone": {**_SMALL, "stem_stride": 2}, **_AIM}, "side": 16},
    "mlp": {"model": {"backbone": {"name": "mlp", "widths": [9, 7]}}},
    "mlp aim": {
        "model": {
            "backbone": {"name": "mlp", "widths": [9, 7]},
            "memory": {"name": "dense_ones", "channels": 5, "inputs": 3},
            "placement": "every_layer",
            "update": "gated",
        }
    },
    "resnet50": {"model": {"backbone": {"name": "resnet50", "widths": [4, 4, 4, 4]}}, "side": 64, "training": _SLOW},
    "resnet50 aim": {
        "model": {"backbone": {"name": "resnet50", "widths": [4, 4, 4, 4]}, **_AIM},
        "side": 64,
        "training": _SLOW,
    },
    "resnet50_keras": {"model": {"backbone": {**_KERAS, "stem_stride": 2}, "conv_init": "glorot_uniform"}, "side": 32},
    "resnet50_keras as run": {
        "model": {"backbone": {**_KERAS, "stem_stride": 1, "bn_epsilon": 1e-3}, **_AS_RUN},
        "side": 32,
    },
    "vgg16": {"model": {"backbone": {"name": "vgg16", **_VGG}}, "side": 32},
    "vgg16 aim": {"model": {"backbone": {"name": "vgg16", **_VGG}, **_AIM}, "side": 32},
    "vgg16_bn": {"model": {"backbone": {"name": "vgg16_bn", **_VGG}}, "side": 32},
    "vgg16_bn aim": {"model": {"backbone": {"name": "vgg16_bn", **_VGG}, **_AIM}, "side": 32},
    "vgg16_bn at 224 px": {"model": {"backbone": {"name": "vgg16_bn", **_VGG}}, "side": 224, "images": 9},
    "torchvision squeezenet1_1": {
        "model": {"backbone": {"name": "torchvision", "architecture": "squeezenet1_1"}},
        "side": 32,
    },
    "torchvision shufflenet aim": {
        "model": {
            "backbone": {"name": "torchvision", "architecture": "shufflenet_v2_x0_5"},
            **_AIM,
            "placement": "input_only",
            "update": None,
        },
        "side": 64,
        "training": _SLOW,
    },
    "placement block_entry": _small(placement="block_entry"),
    "placement stage_only": _small(placement="stage_only"),
    "placement input_only": _small(placement="input_only", update=None),
    "placement layers": _small(placement={"name": "layers", "names": ["layer2.*"]}),
    "memory conv_ones full": _memory(**{**_MEMORY, "kernel": "full"}),
    "memory conv_ones large": _memory(name="conv_ones", channels=70, rows=3, columns=5),
    "memory dense_ones": _memory(name="dense_ones", channels=4, inputs=3, rows=2, columns=2),
    "memory parameter": _memory(name="parameter", channels=4, rows=2, columns=2),
    "memory noise": _memory(name="noise", channels=4, rows=2, columns=2),
    "memory noise per image": _memory(name="noise", channels=4, rows=2, columns=2, per="image"),
    "memory own learning rate": _memory(**{**_MEMORY, "source_lr_scale": 4.0}),
    "update attention": _small(update="attention"),
    "update gated": _small(update="gated"),
    "update residual": _small(update="residual"),
    "update none": _small(update=None),
    "update after block": _small(update_after="block"),
    "update after first block": _small(update_after="first_block"),
    "routing as_run": {"model": {"backbone": {**_SMALL, "blocks": [2, 2]}, **_AS_RUN}},
    "carry": _small(carry={"decay": 0.8, "share": 0.4}),
    "read_init own": _small(read_init="own"),
    "read_init whole": _small(read_init="whole"),
    "control frozen_memory": _small(control="frozen_memory"),
    "control permuted_memory": _small(control="permuted_memory"),
    "control position_bias": _small(control="position_bias", update=None),
    "adam": _training(optimizer={"name": "adam", "learning_rate": 1e-3}),
    "adam as run": _training(
        optimizer={"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"}
    ),
    "adam fused": _training(
        optimizer={"name": "adam", "learning_rate": 1e-3, "fused": True, "epsilon_on": "uncorrected"}
    ),
    "adamw": _training(optimizer={"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05}),
    "sgd nesterov": _training(
        optimizer={"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
    ),
    "sgd fused": _training(optimizer={"name": "sgd", "learning_rate": 0.02, "fused": True}),
    "cosine": _training(schedule={"name": "cosine", "warmup_epochs": 1}),
    "bfloat16": _training(precision="bfloat16"),
    "label smoothing, raw pixels": _training(
        label_smoothing=0.1, input_scaling="raw", optimizer={"name": "sgd", "learning_rate": 1e-4}
    ),
    "augmented": _training(augmentation=_AUGMENTED),
    "augmented as run, twice": _training(augmentation={**_AS_RUN_AUGMENTED, "passes": 2}),
    "cropped": _training(augmentation={"crop_scale": 0.3, "horizontal_flip": 0.5, "contrast": 0.2}),
    "flipped alone": _training(augmentation={"horizontal_flip": 0.5, "vertical_flip": 0.5}),
}
"""Networks whose state after three steps is recorded, by name. Apart from `model` and `training`, a recipe contains the
images' side in pixels, and the number of images.

Controls that only transform an arm (the matched controls) are in the resolved studies.
"""

RUNS: dict[str, dict[str, Any]] = {
    "best validation, cosine": {
        **_training(schedule={"name": "cosine", "warmup_epochs": 1}, augmentation=_AUGMENTED),
        "rule": {"selection": "best_validation"},
    },
    "as run: test as validation, plateau, early stopping": {
        "model": {"backbone": {**_KERAS, "stem_stride": 1, "bn_epsilon": 1e-3}, **_AS_RUN},
        "training": {
            "optimizer": {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"},
            "schedule": {"name": "plateau", "factor": 0.1, "patience": 1},
            "early_stopping": {"patience": 3, "min_delta": 1e-3},
            "augmentation": _AS_RUN_AUGMENTED,
            "shuffle": False,
            "drop_last": True,
            "evaluation_drop_last": True,
            "input_scaling": "raw",
        },
        "rule": {"select_on": "test"},
        "side": 16,
    },
    "last epoch, permuted memory, dropout": {
        "model": {"backbone": {"name": "vgg16_bn", **_VGG}, **_AIM, "control": "permuted_memory"},
        "training": _SGD,
        "rule": {"select_on": "last"},
        "side": 32,
    },
    "diverged in the first epoch": {
        **_training(optimizer={"name": "sgd", "learning_rate": 1e30}),
        "rule": {"selection": "last_epoch"},
    },
}
"""Complete runs of five epochs."""

STUDY: dict[str, Any] = {
    "name": "reference",
    "base": {
        "data": {"name": "digits", "size": 16, "train_images": 200},
        "model": {"backbone": {"name": "small_resnet", "widths": [4, 4, 8]}},
        "training": {
            "epochs": 6,
            "batch_size": 20,
            "optimizer": {"name": "adam", "learning_rate": 1e-2},
            "selection": "best_validation",
            "validation_fraction": 0.2,
        },
    },
    "arms": {
        "baseline": {},
        "aim": {
            "model": {
                "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2},
                "placement": "block_entry",
                "update": "conv_sigmoid",
            }
        },
    },
    "search": {
        "vary": "aim",
        "over": ["model.placement", "training.optimizer.learning_rate"],
        "trials": 4,
        "seeds": [1000],
        "top": 1,
        "sampler": "random",
    },
    "seeds": 5,
}
