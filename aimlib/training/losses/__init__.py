"""Losses, one private file per plugin; by default, the loss is the cross-entropy.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.losses.base import Loss, LossConfig

__all__ = ["Loss", "LossConfig"]
