"""The configuration of a plugin, and the dimensions along which its options can be searched.

A configuration is frozen and strict, and its identity is permanent.

The run id hashes the identity of a configuration, which omits fields that have their default value and fields marked
`local`. Adding a field with a default therefore leaves old ids unchanged, and paths and devices never become part of an
id. In return, anyone who changes a default, or what a component computes, must raise the component's `version`.

A plugin declares its dimensions as ``search_space = {"channels": Integer(16, 1024, log=True)}``; a search converts them
to Optuna distributions. The three kinds of dimension and their fields are named as in Optuna.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from aimlib.errors import ConfigError, counted, did_you_mean


def tuple_of(value: Any) -> Any:
    """Convert a list from a document to a tuple; leave everything else to the type check."""
    return tuple(value) if isinstance(value, list) else value


Integers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(tuple_of)]
"""A sequence of positive integers; documents write it as a list."""

Names = Annotated[tuple[str, ...], BeforeValidator(tuple_of)]
"""A sequence of names; documents write it as a list."""


def local(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a field that locates something, such as a path, and is not part of the run's identity."""
    return Field(default, description=description, json_schema_extra={"identity": False}, **constraints)


class Frozen(BaseModel):
    """Base class of all configurations: immutable, no unknown keys, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """Return the plain JSON that identifies this configuration, without defaults and `local` fields."""
        out: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if is_local(field) or value == field.get_default(call_default_factory=True):
                continue
            out[name] = _identity_of(value)
        return out

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validate `data`; if it contains mistakes, raise one ConfigError that lists each mistake with its key path.

        Parameters
        ----------
        data : plain JSON values, as in a YAML or JSON document.
        where : the path of `data` in its document, used as a prefix for every key path.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where)) from None


class ComponentConfig(Frozen):
    """Base class of a plugin's configuration, with the plugin's options as fields.

    The registry sets the class variables when it registers the plugin.
    """

    component: ClassVar[str] = ""
    version: ClassVar[int] = 1
    code: ClassVar[str] = ""
    """Hash of the plugin's code if the code does not belong to a distribution; see `aimlib.own_code`."""
    initial_values: ClassVar[Literal["own", "rules"]] = "rules"
    """Whether modules that the plugin builds keep the initial values that they set themselves; see
    `aimlib.memory.own_start`."""
    own_values_in_id: ClassVar[bool] = False
    """Whether the identity records that initial values are kept. This is necessary if runs of the plugin's version 1
    may exist in which the initial values were replaced."""

    @model_validator(mode="before")
    @classmethod
    def _tuples_of_lists(cls, data: Any) -> Any:
        """Accept a list from a document for an option that is annotated as a tuple."""
        if not isinstance(data, dict):
            return data
        return {key: tuple_of(value) if _is_tuple(cls.model_fields.get(key)) else value for key, value in data.items()}

    @property
    def name(self) -> str:
        """The name under which the plugin is registered."""
        return type(self).component

    def identity(self) -> dict[str, Any]:
        """Return name, version, hash of own code, whether initial values are kept, and non-default options."""
        cls = type(self)
        code = {"code": cls.code} if cls.code else {}
        own = {"initial_values": "own"} if cls.own_values_in_id else {}
        return {"name": self.name, "version": cls.version, **code, **own, **super().identity()}

    def with_absolute_paths(self) -> Self:
        """Return the options with the paths in `local` fields made absolute; URLs stay unchanged."""
        fields = type(self).model_fields
        given = {name: getattr(self, name) for name, field in fields.items() if is_local(field)}
        places = {name: absolute(value) for name, value in given.items() if isinstance(value, str)}
        return self.model_copy(update=places)

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}


def _is_tuple(field: FieldInfo | None) -> bool:
    return field is not None and get_origin(field.annotation) is tuple


def absolute(place: str) -> str:
    """Return a path as an absolute path, resolved against the current folder; a URL stays unchanged."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def is_local(field: FieldInfo) -> bool:
    """Return whether a field was declared with `local`."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("identity") is False


def _identity_of(value: Any) -> Any:
    if isinstance(value, Frozen):
        return value.identity()
    if isinstance(value, (tuple, list)):
        return [_identity_of(item) for item in value]
    return 0.0 if value == 0 and isinstance(value, float) else value  # -0.0 equals 0.0, but its text differs


_MOST_PROBLEMS = 100
"""Maximum number of problems explained per document, because finding the nearest name takes milliseconds for each
problem."""


def explain(error: ValidationError, model: type[BaseModel], where: str = "") -> list[str]:
    """Return one message per mistake: the key path, what is wrong, and how to correct it."""
    messages: list[str] = []
    found = error.errors(include_url=False)
    for item in found[:_MOST_PROBLEMS]:
        # List indices and keys belong to the path; the names of unions and functions that pydantic adds do not.
        loc = [part for part in item["loc"] if isinstance(part, int) or _is_key(str(part))]
        path = ".".join([where, *map(str, loc)]) if where else ".".join(map(str, loc))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            messages += [f"{path}.{problem}" if path else problem for problem in cause.problems]
        else:
            messages.append(f"{path}: {_message(item, model, loc)}" if path else _message(item, model, loc))
    if len(found) > _MOST_PROBLEMS:
        messages.append(f"{counted(len(found) - _MOST_PROBLEMS, 'more problem')}; correct the others first")
    return messages


_ADDED = re.compile(r"(function-\w+|tagged-union|union|nullable|list|dict|tuple|set|literal|is-instance)\[.*")
"""Parts that pydantic inserts between the keys of a path to identify the kind of type that it tried."""


def _is_key(part: str) -> bool:
    return _ADDED.fullmatch(part) is None


_LONGEST_VALUE = 500


def _message(item: Any, model: type[BaseModel], loc: list[int | str]) -> str:
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        fields = _fields_at(model, loc[:-1])
        listed = ", ".join(sorted(fields)) or f"none: {_no_options(model)}"
        return f"unknown key; {did_you_mean(str(loc[-1]), fields)}known keys: {listed}"
    if kind == "missing":
        return "missing; this key has no default, so set a value"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    message = item["msg"].removeprefix("Input ").replace("should be", "must be", 1)
    message = re.sub(r" or instance of \w+", "", message[:1].lower() + message[1:])
    for type_of_python, words in _WORDS:
        message = message.replace(type_of_python, words)
    shown = repr(given)
    if len(shown) > _LONGEST_VALUE:
        shown = f"{shown[:_LONGEST_VALUE]} ..."
    remedies = f"{_remedy(kind, given, model, loc)}{_choice_meant(item)}{_as_share(item)}"
    return f"{message}; got {shown} ({_yaml_type(given)}){remedies}"


def _as_share(item: Any) -> str:
    """Return what to write if a value between 0 and 1 is expected but the given value looks like a percentage."""
    limit, given = (
        (item.get("ctx") or {}).get({"less_than": "lt", "less_than_equal": "le"}.get(item["type"])),
        item["input"],
    )
    return f"; if {given:g} % is meant, write {given / 100:g}" if limit == 1 and 1 < given <= 100 else ""


def _no_options(model: type[BaseModel]) -> str:
    """Return why a component has no options; a class in the user's own code may lack its nested Config."""
    if issubclass(model, ComponentConfig) and model.code:
        return "it takes no options; add a nested `class Config(ComponentConfig):` with this option to its class"
    return "it takes no options"


_WORDS = (
    ("a valid dictionary", "a mapping of keys to values"),
    ("a valid tuple", "a list"),
    ("a valid list", "a list"),
)
"""Pydantic's names of types, and the words that messages about documents use for these types."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

_TUPLE = re.compile(r"\((.*)\)")


_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""Words for true and false in YAML 1.1; studies are written in YAML 1.2."""


def _as_scalar(kind: str, given: Any) -> str:
    """Return how to write a value that only other tools or YAML versions understand; empty if there is no hint."""
    if kind in ("int_type", "float_type") and isinstance(given, str):
        plain = re.sub(r"(?<=\d)[_,](?=\d{3})", "", given.strip())
        if _NUMBER.fullmatch(plain):
            return f"; write {given} without quotes" if plain == given else f"; write {plain}"
    if kind in ("int_type", "float_type") and isinstance(given, bool):
        return "; this option is a number, not a switch: write a value such as " + (
            "0.5" if kind == "float_type" else "1"
        )
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"; write {int(given)}"
    if kind == "bool_type" and isinstance(given, str):
        word = _BOOLEANS.get(given.lower(), given.lower())
        return f"; write {word}" if word in ("true", "false") else ""
    if kind == "string_type" and isinstance(given, (int, float)):
        return f"; put it in quotes: '{str(given).lower()}'"
    is_single = isinstance(given, (list, tuple)) and len(given) == 1 and isinstance(given[0], str)
    return f"; write {given[0]}" if kind in ("string_type", "literal_error") and is_single else ""


def _choice_meant(item: Any) -> str:
    """Return the choice that a text nearly matches, such as ``full_factorial`` if the text is ``Full-Factorial``."""
    if item["type"] != "literal_error" or not isinstance(item["input"], str):
        return ""
    choices = re.findall(r"'([^']*)'", item["ctx"]["expected"])
    near = did_you_mean(re.sub(r"[\s-]+", "_", item["input"].strip()), choices)
    return f"; {near.strip()}" if near else ""


def _remedy(kind: str, given: Any, model: type[BaseModel], loc: list[int | str]) -> str:
    if scalar := _as_scalar(kind, given):
        return scalar
    if kind in ("tuple_type", "list_type") and isinstance(given, str) and (inner := _TUPLE.fullmatch(given.strip())):
        return f"; write [{inner[1].strip().rstrip(',')}]"
    is_plain = isinstance(given, int | float) or (isinstance(given, str) and given.isidentifier())
    if kind in ("tuple_type", "list_type"):
        bracketed = "; put the mapping in brackets: [{...}]" if isinstance(given, Mapping) else ""
        return f"; write [{given}]" if is_plain else bracketed
    if kind == "model_type" and given in ("none", "None"):
        return "; write null to leave it out"
    if kind == "model_type" and (fields := _fields_at(model, loc)):
        return f"; its keys: {', '.join(sorted(fields))}"
    return ""


def _yaml_type(value: Any) -> str:
    kinds: dict[type, str] = {
        bool: "true/false",
        int: "integer",
        float: "number",
        str: "text",
        list: "list",
        dict: "mapping",
    }
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)


def _fields_at(model: type[BaseModel], loc: list[int | str]) -> list[str]:
    """Return the field names of the nested model at `loc`."""
    current: type[BaseModel] | None = model
    for part in loc:
        field = current.model_fields.get(str(part)) if current else None
        current = _model_in(field.annotation) if field else current
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


@dataclass(frozen=True)
class Categorical:
    """One of `choices` (plain JSON values)."""

    choices: tuple[str | int | float | bool | None, ...]

    def __post_init__(self) -> None:
        if len(set(map(repr, self.choices))) < 2:
            raise ValueError(f"a categorical dimension needs two different choices; got {self.choices}")


@dataclass(frozen=True)
class Integer:
    """An integer in [low, high], on a logarithmic scale if `log`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Real:
    """A real number in [low, high], on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, log=self.log)


Dimension = Categorical | Integer | Real


def _check_range(low: float, high: float, *, log: bool) -> None:
    if not low < high:
        raise ValueError(f"a range needs low < high; got {low} and {high}")
    if math.inf in (-low, high):
        raise ValueError(f"both ends of a range must be finite; got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low > 0; got {low}")
