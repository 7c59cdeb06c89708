"""Which layers read the memory; one private file per policy."""

from aimlib.placements._block_entry import BlockEntry
from aimlib.placements._every_layer import EveryLayer
from aimlib.placements._input_only import InputOnly
from aimlib.placements._stage_only import StageOnly
from aimlib.placements.base import Placement

__all__ = ["BlockEntry", "EveryLayer", "InputOnly", "Placement", "StageOnly"]
