"""The plugin families of a search: samplers and pruners, by the names that Optuna gives them.

Third parties register plugins in the entry point groups ``aimlib.samplers`` and ``aimlib.pruners``. What a plugin must
define is described in `ablations.search.samplers` and `ablations.search.pruners`.
"""

from __future__ import annotations

from aimlib.registry import Registry

samplers = Registry("samplers", "sampler", "ablations.search.samplers", ("build",), ("Sampler",))
pruners = Registry("pruners", "pruner", "ablations.search.pruners", ("build",), ("Pruner",))

FAMILIES = (samplers, pruners)
