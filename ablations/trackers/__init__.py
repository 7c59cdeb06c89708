"""Experiment trackers that can be used in addition to the study's own store; none is used by default.

The store remains the source of truth. No verdict depends on a tracker, and a tracker that fails is disabled without
affecting the study.
"""

from ablations.trackers.base import TRACKERS, RunInfo, Tracker
from ablations.trackers.subscriber import Tracking

__all__ = ["TRACKERS", "RunInfo", "Tracker", "Tracking"]
