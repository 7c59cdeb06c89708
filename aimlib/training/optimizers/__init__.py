"""How parameters are changed; one private file per optimizer."""

from aimlib.training.optimizers._adam import Adam
from aimlib.training.optimizers._adamw import AdamW
from aimlib.training.optimizers._sgd import Sgd
from aimlib.training.optimizers.base import OptimizerPlugin

__all__ = ["Adam", "AdamW", "OptimizerPlugin", "Sgd"]
