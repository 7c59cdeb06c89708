"""Samplers for a search, one per private module, registered under Optuna's names for them.

Importing a module here does not import Optuna: a sampler is built when a search starts.
"""

from ablations.search.samplers.base import Sampler

__all__ = ["Sampler"]
