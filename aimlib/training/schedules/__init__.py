"""How the learning rate changes over time; one private file per schedule. Without one it is constant."""

from aimlib.training.schedules._cosine import Cosine
from aimlib.training.schedules._plateau import Plateau
from aimlib.training.schedules.base import Schedule

__all__ = ["Cosine", "Plateau", "Schedule"]
