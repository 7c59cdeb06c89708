"""Studies on Ray Tune: check, run, and what runs need.

``ablations.check``, ``plan``, ``run``, ``logs``, ``verify`` and ``doctor`` are the commands of the same names, with the
same arguments; they are imported when they are first used, because they import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import aimlib  # noqa: F401 -- it finds `ablations.launch` and other modules that were moved

if TYPE_CHECKING:
    from ablations.commands.check import check
    from ablations.commands.doctor.machine import doctor
    from ablations.commands.logs import logs
    from ablations.commands.plan import plan
    from ablations.commands.verify import verify
    from ablations.execution.inference.exporting import export
    from ablations.execution.inference.features import features
    from ablations.execution.inference.kept import network
    from ablations.execution.inference.memory import memory
    from ablations.execution.inference.predicting import predict
    from ablations.sessions.launch import run

__all__ = ["check", "doctor", "export", "features", "logs", "memory", "network", "plan", "predict", "run", "verify"]

_HOME = {
    "check": "ablations.commands.check",
    "doctor": "ablations.commands.doctor.machine",
    "export": "ablations.execution.inference.exporting",
    "features": "ablations.execution.inference.features",
    "logs": "ablations.commands.logs",
    "memory": "ablations.execution.inference.memory",
    "network": "ablations.execution.inference.kept",
    "plan": "ablations.commands.plan",
    "predict": "ablations.execution.inference.predicting",
    "run": "ablations.sessions.launch",
    "verify": "ablations.commands.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ablations' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
