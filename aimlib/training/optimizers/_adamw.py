"""AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from typing import ClassVar

from aimlib.component import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers._adam import Adam, DecoupledAsTheyLie, DecoupledUncorrectedOnDevice
from aimlib.training.optimizers.base import NonNegative


@optimizers.register("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    source = "Loshchilov and Hutter, 2019: decoupled weight decay"
    search_space: ClassVar[dict[str, Dimension]] = {
        "learning_rate": Real(1e-5, 1e-2, log=True),
        "weight_decay": Real(1e-4, 0.3, log=True),
    }
    algorithm = DecoupledAsTheyLie
    uncorrected_on_device = DecoupledUncorrectedOnDevice

    class Config(Adam.Config):
        """Defaults as in torch."""

        weight_decay: NonNegative = 0.01

    config: Config
