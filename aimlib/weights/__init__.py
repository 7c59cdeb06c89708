"""Initial values from files: where they are, what they contain, and whether they fit a network.

Importing this package imports no torch.
"""

from aimlib.weights.config import WeightsConfig

__all__ = ["WeightsConfig"]
