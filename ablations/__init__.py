"""Studies on Ray Tune: check, run, and what runs need.

``ablations.check``, ``ablations.run`` and ``ablations.doctor`` are the commands of the same names; they are
imported when they are first used, because they import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.checking import check
    from ablations.diagnosis import doctor
    from ablations.launch import run

__all__ = ["check", "doctor", "run"]

_HOME = {"check": "ablations.checking", "doctor": "ablations.diagnosis", "run": "ablations.launch"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ablations' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
