"""The options of a configuration that decide how numbers are rounded, besides what is computed."""

from __future__ import annotations

from typing import Any

from aimlib.config import RunConfig

_FIELDS = ("precision", "tf32", "memory_format", "step")


def numerics_of(config: RunConfig) -> dict[str, Any]:
    """Return precision, tf32, memory_format and step of a run.

    A comparison of arms that differ in one of them is not a comparison of models alone.

    ``auto`` steps have the bits of ``eager`` ones, and have that name here.
    """
    found = {name: getattr(config.training, name) for name in _FIELDS}
    return {**found, "step": "eager" if found["step"] == "auto" else found["step"]}
