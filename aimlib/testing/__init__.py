"""Conformance tests that plugin authors subclass, one class per family.

>>> from aimlib.testing import PlacementConformance
>>> class TestMyPlacement(PlacementConformance):
...     name = "my_placement"

pytest collects the subclass and runs all tests of the base class on the plugin that is registered under `name`, with
the given `options`. Importing this package does not import torch; the first use of a class does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aimlib.testing.augmentations import AugmentationConformance
    from aimlib.testing.backbones import BackboneConformance
    from aimlib.testing.callbacks import CallbackConformance
    from aimlib.testing.controls import ControlConformance
    from aimlib.testing.datasets import DatasetConformance
    from aimlib.testing.losses import LossConformance
    from aimlib.testing.memories import MemorySourceConformance
    from aimlib.testing.optimizers import OptimizerConformance
    from aimlib.testing.placements import PlacementConformance
    from aimlib.testing.schedules import ScheduleConformance
    from aimlib.testing.selections import SelectionConformance
    from aimlib.testing.trainers import TrainerConformance
    from aimlib.testing.updates import UpdateConformance

__all__ = [
    "AugmentationConformance",
    "BackboneConformance",
    "CallbackConformance",
    "ControlConformance",
    "DatasetConformance",
    "LossConformance",
    "MemorySourceConformance",
    "OptimizerConformance",
    "PlacementConformance",
    "ScheduleConformance",
    "SelectionConformance",
    "TrainerConformance",
    "UpdateConformance",
]

_HOMES = {
    "AugmentationConformance": "augmentations",
    "BackboneConformance": "backbones",
    "CallbackConformance": "callbacks",
    "ControlConformance": "controls",
    "DatasetConformance": "datasets",
    "LossConformance": "losses",
    "MemorySourceConformance": "memories",
    "OptimizerConformance": "optimizers",
    "PlacementConformance": "placements",
    "ScheduleConformance": "schedules",
    "SelectionConformance": "selections",
    "TrainerConformance": "trainers",
    "UpdateConformance": "updates",
}


def __getattr__(name: str) -> Any:
    """Import the module of a conformance class on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
