"""How fast an arm's runs go: seconds per epoch, what a run costs beside its epochs, and how long runs turn out."""

from __future__ import annotations

from collections import Counter

_MEMORY = 64
"""Epochs after which an old measurement counts for little: other runs come and go on the same machine."""


class Mean:
    """A mean of the first values, and a moving one of what comes after `_MEMORY` of them. Constant in memory."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.count = 0

    def add(self, value: float) -> None:
        """Take one value in."""
        self.count += 1
        before = value if self.value is None else self.value
        self.value = before + (value - before) / min(self.count, _MEMORY)


class Pace:
    """Pace of one arm.

    Parameters
    ----------
    expected : seconds per epoch that were estimated before (`ablate check`); None where nothing was.

    Attributes
    ----------
    epoch : seconds per epoch, as measured here.
    overhead : seconds of a run beside its epochs (start of a worker, data, building the network).
    recalled : seconds per epoch of runs that were settled before.
    """

    def __init__(self, expected: float | None = None) -> None:
        self.expected = expected
        self.epoch, self.overhead, self.recalled = Mean(), Mean(), Mean()
        self._lengths: Counter[int] = Counter()

    @property
    def prior(self) -> float | None:
        """Seconds per epoch from before this session: of settled runs, or else as estimated."""
        return self.expected if self.recalled.value is None else self.recalled.value

    def ended_after(self, epochs: int) -> None:
        """Take note of how many epochs a run had in all: early stopping and divergence make it fewer than planned."""
        self._lengths[epochs] += 1

    def epochs_left(self, planned: int, done: int) -> float:
        """Return the expected number of epochs that a run still has: the mean of what longer runs had beyond `done`."""
        longer = [(length - done, count) for length, count in self._lengths.items() if length > done]
        if not longer:
            return planned - done
        return min(planned - done, sum(left * count for left, count in longer) / sum(count for _, count in longer))


def seconds_per_epoch(paces: dict[str, Pace]) -> dict[str, float] | None:
    """Return the expected seconds per epoch of every arm; None where nothing is known of any.

    An arm that has not run goes by what was known of it before, scaled by how the arms that have run compare with what
    was known of them; without that, by the mean of the others.
    """
    measured = {arm: pace.epoch.value for arm, pace in paces.items() if pace.epoch.value is not None}
    priors = {arm: pace.prior for arm, pace in paces.items() if pace.prior}
    both = [(measured[arm], priors[arm]) for arm in measured if arm in priors]
    scale = sum(seen for seen, _ in both) / sum(before for _, before in both) if both else 1.0
    known = measured | {arm: prior * scale for arm, prior in priors.items() if arm not in measured}
    if not known:
        return None
    mean = sum(known.values()) / len(known)
    return {arm: known.get(arm, mean) for arm in paces}
