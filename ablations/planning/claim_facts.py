"""The facts of a claim next to a study's values, determined from the study's configuration, networks and data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ablations.planning import networks
from ablations.planning.arms import Arm, shape_of
from ablations.planning.protocol import reference
from aimlib.training.image_order import BLOCK, SHARDS, fixed_order
from analysis.claims.facts import Fact, Side, Value

if TYPE_CHECKING:
    from aimlib.datasets.base import DataSet
    from aimlib.models import ModelSummary

NOT_OF_A_STUDY = "–"
"""Text shown if the study has no value for a fact."""
_FIRST = 9
_OF_TFDS = {"shards": SHARDS, "block": BLOCK}
"""Facts about the ``tfds`` order that are known without the data."""
_WORDNET_ID = re.compile(r"^n\d{8}-")


@dataclass(frozen=True)
class FactLine:
    """A fact of a claim, and the study's values for it.

    Attributes
    ----------
    topic, fact : subject of the fact.
    as_run, as_described : what was done in the original experiment, and what its description says, in words.
    this_study : the study's values for its baseline and its treatment; ``–`` if the study has no value.
    differs : whether the study differs from the original experiment; None if this is unknown.
    source : where the fact is recorded.
    """

    topic: str
    fact: str
    as_run: str
    as_described: str
    this_study: str
    differs: bool | None
    source: str


class _NotKnown(Exception):
    """Why a study's value is not known."""


def lines(
    facts: Sequence[Fact],
    arms: Sequence[Arm],
    seeds: int,
    summaries: Mapping[str, ModelSummary],
    data: Mapping[str, DataSet] | None = None,
) -> tuple[FactLine, ...]:
    """Return the facts of a claim next to a study's values.

    Parameters
    ----------
    seeds : number of runs per arm.
    summaries : summaries of the networks, by arm.
    data : data by arm; None for data that is not on this machine.
    """
    baseline = reference(tuple(arms))
    treatment = next((arm for arm in arms if arm.role == "aim"), None)

    def side(arm: Arm | None) -> _Side | None:
        return None if arm is None else _Side(arm, seeds, summaries[arm.name], data[arm.name] if data else None)

    sides: dict[Side, _Side | None] = {"baseline": side(baseline), "treatment": side(treatment)}
    return tuple(_line(fact, sides) for fact in facts)


def _line(fact: Fact, sides: Mapping[Side, _Side | None]) -> FactLine:
    said = fact.text(fact.as_run), fact.text(fact.as_described)
    if not fact.kind:
        return FactLine(fact.topic, fact.name, *said, NOT_OF_A_STUDY, None, fact.source)
    asked = [side for side in sides if side in fact.as_run or None in fact.as_run]
    found: dict[Side | None, Value] = {}
    missing = ""
    for side in asked:
        if (arm := sides[side]) is None:
            missing = f"no {side} arm"
            continue
        try:
            found[side] = arm.value(fact.kind, fact.key)
        except _NotKnown as reason:
            missing = str(reason)
    differs = any(value != fact.as_run.get(side, fact.as_run.get(None)) for side, value in found.items())
    text = fact.text(found) if found else missing
    return FactLine(fact.topic, fact.name, *said, text, differs if found else None, fact.source)


class _Side:
    """One arm, and the values that claims can request from it."""

    def __init__(self, arm: Arm, seeds: int, summary: ModelSummary, data: DataSet | None) -> None:
        self.arm, self.seeds, self.summary, self.data = arm, seeds, summary, data
        self.document = arm.config.model_dump(mode="json")

    def value(self, kind: str, key: str) -> Value:
        if kind == "plan":
            return self.seeds
        if kind == "option":
            return self._option(key)
        if not networks.has_network(self.arm.config):
            raise _NotKnown("unknown for the user's own training code")
        if kind == "network":
            return self._network(key)
        if key in _OF_TFDS:
            return _OF_TFDS[key] if self.arm.config.training.order == "tfds" else None
        return _DataFacts(self.arm, self.data)[key]

    def _option(self, path: str) -> Value:
        value: Any = self.document
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found: Value = value["name"] if isinstance(value, dict) and "name" in value else value
        return found

    def _network(self, key: str) -> Value:
        from ablations.planning.network_facts import NetworkFacts  # noqa: PLC0415 -- imports torch

        config = self.arm.config
        shape = shape_of(config)
        return NetworkFacts(networks.network(config.model, shape), config.model, shape, self.summary)[key]


class _DataFacts:
    """Values of an arm's data that a claim can request; see `analysis.claims.facts.DataNumber`."""

    def __init__(self, arm: Arm, data: DataSet | None) -> None:
        if data is None:
            raise _NotKnown("unknown without the data")
        self.config, self.data, self.training = arm.config, data, arm.config.training

    def __getitem__(self, name: str) -> Value:
        value: Value = getattr(self, name)()
        return value

    def train_images(self) -> int:
        return len(self.data.train.labels)

    def test_images(self) -> int:
        return len(self.data.test.labels)

    def classes(self) -> int:
        return len(self.data.classes)

    def evaluated_images(self) -> int:
        images, size = self.test_images(), self.training.batch_size
        return images // size * size if self.training.evaluation_drop_last else images

    def batches_per_epoch(self) -> int:
        whole, rest = divmod(len(self._trained()), self.training.batch_size)
        return whole + (rest > 0 and not self.training.drop_last)

    def first_classes(self) -> Value:
        if self.training.shuffle:
            return "drawn again in every epoch"
        first = self._ordered(self._trained(), "train")[:_FIRST]
        return [_WORDNET_ID.sub("", self.data.classes[self.data.train.labels[number]]) for number in first]

    def left_out(self) -> Value:
        order = self._ordered(np.arange(self.test_images(), dtype=np.int64), "test")
        return sorted(PurePosixPath(self.data.test.names[number]).stem for number in order[self.evaluated_images() :])

    def _trained(self) -> Any:
        from aimlib.training.splits import divide  # noqa: PLC0415 -- imports torch

        return divide(self.data, self.training.validation_fraction, self.config.seed_of("split")).training

    def _ordered(self, indices: Any, split: str) -> Any:
        names = (self.data.train if split == "train" else self.data.test).names
        return fixed_order(indices, names, self.training.order, split=split, data=self.config.data.name)
