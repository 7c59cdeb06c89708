"""Which epoch of a run is reported; one private file per rule."""

from aimlib.training.selections._best_test import BestTest
from aimlib.training.selections._best_validation import BestValidation
from aimlib.training.selections._last_epoch import LastEpoch
from aimlib.training.selections.base import Selection

__all__ = ["BestTest", "BestValidation", "LastEpoch", "Selection"]
