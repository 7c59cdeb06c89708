"""JSON Schemas for the classes that read a study, derived by pydantic, with the meaning of every field.

Four placeholders stand for content that is not known while classes are being defined. They are filled in here or in
`study_schema`: ``x-family`` stands for a component of a family, ``x-run`` for changes to a part of a run, ``x-factors``
for the factors, and ``x-names`` for an enumeration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from ablations.spec import search_families
from ablations.spec.keys.field_docstrings import field_docstrings, first_paragraph
from ablations.spec.study import StudySpec
from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig, TrainingConfig
from aimlib.errors import PluginError
from aimlib.records import ROLES
from aimlib.registry import FAMILIES, Registry
from aimlib.training.own.config import OwnRunConfig, OwnTrainingConfig
from aimlib.training.protocols import PROTOCOLS

Schema = dict[str, Any]
REFERENCE = "#/$defs/"
_DECLARED_ELSEWHERE = {"model": {"control"}}
"""Options that a study sets outside this part of a run: `control` stands next to `of` in an arm."""


class _WithMeanings(GenerateJsonSchema):
    """pydantic's generator, extended with the docstrings of fields; where there is no schema, any value is allowed."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a class, with the meaning of each key."""
        found = super().model_schema(schema)
        cls = schema["cls"]
        meanings = field_docstrings(cls)
        for name, key in found.get("properties", {}).items():
            key.pop("title", None)
            if name in meanings:
                key.setdefault("description", meanings[name])
        found.pop("title", None)
        found["description"] = first_paragraph(cls)
        return found

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        """Return the schema that allows any value."""
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Ignore defaults that JSON cannot hold."""


@dataclass(frozen=True)
class Component:
    """A plugin in a family: its class, or the reason why it cannot be imported."""

    family: Registry
    name: str
    cls: type | None
    problem: str = ""

    @property
    def config(self) -> type[ComponentConfig] | None:
        """The class of the plugin's options."""
        return None if self.cls is None else self.cls.Config  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Classes:
    """All classes that read a study, and their schemas.

    Attributes
    ----------
    schemas : JSON Schemas by name; a ``$ref`` is `REFERENCE` followed by this name.
    names : the name of each class.
    components : components by family.
    """

    schemas: Mapping[str, Schema]
    names: Mapping[type, str]
    components: Mapping[str, tuple[Component, ...]]

    def of(self, cls: type) -> Schema:
        """Return the schema of a class."""
        return self.schemas[self.names[cls]]

    def referred(self, schema: Schema) -> str | None:
        """Return the name of the class that reads a key's values; None if the values are not mappings."""
        ways = [schema, *schema.get("anyOf", ())]
        ways += [way["additionalProperties"] for way in ways if isinstance(way.get("additionalProperties"), dict)]
        ways += [way["items"] for way in ways if isinstance(way.get("items"), dict)]
        return next((str(way["$ref"]).removeprefix(REFERENCE) for way in ways if "$ref" in way), None)


def families() -> dict[str, Registry]:
    """Return the plugin families from which a study can choose, by family name."""
    return {family.family: family for family in (*FAMILIES, *search_families.FAMILIES)}


def component(family: Registry, name: str) -> Component:
    """Return a plugin with its class or, if the plugin cannot be imported, with the reason."""
    try:
        return Component(family, name, family.get(name))
    except PluginError as error:
        return Component(family, name, None, str(error))


def classes() -> Classes:
    """Return the classes that read a study, including every plugin installed or registered in this process."""
    found = {name: tuple(component(family, each) for each in family.names()) for name, family in families().items()}
    configs = [each.config for every in found.values() for each in every if each.config is not None]
    roots: list[type[BaseModel]] = [StudySpec, ModelConfig, TrainingConfig, OwnTrainingConfig, OwnRunConfig, *configs]
    return _generated(tuple(roots), tuple(found.items()))


@cache
def _generated(
    roots: tuple[type[BaseModel], ...], components: tuple[tuple[str, tuple[Component, ...]], ...]
) -> Classes:
    references, found = models_json_schema([(cls, "validation") for cls in roots], schema_generator=_WithMeanings)
    names = {cls: str(found_at["$ref"]).removeprefix(REFERENCE) for (cls, _), found_at in references.items()}
    by_config = {each.config: f"{name}.{each.name}" for name, every in components for each in every}
    renamed = {names[cls]: by_config[cls] for cls in names if cls in by_config}
    schemas = {renamed.get(name, name): _filled(schema, renamed) for name, schema in found["$defs"].items()}
    for option in _DECLARED_ELSEWHERE["model"]:
        schemas[names[ModelConfig]]["properties"].pop(option)
    return Classes(schemas, {cls: renamed.get(name, name) for cls, name in names.items()}, dict(components))


def _filled(node: Any, renamed: Mapping[str, str]) -> Any:
    """Return a schema with its enumerations filled in and its references to other schemas renamed."""
    if isinstance(node, list):
        return [_filled(item, renamed) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _filled(value, renamed) for key, value in node.items() if key != "x-names"}
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].removeprefix(REFERENCE)
        out["$ref"] = REFERENCE + renamed.get(name, name)
    if "x-names" in node:
        out["enum"] = list(_enumeration(node["x-names"]))
    return out


def _enumeration(kind: str) -> Iterable[str]:
    from analysis.looks import SPENDINGS  # noqa: PLC0415 -- pandas comes with the package
    from analysis.primary_measure import KNOWN  # noqa: PLC0415

    return {"roles": ROLES, "protocols": tuple(PROTOCOLS), "spendings": (*SPENDINGS, "pocock"), "measures": KNOWN}[kind]


__all__ = ["REFERENCE", "Classes", "Component", "Schema", "classes", "families"]
