"""Control arms, as transformations of an AiM arm that remove what is to be explained; one private file per control.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.controls.base import Control

__all__ = ["Control"]
