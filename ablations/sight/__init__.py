"""Seeing a running study: its state, the time left, views of it, and what another terminal can see of it."""

from ablations.sight.desk import Sight
from ablations.sight.outline import Outline
from ablations.sight.snapshot import snapshot
from ablations.sight.state import Progress
from ablations.sight.words import duration

__all__ = ["Outline", "Progress", "Sight", "duration", "snapshot"]
