"""The configuration options that determine how numbers are rounded, rather than what is computed."""

from __future__ import annotations

from typing import Any

from aimlib.config import RunConfig

_FIELDS = ("precision", "tf32", "memory_format", "step")


def numerics_of(config: RunConfig) -> dict[str, Any]:
    """Return a run's options precision, tf32, memory_format and step.

    If arms differ in any of these options, comparing them is not only a comparison of models.

    ``auto`` steps compute the same bits as ``eager`` steps, and are called ``eager`` here.
    """
    found = {name: getattr(config.training, name) for name in _FIELDS}
    return {**found, "step": "eager" if found["step"] == "auto" else found["step"]}
