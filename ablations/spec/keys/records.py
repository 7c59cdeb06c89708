"""The keys of a study, in the order of the classes that read them, each with its type, default and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ablations.spec.keys.field_docstrings import first_paragraph
from ablations.spec.keys.generation import Classes, Component, Schema, classes
from ablations.spec.keys.words import value_text, words
from ablations.spec.study import StudySpec
from aimlib.config import ModelConfig, TrainingConfig
from aimlib.registry import datasets
from aimlib.training.own.config import OwnRunConfig, OwnTrainingConfig

REQUIRED = "required"
OWN_CODE = "with own training code (train)"
"""The section of keys that, in a study with `train`, replace the keys at the same path."""
_ARM = "arms.NAME"
_IN_IDS = frozenset(
    {
        *("base", "arms", "seeds", "protocol", "factors", "sources", "fixed_seed", "plugins", "train"),
        *(f"{_ARM}.{key}" for key in ("model", "data", "training", "options", "of", "control")),
        *("search.seeds", "search.training"),
    }
)
"""Study keys whose content becomes part of a run's configuration and therefore of its id."""


@dataclass(frozen=True)
class Key:
    """A key of a study, or a component that a study can name.

    Attributes
    ----------
    path : the key's place in a study, e.g. ``training.schedule.warmup_epochs``; a run's keys are in `base` or in an
        arm. NAME stands for the name of an arm.
    section : path of the mapping that contains the key, for a heading.
    component : name of the component to which this option belongs; empty for any other key.
    type : the possible values in words; for a component, its family.
    default : the default as written in a study, or ``required``; empty if omitting the key is not equivalent to any
        value.
    meaning : the key's effect, with its unit.
    in_run_id : whether a run's id depends on the value.
    source : origin of the idea behind a component.
    schema : JSON Schema of the values.
    """

    path: str
    section: str
    component: str = ""
    type: str = ""
    default: str = ""
    meaning: str = ""
    in_run_id: bool = True
    source: str = ""
    schema: Schema = field(default_factory=dict, repr=False, compare=False)

    @property
    def address(self) -> str:
        """The path including the name of the component: ``training.schedule.cosine.warmup_epochs``."""
        if not self.component:
            return self.path
        option = self.path.removeprefix(self.section)
        return f"{self.section}.{self.component}{option}"

    @property
    def is_component(self) -> bool:
        """Whether this is a component, not an option of a component."""
        return bool(self.component) and self.path == self.section


def records() -> tuple[Key, ...]:
    """Return every key of a study and its runs, and every installed component with its options."""
    known = classes()
    return (
        *_mapping(known, known.of(StudySpec), ""),
        *_mapping(known, known.of(ModelConfig), "model"),
        *_data(known),
        *_mapping(known, known.of(TrainingConfig), "training"),
        *_own_code(known),
    )


def _data(known: Classes) -> Iterator[Key]:
    schema = {"x-family": datasets.family, "x-optional": False}
    meaning = "The data set: a name, or a mapping with `name` and options."
    yield Key("data", "data", type=words(schema), default=REQUIRED, meaning=meaning, schema=schema)
    yield from _family(known, datasets.family, "data")


def _own_code(known: Classes) -> Iterator[Key]:
    yield from (replace(key, section=OWN_CODE) for key in _fields(known.of(OwnTrainingConfig), "training"))
    options = known.of(OwnRunConfig)["properties"]["options"]
    text = "mapping of names to values"
    yield Key("options", OWN_CODE, type=text, default="{}", meaning=options["description"], schema={"type": "object"})


def _mapping(known: Classes, schema: Schema, path: str) -> Iterator[Key]:
    """Yield the keys of a mapping, then the keys of nested mappings, then the components that its keys can name."""
    keys = list(_fields(schema, path))
    yield from keys
    for key in keys:
        if (name := known.referred(key.schema)) is not None:
            yield from _mapping(known, known.schemas[name], f"{key.path}.NAME" if key.path == "arms" else key.path)
    for key in keys:
        for family in _families(key.schema):
            yield from _family(known, family, key.path)


def _fields(schema: Schema, path: str) -> Iterator[Key]:
    needed = schema.get("required", ())
    for name, value in schema["properties"].items():
        at = f"{path}.{name}" if path else name
        yield Key(
            at,
            path,
            type=words(value),
            default=REQUIRED if name in needed else _default(value),
            meaning=value.get("description", ""),
            in_run_id=_in_run_id(at, value),
            schema=value,
        )


def _in_run_id(path: str, schema: Schema) -> bool:
    of_run = path.split(".", maxsplit=1)[0] in ("model", "data", "training", "options")
    return schema.get("identity", True) if of_run else path in _IN_IDS


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    default = schema["default"]
    if isinstance(default, dict) and "name" in default and len(default) == 1:
        return str(default["name"])
    return "" if isinstance(default, dict) and default and "$ref" in schema else value_text(default)


def _families(schema: Schema) -> list[str]:
    items = schema.get("items")
    ways: list[Any] = [schema, *schema.get("anyOf", ()), *([items] if isinstance(items, dict) else [])]
    return [way["x-family"] for way in ways if "x-family" in way]


def _family(known: Classes, family: str, path: str) -> Iterator[Key]:
    """Yield the components of a family, each before its options; options of a nested component are not repeated."""
    for each in known.components[family]:
        yield _component(each, path)
        if each.config is not None:
            options = _options(known, known.of(each.config), path)
            yield from (replace(key, section=path, component=each.name) for key in options)


def _options(known: Classes, schema: Schema, path: str) -> Iterator[Key]:
    for key in _fields(schema, path):
        yield key
        if (name := known.referred(key.schema)) is not None:
            yield from _options(known, known.schemas[name], key.path)


def _component(each: Component, path: str) -> Key:
    if each.cls is None:
        return Key(path, path, each.name, type=each.family.kind, meaning=each.problem)
    meaning, source = first_paragraph(each.cls), str(getattr(each.cls, "source", ""))
    return Key(path, path, each.name, type=each.family.kind, meaning=meaning, source=source)
