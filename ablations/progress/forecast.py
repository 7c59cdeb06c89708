"""How long it will take: runs that are left, packed over the runs that go at once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


def makespan(running: Iterable[float], waiting: Iterable[float], slots: int) -> float:
    """Return the seconds until the last run ends, where whoever is free takes the next run that waits.

    A division of the work by the slots would be too low towards the end, when the last runs hold few of the slots.

    Parameters
    ----------
    running : seconds that each running run still has.
    waiting : seconds of each run that waits, in the order in which they are started.
    slots : runs at once; what runs already may be more.
    """
    slots = max(1, slots)
    free = sorted(max(0.0, left) for left in running)
    free = [0.0] * (slots - len(free)) + free
    extra = len(free) - slots  # more run than fit (a node went): the first to end are not replaced
    ends = max(free, default=0.0)
    if extra > 0:
        free = free[extra:]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heapreplace(free, free[0] + seconds)
    return max(ends, *free)
