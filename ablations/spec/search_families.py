"""The plugin families of a search: samplers and pruners, by their Optuna names.

Third parties register plugins in the entry point groups ``aimlib.samplers`` and ``aimlib.pruners``.
`ablations.search.samplers` and `ablations.search.pruners` describe what a plugin must define.
"""

from __future__ import annotations

from aimlib.registry import Registry

samplers = Registry("samplers", "sampler", "ablations.search.samplers", ("build",), ("Sampler",))
pruners = Registry("pruners", "pruner", "ablations.search.pruners", ("build",), ("Pruner",))

FAMILIES = (samplers, pruners)
