"""Networks with memory (AiM), their data and their training.

Importing this package is cheap and does not import torch. Programs that only read results or list plugins use
`aimlib.config`, `aimlib.records`, `aimlib.registry` and `aimlib.seeding`. The subpackages build and train networks, and
import torch.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.1.0"

MOVED = {
    "aimlib.attachment": "aimlib.memory.attach",
    "aimlib.datasets.decode": "aimlib.datasets.decoding",
    "aimlib.dimensions": "aimlib.component",
    "aimlib.initialization": "aimlib.memory.initialization",
    "aimlib.memory.places": "aimlib.memory.update_points",
    "aimlib.objects": "aimlib.object_store",
    "aimlib.places": "aimlib.paths",
    "aimlib.sharing": "aimlib.paths",
    "aimlib.starts": "aimlib.weights.starts",
    "aimlib.training.checkpoints": "aimlib.training.checkpointing",
    "aimlib.training.generators": "aimlib.training.rng_state",
    "aimlib.training.isolation": "aimlib.training.reproducibility",
    "aimlib.training.keeper": "aimlib.training.checkpoint_manager",
    "aimlib.training.stopping": "aimlib.training.early_stopping",
    "ablations.launch": "ablations.sessions.launch",
    "ablations.loopback": "ablations.execution.ray.loopback",
    "ablations.sight": "ablations.progress",
    "ablations.sight.snapshot": "ablations.progress.snapshot",
    "ablations.sight.watching": "ablations.progress.monitor",
    "ablations.spec.seeds": "ablations.spec.levels",
    "ablations.tokens": "ablations.execution.ray.auth",
    "analysis.audit": "analysis.claims.audit",
    "analysis.query": "analysis.reading.query",
    "analysis.statistics.sequential": "analysis.looks.sequential",
}
"""Current module names, keyed by the earlier names that documentation and plugins may still use for the modules."""


class _MovedModules:
    """A finder and loader that imports a moved module under its old name, with a warning.

    The class does not use the base classes in `importlib.abc`, because importing that module takes longer than
    everything else here.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec only for the modules in `MOVED`."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module object."""

    def exec_module(self, module: ModuleType) -> None:
        """Replace the created module with the moved one, so that the moved module does not exist twice."""
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}; import that", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(MOVED[old])


# The finder comes first; otherwise, Python would find the modules of a moved package a second time, by its path.
sys.meta_path.insert(0, _MovedModules())
