"""Progress of a running study: its state, the time left, and views in this terminal or another one."""

from ablations.progress.history import Outline
from ablations.progress.reporter import ProgressReporter
from ablations.progress.state import Progress
from ablations.spec.durations import duration

__all__ = ["Outline", "Progress", "ProgressReporter", "duration"]
