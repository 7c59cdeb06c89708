"""Optimizers, one private file per plugin.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.training.optimizers.base import OptimizerConfig, OptimizerPlugin

__all__ = ["OptimizerConfig", "OptimizerPlugin"]
