"""A JSON Schema (draft 2020-12) for a whole study, for editors that complete and check YAML.

Everything in a study is a change: a base is merged over a protocol, and an arm is merged over the base. Therefore, no
option of a run is required, and a component may be changed without its name. A study with the user's own code
(`plugins` or `train`) may name components that are not in the schema. Definitions that refer to components, directly or
indirectly, have a second version for such studies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import aimlib
from ablations.spec.keys.generation import REFERENCE, Classes, Schema, classes
from ablations.spec.keys.records import OWN_CODE, Key, records
from ablations.spec.levels import RUN_KEYS
from aimlib.registry import DISTRIBUTION

_OPEN = ".own_code"
"""Suffix of the definitions for studies with the user's own code."""
_KEEP_REQUIRED = frozenset({"StudySpec", "SearchSpec"})
_MARKS = ("x-family", "x-run", "x-factors")
_CODE = ("plugins", "train")
_OF_RUN = r"^(model|data|training)(\.|$)"


def study_schema() -> Schema:
    """Return the JSON Schema for a study that uses the installed components."""
    known = classes()
    definitions: Schema = {}
    reaching = _reaching(known.schemas)
    keys = [key for key in records() if key.section != OWN_CODE]
    for is_open in (False, True):
        builder = _Builder(known, keys, reaching, is_open)
        definitions |= builder.definitions()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A study of {DISTRIBUTION} {aimlib.__version__}",
        "type": "object",
        "if": {"anyOf": [{"required": [key]} for key in _CODE]},
        "then": {"$ref": f"{REFERENCE}StudySpec{_OPEN}"},
        "else": {"$ref": f"{REFERENCE}StudySpec"},
        "$defs": definitions,
    }


def _reaching(schemas: Mapping[str, Schema]) -> frozenset[str]:
    """Return the definitions that refer to a component, directly or indirectly."""
    found: set[str] = set()
    while True:
        more = {name for name, schema in schemas.items() if _reaches(schema, found)} - found
        if not more:
            return frozenset(found)
        found |= more


def _reaches(node: Any, found: Iterable[str]) -> bool:
    if isinstance(node, list):
        return any(_reaches(item, found) for item in node)
    if not isinstance(node, dict):
        return False
    if any(mark in node for mark in _MARKS) or str(node.get("$ref", "")).removeprefix(REFERENCE) in found:
        return True
    return any(_reaches(item, found) for item in node.values())


class _Builder:
    """Fills in the placeholders in the schemas, in one of the two versions.

    Parameters
    ----------
    keys : all keys of a study, some of which can be factors.
    reaching : names of the schemas that have two versions.
    is_open : whether components that are not installed are allowed.
    """

    def __init__(self, known: Classes, keys: list[Key], reaching: frozenset[str], is_open: bool) -> None:
        self._known = known
        self._keys = keys
        self._reaching = reaching
        self._is_open = is_open
        self._ending = _OPEN if is_open else ""

    def definitions(self) -> Schema:
        """Return this version's definitions; the closed version includes the definitions that have only one version."""
        found: Schema = {}
        for name, schema in self._known.schemas.items():
            if name in self._reaching or not self._is_open:
                found[name + (self._ending if name in self._reaching else "")] = self._definition(name, schema)
        found |= {f"{family}{self._ending}": self._family(family) for family in self._known.components}
        found[f"run{self._ending}"] = _mapping({key: self._part(key) for key in RUN_KEYS})
        found[f"factors{self._ending}"] = self._factors()
        return found

    def _definition(self, name: str, schema: Schema) -> Schema:
        found: Schema = {key: self._filled(value) for key, value in schema.items() if key != "required"}
        if name in _KEEP_REQUIRED:
            found["required"] = schema["required"]
        family, _, component = name.partition(".")
        if component and family in self._known.components:
            found["properties"] = {"name": {"const": component}, **found["properties"]}
            found["required"] = ["name"]
        return found

    def _filled(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._filled(item) for item in node]
        if not isinstance(node, dict):
            return node
        found = {key: self._filled(value) for key, value in node.items() if key not in (*_MARKS, "x-optional")}
        found.pop("identity", None)
        if "$ref" in node:
            found["$ref"] = self._referred(node["$ref"].removeprefix(REFERENCE))["$ref"]
        if "x-family" in node:
            found |= self._component(node["x-family"], node["x-optional"])
        if "x-run" in node:
            found |= self._changes(node["x-run"])
        if "x-factors" in node:
            found |= self._version("factors")
        return found

    def _referred(self, name: str) -> Schema:
        return self._version(name) if name in self._reaching else {"$ref": REFERENCE + name}

    def _version(self, name: str) -> Schema:
        return {"$ref": f"{REFERENCE}{name}{self._ending}"}

    def _part(self, path: str) -> Schema:
        """Return the schema of a part of a run."""
        if path == "options":
            return {"type": "object"}
        if path == "data":
            return self._component("datasets", optional=False)
        named = self._version({"model": "ModelConfig", "training": "TrainingConfig"}[path])
        return {"anyOf": [named, {"type": "null"}]} if self._is_open else named

    def _changes(self, path: str) -> Schema:
        if not path:
            return self._version("run")
        part = self._part(path)
        return {"type": "object", "allOf": [part]} if path == "data" else part

    def _component(self, family: str, optional: bool) -> Schema:
        named = self._version(family)
        if not optional:
            return named
        return {"anyOf": [named, {"enum": [None, "none"]}, _mapping({"name": {"const": "none"}})]}

    def _family(self, family: str) -> Schema:
        """Return the schema of a component: its name, or a mapping with its options and, optionally, its name."""
        every = self._known.components[family]
        names = [each.name for each in every]
        ways = [self._referred(f"{family}.{each.name}") for each in every if each.config is not None]
        ways += [_named(each.name) for each in every if each.config is None]
        if self._is_open:
            foreign = {"type": "object", "required": ["name"], "properties": {"name": {"not": {"enum": names}}}}
            nameless: Schema = {"type": "object", "not": {"required": ["name"]}}
            return {"anyOf": [{"enum": names}, {"type": "string"}, *ways, foreign, nameless]}
        options: dict[str, list[Schema]] = defaultdict(list)
        for each in every:
            if each.config is not None:
                for option, value in self._known.of(each.config)["properties"].items():
                    options[option].append(value)
        changes = _mapping({name: self._filled(_any_of(values)) for name, values in options.items()})
        return {"anyOf": [{"enum": names}, *ways, {**changes, "not": {"required": ["name"]}}]}

    def _factors(self) -> Schema:
        changes = {"type": "object", "minProperties": 1, "additionalProperties": self._version("run")}
        values: dict[str, list[Schema]] = defaultdict(list)
        for key in self._keys:
            if key.path.split(".")[0] in RUN_KEYS and not key.is_component:
                values[key.path].append(key.schema)
            if key.is_component:
                values[f"{key.path}.name"].append({"const": key.component})
        properties = {
            path: {"anyOf": [{"type": "array", "minItems": 1, "items": self._filled(_any_of(every))}, changes]}
            for path, every in values.items()
        }
        of_options = {"anyOf": [{"type": "array", "minItems": 1}, changes]}
        found: Schema = {"type": "object", "patternProperties": {r"^options(\.|$)": of_options}}
        if self._is_open:  # options of components that are not known here
            return found | {"additionalProperties": of_options}
        known = {"anyOf": [{"enum": list(properties)}, {"not": {"pattern": _OF_RUN}}]}
        return found | {"properties": properties, "propertyNames": known, "additionalProperties": changes}


def _mapping(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _named(name: str) -> Schema:
    return {"type": "object", "required": ["name"], "properties": {"name": {"const": name}}}


def _any_of(ways: list[Schema]) -> Schema:
    """Return the schema of a key that several components share, without the texts in which they differ."""
    found: list[Schema] = []
    for way in ways:
        plain = {key: value for key, value in way.items() if key not in ("description", "default")}
        found += [plain] if plain not in found else []
    return found[0] if len(found) == 1 else {"anyOf": found}
