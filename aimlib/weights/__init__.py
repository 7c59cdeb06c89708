"""Initial values from files: where the files are, what they contain, and whether they fit a network.

Importing this package does not import torch.
"""

from aimlib.weights.config import WeightsConfig

__all__ = ["WeightsConfig"]
