"""Networks that can have memory, or serve as baseline without it; one private file per backbone.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.backbones.base import Backbone

__all__ = ["Backbone"]
