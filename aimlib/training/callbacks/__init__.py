"""Callbacks: code that runs at training events, one private file per plugin; `training.callbacks` lists those of a run.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.callbacks.base import Callback, CallbackConfig, RunView

__all__ = ["Callback", "CallbackConfig", "RunView"]
