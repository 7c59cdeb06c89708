"""Rules that choose the epoch to report, one private file per plugin.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.selections.base import Selection, SelectionConfig

__all__ = ["Selection", "SelectionConfig"]
