"""Pruners for a search, one per private module, registered under Optuna's names for them.

Importing a module here does not import Optuna: a pruner is built when a search starts.
"""

from ablations.search.pruners.base import Pruner, PrunerConfig

__all__ = ["Pruner", "PrunerConfig"]
