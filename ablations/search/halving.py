"""Successive halving: which trials of a rung go on. The order in which they were computed has no part in it."""

from __future__ import annotations

from collections.abc import Mapping


def kept(values: Mapping[int, float], reduction_factor: int) -> frozenset[int]:
    """Return the numbers of the trials that go on to the next rung: the best 1 of `reduction_factor`, rounded up.

    Parameters
    ----------
    values : finite validation accuracy of every trial of the rung, by its number. Of equals the first go on.
    """
    ranked = sorted(values, key=lambda number: (-values[number], number))
    return frozenset(ranked[: -(-len(ranked) // reduction_factor)])


def epochs_of_bracket(trials: int, reduction_factor: int, rungs: tuple[int, ...]) -> int:
    """Return how many epochs a batch of trials takes that none leaves early by itself, for one seed.

    Parameters
    ----------
    rungs : epochs after which each rung ends.
    """
    total, reached = 0, 0
    for epochs in rungs:
        total += trials * (epochs - reached)
        reached, trials = epochs, -(-trials // reduction_factor)
    return total
