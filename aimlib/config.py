"""One training run as data: what is built, on which data, how it is trained, from which seed.

A `RunConfig` is complete: together with the fingerprint of its data it decides every number of the run on
the same type of device with the same number of threads. Importing this module imports no torch; validating
a configuration imports the plugins it names.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aimlib.component import ComponentConfig, Frozen
from aimlib.records import SCHEMA_VERSION
from aimlib.registry import (
    ComponentOf,
    backbones,
    controls,
    datasets,
    memories,
    optimizers,
    placements,
    schedules,
    selections,
    updates,
)

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _default(value: str) -> BeforeValidator:
    """Read a value that says what null says as null, so that both are one experiment with one id."""
    return BeforeValidator(lambda given: None if given == value else given)


class ModelConfig(Frozen):
    """The network: a backbone, and what gives it memory. Without `memory` it is a baseline."""

    backbone: Annotated[ComponentConfig, ComponentOf(backbones)]
    memory: Annotated[ComponentConfig | None, ComponentOf(memories, optional=True)] = None
    placement: Annotated[ComponentConfig | None, ComponentOf(placements, optional=True)] = None
    update: Annotated[ComponentConfig | None, ComponentOf(updates, optional=True)] = None
    update_after: Annotated[Literal["stage", "first_block", "block"] | None, _default("stage")] = None
    """Where the memory is updated: after the last block of every stage (None means this where there is an
    update), after the first block of every stage (as run), or after every block."""
    read_init: Annotated[Literal["concatenated", "own"] | None, _default("concatenated")] = None
    """Fan-in of the initial reading weights: all channels of the concatenated layer, or the memory's alone.
    None is concatenated where there is memory."""
    conv_init: Literal["he_normal", "glorot_uniform"] = "he_normal"
    """Initial values of convolutions (He et al., 2015; Glorot and Bengio, 2010), truncated as in Keras."""
    control: Annotated[ComponentConfig | None, ComponentOf(controls, optional=True)] = None

    @model_validator(mode="after")
    def _without_idle_options(self) -> Self:
        """Refuse options that nothing would act on: a study must not vary what has no effect."""
        if self.memory is None:
            dependent = ("placement", "update", "update_after", "read_init", "control")
            idle = [name for name in dependent if getattr(self, name) is not None]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)} without effect: this model has no memory; give memory: "
                    f"{'|'.join(memories.names())} or remove {'it' if len(idle) == 1 else 'them'}"
                )
        elif self.placement is None:
            raise ValueError(f"memory that no layer reads; give placement: {'|'.join(placements.names())}")
        elif self.update is None and self.update_after is not None:
            raise ValueError(f"update_after without effect: give update: {'|'.join(updates.names())} or remove it")
        return self


class AugmentationConfig(Frozen):
    """Random changes of training images; each is drawn per image. The defaults change nothing."""

    rotation: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest angle, as a fraction of a full turn, drawn from [-rotation, rotation]."""
    translation: Fraction = 0.0
    """Largest shift, as a fraction of height and width."""
    horizontal_flip: Probability = 0.0
    vertical_flip: Probability = 0.0
    contrast: Fraction = 0.0
    """Factor on the distance from the image's channel means, drawn from [1 - contrast, 1 + contrast] per image (the
    author's TensorFlow drew one factor per batch)."""
    passes: Annotated[int, Field(ge=1, le=4)] = 1
    """How often the whole augmentation is applied, with fresh draws each time."""


class EarlyStoppingConfig(Frozen):
    """Stop when the monitored accuracy has not risen by more than `min_delta` for `patience` epochs."""

    patience: Annotated[int, Field(ge=1)]
    min_delta: Fraction = 0.0


class TrainingConfig(Frozen):
    """How the network is trained and which epoch is reported."""

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    optimizer: Annotated[ComponentConfig, ComponentOf(optimizers)]
    schedule: Annotated[ComponentConfig | None, ComponentOf(schedules, optional=True)] = None
    """None keeps the optimizer's learning rate throughout."""
    early_stopping: EarlyStoppingConfig | None = None
    selection: Annotated[ComponentConfig, ComponentOf(selections)]
    """Which epoch is reported."""
    validation_fraction: Fraction = 0.1
    """Share of each class of the training images held out, drawn anew for every seed."""
    augmentation: AugmentationConfig | None = None
    input_scaling: Literal["standardise", "raw"] = "standardise"
    """standardise: subtract the training images' channel means, divide by their standard deviations;
    raw: pixel values 0 to 255 as they are."""
    shuffle: bool = True
    drop_last: bool = False
    """Drop the incomplete last batch of an epoch of training."""
    label_smoothing: Fraction = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the forward pass; parameters and optimizer stay float32."""
    tf32: bool = False
    """Let CUDA round float32 products to TensorFloat-32."""

    @model_validator(mode="after")
    def _with_validation_where_needed(self) -> Self:
        needing = [
            name
            for name, used in (
                ("early_stopping", self.early_stopping is not None),
                (f"schedule {self.schedule.name!r}" if self.schedule else "", _monitors(self.schedule)),
                (f"selection {self.selection.name!r}", _monitors(self.selection)),
            )
            if used
        ]
        if needing and self.validation_fraction == 0:
            raise ValueError(f"validation_fraction is 0, but {' and '.join(needing)} needs validation images")
        return self


class RunConfig(Frozen):
    """One run. Equal configurations on equal data have the same `run_id` and the same result."""

    model: ModelConfig
    data: Annotated[ComponentConfig, ComponentOf(datasets)]
    training: TrainingConfig
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    def run_id(self, data_fingerprint: str) -> str:
        """Return 20 hexadecimal digits that identify the experiment.

        Hashed are the schema version, every option that differs from its default, the version of every
        component, and the fingerprint of the data; no path, machine, or resource.
        """
        content = {"schema": SCHEMA_VERSION, "run": self.identity(), "data": data_fingerprint}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def _monitors(config: ComponentConfig | None) -> bool:
    """Tell whether a schedule or selection rule looks at the validation accuracy."""
    return config is not None and bool(getattr(type(config), "monitors_validation", False))
