"""Shares of a GPU: how they grow when a run is out of memory."""

from __future__ import annotations

_PACKING = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of which a whole number fill a GPU."""
_LEAST_GROWTH = 1.5


def larger(share: float) -> float:
    """Return the next larger share that packs, at least half as much again; a whole GPU where there is none."""
    return next((each for each in _PACKING if each >= _LEAST_GROWTH * share - 1e-9), 1.0)
