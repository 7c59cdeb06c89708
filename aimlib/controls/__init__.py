"""Arms that lack what is to be explained, as transformations of an AiM arm; one private file per control."""

from aimlib.controls._frozen_memory import FrozenMemory
from aimlib.controls._matched_parameters import MatchedParameters
from aimlib.controls.base import Control

__all__ = ["Control", "FrozenMemory", "MatchedParameters"]
