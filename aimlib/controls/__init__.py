"""Controls: transformations that remove from an AiM arm what is to be explained; one private file per control.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.controls.base import Control

__all__ = ["Control"]
