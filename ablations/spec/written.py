"""How a key may be written in a study file, where that is more than the type as which it is read.

These annotations are for the reference of keys (`ablations.spec.keys`) and for the JSON Schema of a study. They change
nothing of what a study may contain: the validators decide that.
"""

from __future__ import annotations

from typing import Any

from pydantic import WithJsonSchema

TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
NULL: dict[str, Any] = {"type": "null"}


def as_any_of(*ways: dict[str, Any]) -> WithJsonSchema:
    """Annotate a key with the JSON Schemas of the ways in which it may be written."""
    return WithJsonSchema(ways[0] if len(ways) == 1 else {"anyOf": list(ways)}, mode="validation")


def one_of_names(kind: str) -> dict[str, Any]:
    """Return the place of an enumeration that `ablations.spec.keys.generation` fills in."""
    return {"x-names": kind}


def part_of_run(path: str = "") -> WithJsonSchema:
    """Annotate a mapping with changes to a run: to the part at `path`, or to all of it."""
    return as_any_of({"x-run": path})


ONE_OR_MORE = as_any_of(TEXT, TEXTS)
"""A text, or a list of texts."""
