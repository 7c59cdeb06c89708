"""The configuration of a run with the user's own training code: its data, its budget, and its own options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from aimlib.component import ComponentConfig, Frozen
from aimlib.config import Fraction, ModelConfig, RunConfig, TrainingConfig
from aimlib.errors import did_you_mean
from aimlib.registry import ComponentOf, selections, trainers

_DEPTH = 20
_HELD_OUT: float = TrainingConfig.model_fields["validation_fraction"].default
"""Share that ``select_on: validation`` holds out if no share is set, as in the built-in loop."""


class Options(dict[str, Any]):
    """The options of an arm: a mapping whose keys are also attributes, such as ``options.learning_rate``."""

    def __getattr__(self, name: str) -> Any:
        """Return an option; raise AttributeError, with the known names, if the arm does not set it."""
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "none"
            raise AttributeError(
                f"options.{name}: not set in this arm; {did_you_mean(name, self)}its options: {known}; set it in "
                f"the study under base.options"
            ) from None


def _plain(value: Any) -> Options:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be names with values, such as {{learning_rate: 0.1}}; got {value!r}")  # noqa: TRY004
    for key in value:
        if not isinstance(key, str) or not key.isidentifier():
            raise ValueError(f"{key!r}: a name must consist of letters, digits and '_', as in options.learning_rate")
    return Options({key: _value(item, key, 0) for key, item in value.items()})


def _value(value: Any, where: str, depth: int) -> Any:
    """Return a value in which all sequences are lists; refuse anything that JSON cannot represent."""
    if depth > _DEPTH:
        raise ValueError(f"{where}: is nested too deeply")
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _value(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value + 0.0  # -0.0 equals 0.0, but differs as text
    raise ValueError(f"{where}: must be a number, text, true, false, null, a list or a mapping; got {value!r}")


class OwnTrainingConfig(Frozen):
    """The budget of the user's own training code, and which epoch is reported.

    ``select_on: test|validation|last`` may be used in place of `selection`; with ``validation``, images are also held
    out.
    """

    model_config = ConfigDict(json_schema_extra=TrainingConfig.model_config["json_schema_extra"])

    epochs: Annotated[int, Field(ge=1)] = 1
    """Maximum number of epochs that the code may report; code without epochs reports one."""
    selection: Annotated[ComponentConfig, ComponentOf(selections)] = Field(
        default_factory=lambda: selections.parse("last_epoch"), json_schema_extra={"default": "last_epoch"}
    )
    """Which epoch is reported."""
    validation_fraction: Fraction = 0.0
    """Share of the training images in each class that is held out; it is drawn separately for every seed."""

    monitor: ClassVar[Literal["validation", "test"]] = "validation"
    early_stopping: ClassVar[None] = None
    evaluation_drop_last: ClassVar[bool] = False
    precision: ClassVar[Literal["float32"]] = "float32"
    tf32: ClassVar[bool] = False
    callbacks: ClassVar[tuple[()]] = ()

    @model_validator(mode="before")
    @classmethod
    def _select_on(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "select_on" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "select_on"}
        rules = {"last": "last_epoch", "validation": "best_validation", "test": "best_test"}
        if data["select_on"] not in rules:
            raise ValueError(f"select_on: must be 'test', 'validation' or 'last'; got {data['select_on']!r}")
        if data["select_on"] == "validation":
            rest["validation_fraction"] = rest.get("validation_fraction") or _HELD_OUT
        return {**rest, "selection": rules[data["select_on"]]}

    @model_validator(mode="before")
    @classmethod
    def _without_options_of_the_loop(cls, data: Any) -> Any:
        foreign = set(TrainingConfig.model_fields) - set(cls.model_fields)
        given = sorted(foreign & set(data)) if isinstance(data, dict) else []
        if given:
            raise ValueError(
                f"{', '.join(given)}: only the built-in training loop reads "
                f"{'this' if len(given) == 1 else 'these'}; put what your training code reads under `options`, "
                f"next to `training`"
            )
        return data

    @model_validator(mode="after")
    def _with_validation_where_needed(self) -> OwnTrainingConfig:
        if getattr(type(self.selection), "monitors_validation", False) and self.validation_fraction == 0:
            raise ValueError(f"validation_fraction is 0, but selection {self.selection.name!r} needs validation images")
        return self


class OwnRunConfig(RunConfig):
    """One run of the user's own training code. `RunConfig.parse` returns it for a document with the key `train`."""

    train: Annotated[ComponentConfig, ComponentOf(trainers)]
    """The training code."""
    model: ModelConfig | None = None  # type: ignore[assignment]
    """A network from this package, which `OwnRun.network` returns to the code; None: the code builds its own
    network."""
    training: OwnTrainingConfig = OwnTrainingConfig.model_construct()  # type: ignore[assignment]
    """The run's budget, and which epoch is reported."""
    options: Annotated[Options, PlainValidator(_plain)] = Options()
    """Options that the code reads; they are part of the run id, like everything else."""
