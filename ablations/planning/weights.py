"""The hash of a weight file, in an arm's document; the hash is part of run ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimlib.errors import ConfigError, UsageError
from aimlib.weights import files
from aimlib.weights.config import WeightsConfig


def resolved(document: dict[str, Any]) -> dict[str, Any]:
    """Return an arm's merged document with the hash of its weight file and torchvision's exact name.

    Raises
    ------
    ConfigError: the file is missing or is not the specified one.
    """
    model = document.get("model")
    given = model.get("weights") if isinstance(model, Mapping) else None
    if given in (None, "none"):
        return document
    assert isinstance(model, Mapping)
    try:
        found = files.resolved(WeightsConfig.parse(given, "model.weights"), _architecture(model.get("backbone")))
    except ConfigError:
        raise
    except UsageError as error:
        raise ConfigError([f"model.weights: {error}"]) from error
    return {**document, "model": {**model, "weights": found.model_dump(mode="json", exclude_defaults=True)}}


def _architecture(backbone: Any) -> str:
    """Return torchvision's name for a backbone, or else the backbone's own name."""
    if not isinstance(backbone, Mapping):
        return str(backbone)
    return str(backbone.get("architecture") or backbone.get("name"))
