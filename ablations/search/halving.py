"""Successive halving: which trials continue after a rung. The order in which they were computed does not matter."""

from __future__ import annotations

from collections.abc import Mapping


def kept(values: Mapping[int, float], reduction_factor: int) -> frozenset[int]:
    """Return the numbers of the trials that continue to the next rung: the best 1 in `reduction_factor`, rounded up.

    Parameters
    ----------
    values : finite validation accuracy of every trial at the rung, by trial number. If trials are tied, the first ones
        continue.
    """
    ranked = sorted(values, key=lambda number: (-values[number], number))
    return frozenset(ranked[: -(-len(ranked) // reduction_factor)])


def epochs_of_bracket(trials: int, reduction_factor: int, rungs: tuple[int, ...]) -> int:
    """Return the total number of epochs in a batch for one seed, if no trial ends early for other reasons.

    Parameters
    ----------
    rungs : epochs after which each rung ends.
    """
    total, reached = 0, 0
    for epochs in rungs:
        total += trials * (epochs - reached)
        reached, trials = epochs, -(-trials // reduction_factor)
    return total
