"""Study files as plain values: reading YAML strictly, merging layers, and overriding single keys."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aimlib.errors import ConfigError

_MOST_BYTES = 1_000_000
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_COMPONENTS = frozenset(
    {"backbone", "memory", "placement", "update", "control", "data", "optimizer", "schedule", "selection"}
)


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader with the scalars of YAML 1.2: `1e-3` is a number, `no` is text; keys are unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] in {"int", "null", "merge"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^[-+]?[0-9]+$"), list("-+0123456789"))
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises
    ------
    ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError([f"{path}: larger than {_MOST_BYTES // 1000} kB: not a study file"])
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError([f"{path}: a study is a mapping of keys to values, this file holds {type(content).__name__}"])
    return content


def parse(text: str, where: str) -> Any:
    """Return the value of a YAML text; `where` names it in messages."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError([f"{where}{line}: not valid YAML: {error.problem or error.context}"]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{where}: not valid YAML: {error}"]) from error


def merge(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the later layers laid over it, mapping by mapping; the arguments stay as they are.

    A component of another name replaces the one below it whole; the same name, or none, only changes options.
    """
    merged = copy.deepcopy(dict(base))
    for layer in layers:
        for key, value in layer.items():
            merged[key] = _merged(key, merged.get(key), value)
    return merged


def _merged(key: str, below: Any, above: Any) -> Any:
    if key in _COMPONENTS:
        below, above = _named(below), _named(above)
        if (
            isinstance(below, dict)
            and isinstance(above, dict)
            and above.get("name", below.get("name")) != below.get("name")
        ):
            return copy.deepcopy(above)
    if isinstance(below, dict) and isinstance(above, dict):
        return merge(below, above)
    return copy.deepcopy(above)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) and value != "none" else value


def has(document: Any, path: Iterable[str]) -> bool:
    """Tell whether `document` holds something at `path`."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def put(document: dict[str, Any], path: list[str], value: Any) -> None:
    """Set the value at `path` in place; a component given by name alone becomes a mapping that holds the name."""
    for key in path[:-1]:
        inner = document.get(key)
        if key in _COMPONENTS:
            inner = _named(inner)
        document[key] = inner if isinstance(inner, dict) else {}
        document = document[key]
    document[path[-1]] = value


def assignment(text: str) -> tuple[list[str], Any]:
    """Return path and value of an override ``key.path=value``, the value read as YAML.

    Raises
    ------
    ConfigError: not of that form.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError([f"--set {text}: give key.path=value, e.g. --set training.epochs=10"])
    return keys, parse(value, f"--set {path}")
