"""Study files as plain values: reading YAML strictly, merging layers, and overriding single keys."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from aimlib.errors import ConfigError
from aimlib.paths import read_file

_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000  # with all aliases expanded
_COMPONENTS = frozenset(
    {"backbone", "memory", "placement", "update", "control", "data", "optimizer", "schedule", "selection", "loss"}
)
_LISTED = frozenset({"transforms", "callbacks"})
"""Keys whose values are lists of components."""
_KINDS: dict[type, str] = {list: "a list", type(None): "nothing"}
_PLAIN = (str, int, float, type(None))
_SCALARS = {  # YAML 1.2, core schema; resolvers are looked up by first character
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": ("<<", ["<"]),
}


_MERGE = "tag:yaml.org,2002:merge"


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2: `1e-3` is a number, and `no` is text. Keys must be unique."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        seen: dict[Any, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                value = key.value if key.tag == _MERGE else self.construct_object(key)
                if value in seen:
                    raise yaml.composer.ComposerError(None, None, _given_twice(key, seen[value]), key.start_mark)
                seen[value] = key
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)


def _given_twice(key: yaml.ScalarNode, before: yaml.ScalarNode) -> str:
    line = before.start_mark.line + 1
    if key.value == before.value:
        return f"key {key.value!r} is given twice, first on line {line}"
    return f"key {key.value!r} is given a second time: it equals {before.value!r} on line {line}"


_StrictLoader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _SCALARS.items():
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_pattern})$"), _first)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises
    ------
    ConfigError: there is no such file, it is not YAML, or it is not a mapping.
    """
    if path.suffix == ".py":
        raise ConfigError(
            [
                f"{path}: is a Python file, not a study; run it with `python {path}`, or add it to a study: plugins: "
                f"[{path.name}]"
            ]
        )
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8: {error}; save it as UTF-8"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}; pass a study file"]) from error
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(
            [
                f"{path}: a study is a mapping from keys to values, but this file contains "
                f"{_KINDS.get(type(content), 'a single value')}; write keys, such as name: my_study"
            ]
        )
    return content


def parse(text: str, where: str) -> Any:
    """Parse a YAML text into plain values, as in JSON. `where` identifies the text in messages.

    Raises
    ------
    ConfigError: the text is not YAML, contains a tag, or contains a value that cannot be written without aliases.
    """
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        found, remedy = _explained(str(error.problem or error.context))
        raise ConfigError([f"{where}{line}: not valid YAML: {found}; {remedy}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{where}: not a study: its values are nested too deeply; remove levels"]) from error
    except (yaml.YAMLError, ValueError) as error:
        found, remedy = _explained(" ".join(str(error).split()))
        raise ConfigError([f"{where}: not valid YAML: {found}; {remedy}"]) from error
    _refuse_unplain(content, where)
    _refuse_tuples(content, where)
    return content


def _explained(problem: str) -> tuple[str, str]:
    """Return a problem in the terms used for studies, and what to do about it."""
    for part, said, remedy in _REMEDIES:
        if part in problem:
            return problem.replace(part, said), remedy
    return problem, _CORRECT


_CORRECT = "correct this place"
_REMEDIES = (
    (
        "could not determine a constructor for the tag",
        "it has the tag",
        "tags are not used in studies; write a plain value",
    ),
    *(
        (part, part, remedy)
        for part, remedy in (
            ("another document", "a file contains one study; remove the line '---' and what follows"),
            ("unhashable key", "a key must be plain text; put the braces of a template in quotes"),
            ("is given twice", "keep one of them"),
            ("is given a second time", "rename one of them"),
            ("special characters are not allowed", "remove the character, or save the file as plain UTF-8 text"),
            ("Exceeds the limit (4300 digits) for integer", "use a smaller number"),
            ("undefined alias", "define the anchor before it, or put a value that begins with '*' in quotes"),
            ("but found '<block mapping start>'", "indent this line like the others at its level"),
            (
                "expected <block end>",
                "indent this line like the others at its level, and close every bracket and quote",
            ),
            ("could not find expected ':'", "write key: value, with a colon and a space"),
            ("mapping values are not allowed", "put a value that contains a colon in quotes, or begin a new line"),
            ("', but got '?'", "put text that contains a question mark in quotes"),
            (
                "', but got ':'",
                "close the bracket that was opened before this place, or put text that contains a colon in quotes",
            ),
            ("expected ',' or", "close the bracket that was opened before this place, or add a comma"),
            ("cannot start any token", "indent with spaces, and put a value that begins with this character in quotes"),
        )
    ),
)
"""Parts of PyYAML's messages, the wording for users that replaces them, and what to do."""


def _refuse_unplain(content: Any, where: str) -> None:
    """Raise an error for values that need a tag, and for aliases that are recursive or expand to too many values."""
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ConfigError(
                [
                    f"{where}: not a study: with its aliases expanded, it has more than {_MOST_VALUES} values; "
                    f"write fewer"
                ]
            )
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif not isinstance(value, _PLAIN):
            raise ConfigError([f"{where}: {value!r}: tags are not used in studies; write a plain value"])


def _refuse_tuples(content: Any, where: str, path: str = "") -> None:
    """Raise an error for ``{widths: (4, 8, 8)}`` and ``{widths: range(4, 8)}``, which YAML splits at the commas."""
    if isinstance(content, list):
        for number, item in enumerate(content):
            _refuse_tuples(item, where, f"{path}[{number}]")
    if not isinstance(content, dict):
        return
    items = list(content.items())
    for number, (key, value) in enumerate(items):
        _refuse_tuples(value, where, _below(path, key))
        if not (isinstance(value, str) and _CALL.fullmatch(value)):
            continue
        rest = list(itertools.takewhile(lambda item: item[1] is None, items[number + 1 :]))
        parts = [value, *(str(each) for each, _ in rest)]
        ends = next((index for index, part in enumerate(parts) if part.endswith(")")), None)
        if ends is not None:
            raise ConfigError([f"{where}: {_below(path, key)}: {_divided(', '.join(parts[: ends + 1]))}"])


_CALL = re.compile(r"[\w.]*\([^)]*")
"""The beginning of a tuple or of a call, up to a comma."""


def _divided(text: str) -> str:
    """Return the message about a tuple or a call that YAML splits at its commas."""
    if text.startswith("("):
        return f"{text} is not a list in YAML; write a list as [{text[1:-1]}]"
    return f"{text} is not one value in YAML, which splits it at the comma; put it in quotes, or write a list as [1, 2]"


def plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of Python values as a study file represents them: tuples as lists, NumPy numbers as Python numbers.

    Raises
    ------
    ConfigError: there are values that a study file cannot contain; there is one message for each.
    """
    problems: list[str] = []
    try:
        found = _plain("", content, problems)
    except RecursionError:
        raise ConfigError(["not a study: its values are nested too deeply; remove levels"]) from None
    if problems:
        raise ConfigError(problems)
    assert isinstance(found, dict)
    return found


def _plain(path: str, value: Any, problems: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {_plain(path, key, problems): _plain(_below(path, key), item, problems) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(f"{path}[{number}]", item, problems) for number, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, _PLAIN):
        return _of_python(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    problems.append(f"{path}: {_unplain(value)}")
    return None


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _of_python(value: Any) -> Any:
    """Convert the value to one of the basic types; a subclass, such as an enumeration, may print differently."""
    basic = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return value if basic is None else basic(value)


def _unplain(value: Any) -> str:
    if isinstance(value, type):
        name = getattr(value, "component", "") or "my_part"
        return f"a class, {value.__qualname__}; use the name under which it is registered, e.g. {name!r}"
    if isinstance(value, (set, frozenset)):
        return f"a set, which has no order: {value!r}; use a list"
    return (
        f"{value!r}: a study contains text, numbers, true and false, lists and mappings; use one of these instead of "
        f"{type(value).__name__}"
    )


def dump(content: Mapping[str, Any]) -> str:
    """Return plain values as YAML text from which `parse` reads the same values."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper without aliases, which quotes texts that YAML 1.1 or 1.2 would read as other values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = {
    key: [*yaml.SafeDumper.yaml_implicit_resolvers.get(key, ()), *_StrictLoader.yaml_implicit_resolvers.get(key, ())]
    for key in {*yaml.SafeDumper.yaml_implicit_resolvers, *_StrictLoader.yaml_implicit_resolvers}
}


def merge(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the later layers over `base`, mapping by mapping, and return the result; the arguments are not changed.

    A component with a different name replaces the earlier component entirely. With the same name or without a name, it
    only changes the earlier component's options.
    """
    merged = copy.deepcopy(dict(base))
    for layer in layers:
        for key, value in layer.items():
            merged[key] = (_plainly if key == "options" else partial(_merged, key))(merged.get(key), value)
    return merged


def _plainly(below: Any, above: Any) -> Any:
    """Merge options for a study's own training code, in which a key such as ``optimizer`` is not a component."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return copy.deepcopy(above)
    return {**below, **{key: _plainly(below.get(key), value) for key, value in above.items()}}


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


def is_component(key: str) -> bool:
    """Return whether the value of a key is a component, given by name or as a mapping with its name."""
    return key in _COMPONENTS


def has_components(key: str) -> bool:
    """Return whether the value of a key is a component or a list of components."""
    return key in _COMPONENTS or key in _LISTED


def is_option(path: list[str]) -> bool:
    """Return whether a key path belongs to an option of a component, e.g. ``model.memory.channels``."""
    return len(path) > 1 and path[-2] in _COMPONENTS


def is_nothing(value: Any) -> bool:
    """Return whether a value omits a part, such as ``memory: none``."""
    return value in (None, "none", {"name": "none"})


def is_left_out(document: Any, path: Sequence[str]) -> bool:
    """Return whether `document` omits a part to which the option at `path` belongs."""
    return any(
        has(document, path[:length]) and is_nothing(value_at(document, path[:length])) for length in range(1, len(path))
    )


def has(document: Any, path: Iterable[str]) -> bool:
    """Return whether `document` has a value at `path`."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def value_at(document: Any, path: Iterable[str]) -> Any:
    """Return the value at `path`, which must exist according to `has`."""
    for key in path:
        document = document[key]
    return document


def put(document: dict[str, Any], path: list[str], value: Any) -> None:
    """Set the value at `path` in place, as a copy; a component given only by name becomes a mapping with the name."""
    for key in path[:-1]:
        inner = document.get(key)
        if key in _COMPONENTS:
            inner = _named(inner)
        document[key] = inner if isinstance(inner, dict) else {}
        document = document[key]
    document[path[-1]] = copy.deepcopy(value)


def assignment(text: str) -> tuple[list[str], Any]:
    """Return the path and the value in an override ``key.path=value``; the value is read as YAML.

    Raises
    ------
    ConfigError: the text does not have this form.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError([f"--set {text}: no key with a value; write key.path=value, e.g. --set training.epochs=10"])
    return keys, parse(value, f"--set {path}")
