"""Facts of a claim: what was run and what was described, each with its source, and what a study has instead.

Facts are data (`facts` of a claim file, by topic). What a study has is read off its configuration, networks and data by
`ablations.planning.claim_facts`; this module defines what a claim file may name.
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
"""What a fact says about an arm."""
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

* ``keras_parameters``: parameters and running statistics, as Keras counts them; ``trainable_parameters``;
  ``running_statistics``; ``multiply_adds`` per image.
* ``stem_stride``: of the first convolution. ``maps``: rows of the map at the end of each stage. ``strided_kernels``:
  rows of the kernels that shrink maps on the main path of the stages. ``convolution_biases``: whether all convolutions
  of the network have biases.
* ``batch_norm_epsilon``, ``batch_norm_momentum`` (PyTorch's) of the network without its updates; one number, or all
  that occur.
* ``convolution_start``, ``dense_start``, ``memory_start``, ``update_end_start``: how weights of convolutions, of dense
  layers, of memory sources and of the last layers of updates start.
* ``memory_values``, ``memory_degrees_of_freedom``; ``source_parameters`` of each memory; ``readers``: layers that read;
  ``static_readers``: those that read a memory which no update reaches; ``channels_added`` to each of them;
  ``reading_weights``: how many there are in all; ``updates``: their number; ``update_parameters`` of each, as Keras
  counts.
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
"""The properties of the data of an arm that a fact can name, as training uses the data.

``evaluated_images``: test images that count. ``first_classes``: classes of the first nine training images, if their
order is fixed. ``left_out``: names of the test images that do not count, without their folders. ``shards``, ``block``:
into how many parts the order ``tfds`` cuts a split, and how many images it reads from one part before it turns to the
next.
"""


class _Study(Frozen):
    """Where a study's own value is: exactly one of these."""

    option: str | None = None
    network: NetworkNumber | None = None
    data: DataNumber | None = None
    plan: Literal["seeds"] | None = None

    @property
    def stated(self) -> list[tuple[str, str]]:
        """The kinds that are given, each with its value."""
        return [(kind, value) for kind, value in self.model_dump().items() if value is not None]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.stated) != 1:
            raise ValueError("give one of option, network, data and plan")
        return self


def _sides(given: Any) -> Any:
    """Read a mapping by role, in which the treatment may be called ``aim``, as stored documents do."""
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
    """A fact of a claim.

    Attributes
    ----------
    topic, name : of the fact.
    as_run : what was done, by side; the key None holds what is said about both arms.
    as_described : what was described, in the same form.
    source : where it is on record.
    kind, key : how a study's own value is found: ``option`` and a key path of the configuration of its runs,
        ``network`` and a `NetworkNumber`, ``data`` and a `DataNumber`, or ``plan`` and ``seeds``. Empty if a study has
        no such value.
    words : how values are written, by the value as text.
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
        """Return the values in words: one for both sides if they are equal, otherwise each with its side."""
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
    """Return texts as a list; those that are repeated are written once: ``4 (3 ×) and 16``."""
    runs: list[tuple[str, int]] = []
    for text in texts:
        if runs and runs[-1][0] == text:
            runs[-1] = (text, runs[-1][1] + 1)
        else:
            runs.append((text, 1))
    return listing([text if count == 1 else f"{text} ({count} ×)" for text, count in runs]) if runs else ""


def facts_of(documents: Mapping[str, list[FactDocument]]) -> tuple[Fact, ...]:
    """Return the facts of a claim file, topic by topic."""
    return tuple(_fact(topic, each) for topic, given in documents.items() for each in given)


def _fact(topic: str, document: FactDocument) -> Fact:
    kind, key = document.study.stated[0] if document.study else ("", "")
    said, described = _by_side(document.as_run), _by_side(document.as_described)
    return Fact(topic, document.fact, said, described, document.source, kind, key, document.words)


def _by_side(said: Any) -> dict[Side | None, Value]:
    return dict(said) if isinstance(said, dict) else {None: said}
