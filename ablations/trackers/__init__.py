"""Experiment trackers beside the study's own store, for who already looks at runs there: opt-in, nothing by default.

The store stays the truth: no verdict reads a tracker, and a tracker that fails is switched off and never hurts a study.
"""

from ablations.trackers.base import TRACKERS, RunInfo, Tracker
from ablations.trackers.subscriber import Tracking

__all__ = ["TRACKERS", "RunInfo", "Tracker", "Tracking"]
