"""Optimizers, one private file per plugin.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.optimizers.base import OptimizerConfig, OptimizerPlugin

__all__ = ["OptimizerConfig", "OptimizerPlugin"]
