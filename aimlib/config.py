"""One training run as data: network, data set, training and seed.

A `RunConfig` is complete: together with the data's fingerprint, it determines every number in the run's result, for a
given type of device and number of threads. Importing this module does not import torch; validating a configuration
imports the plugins that it names.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from aimlib.component import Categorical, ComponentConfig, Dimension, Frozen, Names, Real, local, tuple_of
from aimlib.registry import (
    ComponentOf,
    augmentations,
    backbones,
    callbacks,
    controls,
    datasets,
    losses,
    memories,
    optimizers,
    placements,
    schedules,
    selections,
    updates,
)
from aimlib.training.tuning.config import FineTuningConfig
from aimlib.weights.config import WeightsConfig

_ID_VERSION = 2
"""A frozen number that every run id hashes. It was once the schema version of the store; that version has changed
since."""

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _default(value: str) -> BeforeValidator:
    """Convert a value that means the same as null to null, so that both spellings give the same run id."""
    return BeforeValidator(lambda given: None if given == value else given)


def _no_weights(value: Any) -> Any:
    """Convert the name ``none`` to null."""
    return None if value == "none" else value


UpdatePlaces = Literal["stage", "first_block", "block"]
"""Where updates run: after the last block of every stage, the first block of every stage, or every block."""


class CarryConfig(Frozen):
    """A running memory that is passed from batch to batch: the third goal of the post, "passed on to next batches".

    The author's code has no running memory: there, only the weights change between batches. After every training batch,
    the last memory of the forward pass, averaged over the batch and detached, enters an exponential moving average.
    Every forward pass starts from a mix of the source's memory and that average. During evaluation, the average does
    not change.
    """

    search_space: ClassVar[dict[str, Dimension]] = {"decay": Real(0.5, 0.99), "share": Real(0.1, 0.9)}

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of earlier batches in the moving average; with 0, only the last batch is carried."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the carried memory in the memory that a forward pass starts from; the rest comes from the source."""


class ModelConfig(Frozen):
    """The network: a backbone and its memory. Without `memory` it is a baseline.

    ``placement: none`` means the same: no layer reads the memory, so all other memory options are dropped.
    """

    search_space: ClassVar[dict[str, Dimension]] = {
        "update_after": Categorical(("stage", "first_block", "block")),
        "routing": Categorical(("current", "as_run")),
        "read_init": Categorical(("concatenated", "own", "whole")),
        "conv_init": Categorical(("he_normal", "glorot_uniform")),
    }

    backbone: Annotated[ComponentConfig, ComponentOf(backbones)]
    """The network that reads the memory; a name, or a mapping with `name` and options."""
    memory: Annotated[ComponentConfig | None, ComponentOf(memories, optional=True)] = None
    """What produces the memory. None: the network has no memory and is a baseline."""
    placement: Annotated[ComponentConfig | None, ComponentOf(placements, optional=True)] = None
    """Which layers read the memory. With ``none``, the network is a baseline."""
    update: Annotated[ComponentConfig | None, ComponentOf(updates, optional=True)] = None
    """How features rewrite the memory on its way through the network. None: the memory stays as its source created
    it."""
    update_after: Annotated[UpdatePlaces | Names | None, _default("stage")] = None
    """Where the memory is updated: after the last block of every stage (None means this if there is an update), after
    the first block of every stage (as run), after every block, or after the modules given as a list of names or
    patterns (``layer2.*``)."""
    routing: Annotated[Literal["current", "as_run"] | None, _default("current")] = None
    """Which memory is read. current (None means this if there is memory): the memory after the updates so far, as the
    post describes. as_run: layers outside the first block of every stage read a second, static memory with its own
    source, which no update changes. A naming mistake in the author's code made 12 of its 16 blocks do so."""
    carry: CarryConfig | None = None
    """A running memory across batches; None: only the weights change between batches."""
    read_init: Annotated[Literal["concatenated", "own", "whole", "zero"] | None, _default("concatenated")] = None
    """Initial weights of a layer that reads memory. concatenated (None means this if there is memory): the reading
    weights are drawn with a fan-in of all channels of the concatenated layer. The layer's own weights are drawn with a
    fan-in of its own channels, so they start as in the baseline. own: the fan-in of the reading weights is the memory's
    channels alone. whole: the fan-in of both is all channels, as in the author's code, where the concatenated layer is
    one tensor. zero: the reading weights are 0, so the network starts with the outputs that it would have without
    memory, and learns to read."""
    conv_init: Literal["he_normal", "glorot_uniform"] = "he_normal"
    """Initial values of convolutions (He et al., 2015; Glorot and Bengio, 2010), truncated as in Keras."""
    control: Annotated[ComponentConfig | None, ComponentOf(controls, optional=True)] = None
    """The transformation that turns an arm's network into its control. In a study, set `of` and `control` of an arm
    instead.
    """
    weights: Annotated[
        WeightsConfig | None, BeforeValidator(_no_weights, json_schema_input_type=WeightsConfig | str | None)
    ] = None
    """A file with the backbone's initial weights; None: the weights start from random values. The file does not contain
    what a memory adds."""

    @model_validator(mode="before")
    @classmethod
    def _no_placement_no_memory(cls, data: Any) -> Any:
        """Convert a model with ``placement: none`` to the baseline, because studies may vary an arm's placement."""
        if isinstance(data, dict) and data.get("placement") in ("none", {"name": "none"}):
            return {key: value for key, value in data.items() if key not in ("memory", *_OF_MEMORY)}
        return data

    @model_validator(mode="after")
    def _without_idle_options(self) -> Self:
        """Refuse options that have no effect, because a study that varied them would have arms that do not differ."""
        if self.memory is None:
            idle = [name for name in _OF_MEMORY if getattr(self, name) is not None]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)}: no effect, because this model has no memory; set memory: "
                    f"{'|'.join(memories.names())} or remove {'it' if len(idle) == 1 else 'them'}"
                )
        elif self.read_init == "zero" and getattr(self.memory, "initial_scale", 1) == 0:
            raise ValueError(
                "read_init: zero and memory.initial_scale: 0: a memory of zeros that is read with zero weights never "
                "gets a gradient; change one of the two options"
            )
        elif self.placement is None:
            raise ValueError(f"no layer reads the memory; set placement: {'|'.join(placements.names())}")
        elif self.update is None and self.update_after is not None:
            raise ValueError(f"update_after has no effect: set update: {'|'.join(updates.names())} or remove it")
        return self


_OF_MEMORY = ("placement", "update", "update_after", "routing", "carry", "read_init", "control")
"""Model options that have no meaning without a memory."""


class AugmentationConfig(Frozen):
    """Random changes to training images, drawn separately for each image. The defaults do not change the images."""

    version: ClassVar[int] = 2
    """Must be raised whenever the computed values change, even in the last bit; part of the ids of runs with
    augmentation."""

    rotation: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Maximum angle, as a fraction of a full turn; the angle is drawn from [-rotation, rotation]."""
    translation: Fraction = 0.0
    """Maximum shift, as a fraction of the height and width."""
    horizontal_flip: Probability = 0.0
    """Probability that an image is mirrored left to right."""
    vertical_flip: Probability = 0.0
    """Probability that an image is mirrored top to bottom."""
    contrast: Fraction = 0.0
    """Maximum change in contrast; deviations from the image's channel means are multiplied by a factor drawn from [1 -
    contrast, 1 + contrast]."""
    contrast_per: Literal["image", "batch"] = "image"
    """Whether the contrast factor is drawn for each image or once for a batch (as run: the author's TensorFlow did
    so)."""
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Minimum area of a random crop, as a fraction of the image; the crop is then resized to the image's size (Szegedy
    et al., 2015: 0.08). With 1, images are not cropped."""
    crop_ratio: Annotated[float, Field(ge=1)] = 4 / 3
    """Maximum ratio between the aspect ratios of the crop and the image, in either direction; applies if `crop_scale`
    is below 1."""
    resampling: Literal["once", "each"] = "once"
    """once: rotation, translation, flips and crop are combined and interpolated once. each: rotation and translation
    are interpolated one after the other, each with its own reflected border, as in Keras's layers (as run)."""
    passes: Annotated[int, Field(ge=1, le=4)] = 1
    """How many times the entire augmentation is applied, with new draws each time. As run: 2 in the control (whose
    model was wrapped one time too many), 1 in AiM."""

    def identity(self) -> dict[str, Any]:
        """Return the version and the options that differ from their defaults."""
        return {"version": type(self).version, **super().identity()}

    @model_validator(mode="after")
    def _crop_resampled_once(self) -> Self:
        if self.crop_scale < 1 and self.resampling == "each":
            raise ValueError("crop_scale: a crop requires resampling: once; change one of the two")
        return self


_NONE = (None, "none", {"name": "none"})
"""What documents write for a component that is absent."""


def _plain_loss(given: ComponentConfig | None) -> ComponentConfig | None:
    """Convert the cross-entropy without options to null, so that both spellings give the same run id."""
    plain = given is not None and given.name == "cross_entropy" and not type(given).code and given == type(given)()
    return None if plain else given


_Callbacks = Annotated[tuple[Annotated[ComponentConfig, ComponentOf(callbacks)], ...], BeforeValidator(tuple_of)]


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Stream = Literal["split", "init", "order", "augmentation", "layers"]
"""The random streams of a run. split: which images are held out. init: initial values. order: the order of the training
images. augmentation: draws for `augmentation` and `transforms`. layers: draws made by layers such as dropout, and by
plugins that use global generators."""
STREAMS: tuple[Stream, ...] = get_args(Stream)


class StreamSeeds(Frozen):
    """Seeds of individual random streams, used instead of the run's seed; the other streams follow the run's seed.

    A run in which all streams have the seed s is bitwise identical to the run with seed s.
    """

    split: Seed | None = None
    """Seed that selects the images held out for validation."""
    init: Seed | None = None
    """Seed of the initial values."""
    order: Seed | None = None
    """Seed of the order of the training images."""
    augmentation: Seed | None = None
    """Seed of the draws for `augmentation` and `transforms`."""
    layers: Seed | None = None
    """Seed of the draws made by layers such as dropout, and by plugins that use global generators."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if all(getattr(self, name) is None for name in STREAMS):
            raise ValueError(f"streams: is empty; set the seed of one of {', '.join(STREAMS)}, or remove it")
        return self


class EarlyStoppingConfig(Frozen):
    """Stop when the monitored accuracy has not risen by more than `min_delta` for `patience` epochs."""

    patience: Annotated[int, Field(ge=1)]
    """Number of consecutive epochs without a gain after which the run ends; must be below `epochs`. `selection` decides
    which epoch is reported.
    """
    min_delta: Fraction = 0.0
    """Gain in the monitored accuracy, as a fraction (0.01 is 1 pp), that an epoch must exceed to count as an
    improvement."""


def _with_select_on(schema: dict[str, Any]) -> None:
    """Add the key `select_on`, which stands for several options, to a JSON Schema."""
    schema["properties"]["select_on"] = {
        "enum": ["test", "validation", "last"],
        "description": "Sets `selection` to best_test, best_validation or last_epoch, along with the options that "
        "belong to it. With test, no images are held out, and the schedule and early stopping use the test "
        "accuracy (as run). With validation, images are held out.",
    }


class TrainingConfig(Frozen):
    """How the network is trained, and which epoch is reported.

    ``select_on: test|validation|last`` sets several options at once: `selection` (best_test, best_validation,
    last_epoch) and, for the first two, the `monitor` and whether images are held out.
    """

    model_config = ConfigDict(json_schema_extra=_with_select_on)

    epochs: Annotated[int, Field(ge=1)]
    """Number of passes over the training images. This is the budget; early stopping and callbacks may end a run before
    it is used up."""
    batch_size: Annotated[int, Field(ge=1)]
    """Number of images in a training step and in an evaluation batch."""
    optimizer: Annotated[ComponentConfig, ComponentOf(optimizers)]
    """The optimizer, including its learning rate."""
    schedule: Annotated[ComponentConfig | None, ComponentOf(schedules, optional=True)] = None
    """The learning rate schedule. None: the optimizer's learning rate does not change."""
    early_stopping: EarlyStoppingConfig | None = None
    """Ends a run whose monitored accuracy no longer rises. None: every run uses its full budget."""
    monitor: Literal["validation", "test"] = "validation"
    """The images whose accuracy the schedule and early stopping use. test: as run, where the validation set was the
    test set; this is an oracle, and is marked as one."""
    selection: Annotated[ComponentConfig, ComponentOf(selections)]
    """Which epoch is reported."""
    validation_fraction: Fraction = 0.1
    """Share of each class's training images that is held out for validation, drawn separately for every seed. These
    images are held out, and therefore not trained on, for every `selection`, even last_epoch. With 0, all images are
    trained on. If the data set has its own validation images, they are used instead, unless this is 0.
    """
    augmentation: AugmentationConfig | None = None
    """Random changes to entire batches, as part of the training step. None: images are not changed."""
    input_scaling: Literal["standardise", "raw"] = "standardise"
    """standardise: subtract the channel means of the training images and divide by their standard deviations; raw: use
    pixel values from 0 to 255 as they are."""
    shuffle: bool = True
    """Whether training images are in a new random order in every epoch; false: they are in the fixed `order`."""
    order: Literal["sha256", "tfds"] = "sha256"
    """The fixed order of the images in every evaluation, and of the training images if `shuffle` is false. sha256: by
    the hash of the images' names. tfds: as TensorFlow Datasets stores and reads them (as run). The order also decides
    which images `evaluation_drop_last` leaves out. Both orders mix classes and are the same in every epoch. See
    `aimlib.training.image_order`."""
    drop_last: bool = False
    """Drop the incomplete last batch of a training epoch."""
    evaluation_drop_last: bool = False
    """Leave images that do not fill a batch of `batch_size` out of accuracies and losses (as run: 8,576 of 8,580 test
    images count). Predictions are still made for all images. Images are evaluated in one fixed order with mixed
    classes."""
    label_smoothing: Fraction = 0.0
    """Share of the target that the cross-entropy spreads evenly over all classes, in training only; a `loss` has its
    own option.
    """
    loss: Annotated[ComponentConfig | None, ComponentOf(losses, optional=True), AfterValidator(_plain_loss)] = None
    """What is minimized, and what the loss columns contain. None: the cross-entropy."""
    transforms: Annotated[
        tuple[Annotated[ComponentConfig, ComponentOf(augmentations)], ...], BeforeValidator(tuple_of)
    ] = ()
    """Further random changes to training images, applied one after another, after `augmentation` and before the step;
    never part of a CUDA graph. Transforms of pixels come first, followed by transforms of the network's input, and then
    by at most one that mixes the images of a batch."""
    callbacks: _Callbacks = ()
    """Code that runs on training events; it can log scalars and can end the run with a reason."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast in the forward pass; parameters and the optimizer stay in float32."""
    tf32: bool = False
    """Allow CUDA to compute float32 products in TensorFloat-32."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    """The order of weights and feature maps in device memory: either the channels of a position or the positions of a
    channel are adjacent. Which order is faster depends on the device and the precision; sums are rounded
    differently."""
    step: Literal["auto", "eager", "graph", "compiled"] = "auto"
    """How a training step runs. eager: one operation after another. graph: captured once as a CUDA graph and replayed.
    compiled: by torch.compile. auto: as a graph if a test has shown that its results are bitwise identical to those of
    eager steps, otherwise eager. Therefore auto and eager are the same experiment with the same id; the other values
    have their own ids."""
    data_on: Literal["auto", "device", "host"] = local(
        "auto",
        "Where the images are kept during training: in device memory, or in host memory, from which batches are "
        "copied to the device. auto: on the device if the images need at most a quarter of the run's share of its "
        "memory. No result depends on this option.",
    )
    fine_tuning: FineTuningConfig | None = None
    """What is frozen, learning rates for parts of the network, and weight averaging; for a network that has
    `weights`."""
    streams: StreamSeeds | None = None
    """Seeds of individual random streams that do not follow the run's seed; None: all streams follow it."""

    def draws_from(self, stream: Stream) -> bool:
        """Return whether a run draws from a stream; always True for `layers`, because layers' draws are unknown."""
        drawn = {
            "split": self.validation_fraction > 0,
            "order": self.shuffle,
            "augmentation": self.augmentation is not None or bool(self.transforms),
        }
        return drawn.get(stream, True)

    def identity(self) -> dict[str, Any]:
        """Return the options that differ from their defaults; eager steps count as the default, auto."""
        found = super().identity()
        return {name: value for name, value in found.items() if (name, value) != ("step", "eager")}

    @model_validator(mode="before")
    @classmethod
    def _select_on(cls, data: Any) -> Any:
        """Expand `select_on`, which sets several training options at once."""
        if not isinstance(data, dict) or "select_on" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "select_on"}
        if data["select_on"] == "last":
            return {**rest, "selection": "last_epoch"}
        if data["select_on"] == "validation":
            held_out = rest.get("validation_fraction") or cls.model_fields["validation_fraction"].default
            return {**rest, "selection": "best_validation", "monitor": "validation", "validation_fraction": held_out}
        if data["select_on"] == "test":
            looks = rest.get("early_stopping") is not None or _plateau(rest.get("schedule"))
            monitor = {"monitor": "test"} if looks else {}
            return {**rest, "selection": "best_test", "validation_fraction": 0.0, **monitor}
        raise ValueError(f"select_on: must be 'test', 'validation' or 'last'; got {data['select_on']!r}")

    @model_validator(mode="before")
    @classmethod
    def _one_smoothing(cls, data: Any) -> Any:
        """Refuse `label_smoothing` together with a loss, because the loss would not use it."""
        if isinstance(data, dict) and data.get("loss") not in _NONE and data.get("label_smoothing"):
            raise ValueError(
                f"label_smoothing: no effect together with a loss; write it as the loss's option, as in loss: {{name: "
                f"cross_entropy, label_smoothing: {data['label_smoothing']}}}, or set label_smoothing to 0"
            )
        return data

    @model_validator(mode="after")
    def _transforms_in_order(self) -> Self:
        plugins = [augmentations.get(each.name) for each in self.transforms]
        ranks = [
            (plugin.after_scaling + plugin.per_batch, each.name)
            for plugin, each in zip(plugins, self.transforms, strict=True)
        ]
        wrong = next((pair for pair in itertools.pairwise(ranks) if pair[0][0] > pair[1][0]), None)
        if wrong is not None:
            raise ValueError(f"transforms: {wrong[1][1]!r} must come before {wrong[0][1]!r}, which takes its output")
        mixing = [each.name for plugin, each in zip(plugins, self.transforms, strict=True) if plugin.per_batch]
        if len(mixing) > 1:
            raise ValueError(
                f"transforms: {' and '.join(map(repr, mixing))} both mix a batch; keep one, or use mixup_or_cutmix, "
                f"which draws one of the two for every batch"
            )
        if mixing and self.loss is not None and not losses.get(self.loss.name).takes_soft_targets:
            raise ValueError(
                f"loss: {self.loss.name!r} takes one class per image, but the transform {mixing[0]!r} produces shares "
                f"of several classes; remove that transform, or choose a loss that takes soft targets, such as "
                f"cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _with_validation_where_needed(self) -> Self:
        looks = self.monitor == "validation"
        needing = [
            name
            for name, used in (
                ("early_stopping", looks and self.early_stopping is not None),
                (f"schedule {self.schedule.name!r}" if self.schedule else "", looks and _monitors(self.schedule)),
                (f"selection {self.selection.name!r}", _monitors(self.selection)),
                *((f"callback {each.name!r}", _monitors(each)) for each in self.callbacks),
            )
            if used
        ]
        if needing and self.validation_fraction == 0:
            raise ValueError(f"validation_fraction is 0, but {' and '.join(needing)} needs validation images; raise it")
        return self

    @model_validator(mode="after")
    def _fine_tuning_has_effect(self) -> Self:
        frozen = () if self.fine_tuning is None else self.fine_tuning.freeze
        if frozen and self.step in ("graph", "compiled"):
            raise ValueError(
                f"step: {self.step} with fine_tuning.freeze: the frozen layers change between epochs, so steps run "
                f"eagerly; remove step"
            )
        for number, entry in enumerate(frozen):
            if entry.epochs is not None and entry.epochs >= self.epochs:
                raise ValueError(
                    f"fine_tuning.freeze.{number}.epochs: {entry.epochs} is not below the budget of {self.epochs} "
                    f"epochs; lower it, or remove it to freeze these layers throughout"
                )
        return self

    @model_validator(mode="after")
    def _order_decides_something(self) -> Self:
        if self.order != "sha256" and self.shuffle and not self.evaluation_drop_last:
            raise ValueError(
                f"order: {self.order} has no effect: training images are shuffled, and all images are evaluated; "
                f"remove it, or set shuffle to false or evaluation_drop_last to true"
            )
        return self

    @model_validator(mode="after")
    def _something_monitors(self) -> Self:
        if self.monitor == "test" and self.early_stopping is None and not _monitors(self.schedule):
            raise ValueError(
                "monitor: test has no effect, because neither early stopping nor the schedule uses an accuracy; "
                "remove it"
            )
        return self


class RunConfig(Frozen):
    """One run. Equal configurations on equal data have the same `run_id` and the same result."""

    model: ModelConfig
    """The network and its memory."""
    data: Annotated[ComponentConfig, ComponentOf(datasets)]
    """The data set."""
    training: TrainingConfig
    """How the network is trained."""
    seed: Seed
    """The seed that all random streams follow; a study lists `seeds`, one for each run of an arm."""

    def seed_of(self, stream: Stream) -> int:
        """Return the seed of a random stream: the run's seed, unless ``training.streams`` sets a different one."""
        streams: StreamSeeds | None = getattr(self.training, "streams", None)  # the user's own training code has none
        stated = None if streams is None else getattr(streams, stream)
        return self.seed if stated is None else int(stated)

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validate `data` as `Frozen.parse` does; data with the key `train` describes a run of own training code."""
        if cls is RunConfig and isinstance(data, Mapping) and data.get("train") is not None:
            from aimlib.training.own.config import OwnRunConfig  # noqa: PLC0415 -- that module imports this one

            return OwnRunConfig.parse(data, where)  # type: ignore[return-value]
        return super().parse(data, where)

    def run_id(self, data_fingerprint: str) -> str:
        """Return 20 hexadecimal digits that identify the experiment.

        The id is the beginning of the SHA-256 hash of `identity_text`.
        """
        return hashlib.sha256(self.identity_text(data_fingerprint).encode()).hexdigest()[:20]

    def identity_text(self, data_fingerprint: str) -> str:
        """Return the JSON text that the run id hashes.

        The text contains a frozen number, every option that differs from its default, the versions of all components
        and of the augmentation, and the fingerprint of the data. It does not contain paths, machines or resources.
        """
        content = {"schema": _ID_VERSION, "run": self.identity(), "data": data_fingerprint}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _monitors(config: ComponentConfig | None) -> bool:
    """Return whether a schedule or selection rule uses the validation accuracy."""
    stated = bool(getattr(type(config), "monitors_validation", False))
    return config is not None and bool(getattr(config, "uses_validation", stated))


def _plateau(schedule: Any) -> bool:
    """Return whether the schedule in a document uses an accuracy."""
    return schedule not in _NONE and _monitors(schedules.parse(schedule))
