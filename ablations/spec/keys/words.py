"""The type of a key in words, from its JSON Schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ablations.spec.keys.generation import Schema, families
from ablations.spec.levels import RUN_KEYS

_PLURALS = {"integer": "integers", "number": "numbers", "share": "shares", "text": "texts", "mapping": "mappings"}


def words(schema: Schema) -> str:
    """Return the possible values of a key in words, e.g. ``integer of at least 1, or null``."""
    if "x-family" in schema:
        family = families()[schema["x-family"]]
        names = ", ".join(family.names()) or "of your own"
        return f"{_a(family.kind)}: {names}" + (", or none" if schema["x-optional"] else "")
    if "anyOf" in schema:
        ways = [way for way in schema["anyOf"] if way.get("type") != "null"]
        null = len(ways) < len(schema["anyOf"])
        return ", or ".join([*dict.fromkeys(map(words, ways)), *(["null"] if null else [])])
    return _of_one_kind(schema)


def _of_one_kind(schema: Schema) -> str:
    for mark, said in _BY_KEYWORD.items():
        if mark in schema:
            return said(schema)
    return _BY_TYPE[schema.get("type", "any")](schema)


def _part_of_run(schema: Schema) -> str:
    return "mapping of options" if schema["x-run"] else f"mapping: {', '.join(RUN_KEYS)}"


def _list(schema: Schema) -> str:
    items: Schema = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = f"{least} " if least == most else ""
    if "x-family" in items or "anyOf" in items or "enum" in items:
        return f"list of {count}items, each {words(items)}"
    noun, bounds = _number(items) if items.get("type") in ("integer", "number") else (words(items), "")
    return f"list of {count}{_PLURALS.get(noun, 'values')} {bounds}".rstrip()


def _number(schema: Schema) -> tuple[str, str]:
    """Return the noun for a number, and its bounds in words."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    first, last = (low if above is None else above), (high if below is None else below)
    is_share = schema["type"] == "number" and first == 0 and last is not None and last <= 1
    noun = "share" if is_share else str(schema["type"])
    if first is None or last is None:
        texts = {"of at least": low, "above": above, "of at most": high, "below": below}
        return noun, " ".join(f"{word} {value_text(bound)}" for word, bound in texts.items() if bound is not None)
    end = value_text(last)
    if above is None:
        return noun, f"from {value_text(low)} to {end if below is None else f'below {end}'}"
    return noun, f"above {value_text(above)}{f', at most {end}' if below is None else f' and below {end}'}"


_BY_KEYWORD: dict[str, Callable[[Schema], str]] = {
    "x-run": _part_of_run,
    "x-factors": lambda _: "mapping from key paths to lists of levels, or from names to mappings of labels to changes",
    "enum": lambda schema: f"one of: {', '.join(map(value_text, schema['enum']))}",
    "const": lambda schema: value_text(schema["const"]),
    "$ref": lambda _: "mapping",
}
_BY_TYPE: dict[str, Callable[[Schema], str]] = {
    "array": _list,
    "integer": lambda schema: " ".join(_number(schema)).rstrip(),
    "number": lambda schema: " ".join(_number(schema)).rstrip(),
    "object": lambda _: "mapping",
    "string": lambda _: "text",
    "boolean": lambda _: "true or false",
    "any": lambda _: "any value",
}


def value_text(value: Any) -> str:
    """Return a value as written in a study."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) + "}"
    return str(value) or '""'


def _a(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
