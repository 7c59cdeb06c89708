"""Notations that a study file accepts for a key in addition to the key's type.

These annotations are for the key reference (`ablations.spec.keys`) and for the JSON Schema of a study. They do not
affect what a study may contain; the validators decide that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
NULL: dict[str, Any] = {"type": "null"}


@dataclass(frozen=True, eq=False, repr=False)
class Written:
    """Annotation of a key whose JSON Schema is `schema`; pydantic's own annotation would clutter signatures."""

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return `schema` instead of the schema of the key's type."""
        return copy.deepcopy(self.schema)

    def __repr__(self) -> str:
        return "Written()"


def as_any_of(*ways: dict[str, Any]) -> Written:
    """Annotate a key with the JSON Schemas of its allowed notations."""
    return Written(ways[0] if len(ways) == 1 else {"anyOf": list(ways)})


def one_of_names(kind: str) -> dict[str, Any]:
    """Return the placeholder of an enumeration that `ablations.spec.keys.generation` fills in."""
    return {"x-names": kind}


def part_of_run(path: str = "") -> Written:
    """Annotate a mapping of changes to a run, either to the part at `path` or to the entire run."""
    return as_any_of({"x-run": path})


ONE_OR_MORE = as_any_of(TEXT, TEXTS)
"""A text, or a list of texts."""
