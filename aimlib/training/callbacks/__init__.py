"""Callbacks: code that runs at events of training; one private file per plugin. `training.callbacks` lists a run's.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.training.callbacks.base import Callback, CallbackConfig, RunView

__all__ = ["Callback", "CallbackConfig", "RunView"]
