"""A claim's facts: what was run and what was described, each with its source, and the corresponding values in a study.

Facts are data (`facts` in a claim file, by topic). `ablations.planning.claim_facts` determines a study's values from
its configuration, networks and data; this module defines what a claim file may name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aimlib.component import Frozen
from aimlib.records import role
from analysis.wording.number_format import listing, option

Value = None | bool | int | float | str | list[int | float | str]
"""A fact's value for an arm."""
Side = Literal["baseline", "treatment"]

NetworkNumber = Literal[
    "keras_parameters",
    "trainable_parameters",
    "running_statistics",
    "multiply_adds",
    "stem_stride",
    "maps",
    "strided_kernels",
    "convolution_biases",
    "batch_norm_epsilon",
    "batch_norm_momentum",
    "convolution_start",
    "dense_start",
    "memory_values",
    "memory_degrees_of_freedom",
    "memory_start",
    "source_parameters",
    "readers",
    "static_readers",
    "channels_added",
    "reading_weights",
    "updates",
    "update_parameters",
    "update_end_start",
]
"""The properties of an arm's network that a fact can name.

* ``keras_parameters``: number of parameters and running statistics, as counted by Keras; ``trainable_parameters``;
  ``running_statistics``; ``multiply_adds`` per image.
* ``stem_stride``: stride of the first convolution. ``maps``: number of rows in the map at the end of each stage.
  ``strided_kernels``: number of rows in the kernels that reduce the map size on the main path of the stages.
  ``convolution_biases``: whether all convolutions in the network have biases.
* ``batch_norm_epsilon``, ``batch_norm_momentum`` (PyTorch's) in the network without its updates; one number, or all
  that occur.
* ``convolution_start``, ``dense_start``, ``memory_start``, ``update_end_start``: how the weights of convolutions, dense
  layers, memory sources and the last layers of updates are initialized.
* ``memory_values``, ``memory_degrees_of_freedom``; ``source_parameters`` of each memory; ``readers``: number of layers
  that read the memory; ``static_readers``: number of layers that read a memory that is never updated;
  ``channels_added`` to each reader; ``reading_weights``: total number of weights with which layers read the memory;
  ``updates``: number of updates; ``update_parameters`` of each update, as counted by Keras.
"""

DataNumber = Literal[
    "train_images",
    "test_images",
    "classes",
    "evaluated_images",
    "batches_per_epoch",
    "first_classes",
    "left_out",
    "shards",
    "block",
]
"""The properties of an arm's data, as used in training, that a fact can name.

``evaluated_images``: number of test images that are evaluated. ``first_classes``: classes of the first nine training
images, if their order is fixed. ``left_out``: names of the test images that are not evaluated, without their folders.
``shards``, ``block``: number of parts into which the order ``tfds`` divides a split, and number of images that it reads
from one part before it continues with the next.
"""


class _Study(Frozen):
    """Where a study's own value is found; exactly one of these fields is set."""

    option: str | None = None
    network: NetworkNumber | None = None
    data: DataNumber | None = None
    plan: Literal["seeds"] | None = None

    @property
    def stated(self) -> list[tuple[str, str]]:
        """The fields that are set, each with its value."""
        return [(kind, value) for kind, value in self.model_dump().items() if value is not None]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.stated) != 1:
            raise ValueError("give one of option, network, data and plan")
        return self


def _sides(given: Any) -> Any:
    """Return a mapping by role from one in which the treatment may be called ``aim``, as in stored documents."""
    return {role(str(name)) or name: value for name, value in given.items()} if isinstance(given, dict) else given


_Said = Annotated[Value | Annotated[dict[Side, Value], Field(min_length=1)], BeforeValidator(_sides)]


class FactDocument(Frozen):
    """A fact in a claim file."""

    fact: str
    as_run: _Said
    as_described: _Said = "as run"
    source: str
    study: _Study | None = None
    words: dict[str, str] = {}


@dataclass(frozen=True)
class Fact:
    """A fact in a claim.

    Attributes
    ----------
    topic, name : topic and name of the fact.
    as_run : what was done, by side; the key None contains what applies to both arms.
    as_described : what was described, in the same form.
    source : where the fact is recorded.
    kind, key : how a study's own value is found: ``option`` and a key path in the configuration of its runs,
        ``network`` and a `NetworkNumber`, ``data`` and a `DataNumber`, or ``plan`` and ``seeds``. Empty if a study does
        not have a corresponding value.
    words : wording of the values, by value as text.
    """

    topic: str
    name: str
    as_run: Mapping[Side | None, Value]
    as_described: Mapping[Side | None, Value]
    source: str
    kind: str = ""
    key: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    def text(self, values: Mapping[Side | None, Value]) -> str:
        """Return the values in words: a single value if both sides are equal, otherwise each with its side."""
        texts = {side: self._word(value) for side, value in values.items()}
        if len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        return "; ".join(f"{side} {text}" for side, text in texts.items())

    def _word(self, value: Value) -> str:
        text = _text(value)
        return self.words.get(text, text)


def _text(value: Value) -> str:
    if isinstance(value, list):
        return _grouped([_text(each) for each in value]) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return option(value)


def _grouped(texts: list[str]) -> str:
    """Return texts as one text in which repeated texts are written once: ``4 (3 ×) and 16``."""
    runs: list[tuple[str, int]] = []
    for text in texts:
        if runs and runs[-1][0] == text:
            runs[-1] = (text, runs[-1][1] + 1)
        else:
            runs.append((text, 1))
    return listing([text if count == 1 else f"{text} ({count} ×)" for text, count in runs]) if runs else ""


def facts_of(documents: Mapping[str, list[FactDocument]]) -> tuple[Fact, ...]:
    """Return the facts in a claim file, topic by topic."""
    return tuple(_fact(topic, each) for topic, given in documents.items() for each in given)


def _fact(topic: str, document: FactDocument) -> Fact:
    kind, key = document.study.stated[0] if document.study else ("", "")
    said, described = _by_side(document.as_run), _by_side(document.as_described)
    return Fact(topic, document.fact, said, described, document.source, kind, key, document.words)


def _by_side(said: Any) -> dict[Side | None, Value]:
    return dict(said) if isinstance(said, dict) else {None: said}
