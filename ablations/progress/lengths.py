"""How many epochs runs turn out to have, where early stopping or divergence makes them fewer than planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Lengths:
    """Lengths of the runs of one arm that have ended.

    The first to end are the short ones, so their mean would be too low: runs that are still going count as far as they
    have come (Kaplan and Meier, 1958).
    """

    def __init__(self) -> None:
        self._ended: Counter[int] = Counter()

    def add(self, epochs: int) -> None:
        """Take note of a run that had so many epochs in all."""
        self._ended[epochs] += 1

    def left(self, planned: int, running: Iterable[int]) -> list[float]:
        """Return the expected number of epochs after the first 0, 1, ..., `planned` of a run that is not over.

        Parameters
        ----------
        planned : epochs that no run exceeds.
        running : complete epochs of every run that is going.
        """
        if all(length >= planned for length in self._ended):
            return [float(planned - done) for done in range(planned + 1)]
        going = Counter(running)
        reached = sum(self._ended.values()) + sum(going.values()) - self._ended[0] - going[0]
        alive = [1.0]  # share of the runs that have an epoch after the first 0, 1, ...
        for epoch in range(1, planned):
            alive.append(alive[-1] * (1 - self._ended[epoch] / reached) if reached else alive[-1])
            reached -= self._ended[epoch] + going[epoch]
        found, beyond = [0.0] * (planned + 1), 0.0
        for done in range(planned - 1, -1, -1):
            beyond += alive[done]
            found[done] = beyond / alive[done] if alive[done] > 0 else 1.0
        return found
