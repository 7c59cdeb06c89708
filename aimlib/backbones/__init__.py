"""Networks that can have a memory, or serve as a baseline without memory; one private file per backbone.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.backbones.base import Backbone

__all__ = ["Backbone"]
