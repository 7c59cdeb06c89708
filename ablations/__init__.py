"""Studies on Ray Tune: every `ablate` command is a function here, with the same name and arguments.

``ablations.run(study)`` computes a study and returns a `SessionResult` with the study's results and findings. A study
is a file, a mapping of keys, or an `ablations.Study`. `docs/commands.md` shows commands and functions side by side.
Everything is imported on first use, because some of it imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import aimlib  # noqa: F401 -- makes `ablations.launch` and other modules that were moved available

if TYPE_CHECKING:
    from ablations.commands import data
    from ablations.commands.across import across
    from ablations.commands.archive import archive
    from ablations.commands.browse import browse
    from ablations.commands.check import check
    from ablations.commands.doctor.machine import doctor
    from ablations.commands.init import init
    from ablations.commands.keys import keys
    from ablations.commands.logs import logs
    from ablations.commands.plan import plan
    from ablations.commands.plugins import plugins
    from ablations.commands.recompute import recompute
    from ablations.commands.report import report
    from ablations.commands.results import results
    from ablations.commands.run import run
    from ablations.commands.status import status
    from ablations.commands.studies import studies
    from ablations.commands.verify import verify
    from ablations.commands.watch import watch
    from ablations.execution.inference.exporting import export
    from ablations.execution.inference.features import features
    from ablations.execution.inference.kept import network
    from ablations.execution.inference.memory import memory
    from ablations.execution.inference.predicting import predict
    from ablations.sessions.result import SessionResult
    from ablations.spec.python_study import Study

__all__ = [
    "SessionResult",
    "Study",
    "across",
    "archive",
    "browse",
    "check",
    "data",
    "doctor",
    "export",
    "features",
    "init",
    "keys",
    "logs",
    "memory",
    "network",
    "plan",
    "plugins",
    "predict",
    "recompute",
    "report",
    "results",
    "run",
    "status",
    "studies",
    "verify",
    "watch",
]

_HOME = {
    "SessionResult": "ablations.sessions.result",
    "Study": "ablations.spec.python_study",
    "doctor": "ablations.commands.doctor.machine",
    "export": "ablations.execution.inference.exporting",
    "features": "ablations.execution.inference.features",
    "memory": "ablations.execution.inference.memory",
    "network": "ablations.execution.inference.kept",
    "predict": "ablations.execution.inference.predicting",
}
"""Modules that define the names that are not defined in the command module of the same name."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ablations' has no attribute {name!r}")
    module = importlib.import_module(_HOME.get(name, f"ablations.commands.{name}"))
    return module if name == "data" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
