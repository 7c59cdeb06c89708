"""Networks that can have a memory, or serve as a baseline without one; one private file per backbone.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.backbones.base import Backbone

__all__ = ["Backbone"]
