"""Controls: transformations that remove one suspected cause of an effect from an AiM arm; one private file per control.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.controls.base import Control

__all__ = ["Control"]
