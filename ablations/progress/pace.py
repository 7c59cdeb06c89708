"""How fast an arm's runs go: seconds per epoch, and what a run costs beside its epochs."""

from __future__ import annotations

from ablations.progress.lengths import Lengths

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
    weight : cost of an epoch compared with that of other arms, in any unit, such as multiply-adds; 0 where unknown.

    Attributes
    ----------
    lengths : how many epochs its runs turn out to have.
    epoch : seconds per epoch, as measured here.
    overhead : seconds of a run beside its epochs (start of a worker, data, building the network).
    recalled : seconds per epoch of runs that were settled before.
    """

    def __init__(self, expected: float | None = None, weight: float = 0.0) -> None:
        self.expected, self.weight = expected, weight
        self.epoch, self.overhead, self.recalled = Mean(), Mean(), Mean()
        self.lengths = Lengths()

    @property
    def prior(self) -> float | None:
        """Seconds per epoch from before this session: of settled runs, or else as estimated."""
        return self.expected if self.recalled.value is None else self.recalled.value


def seconds_per_epoch(paces: dict[str, Pace]) -> dict[str, float] | None:
    """Return the expected seconds per epoch of every arm; None where nothing is known of any.

    An arm that has not run goes by what was known of it before, scaled by how the arms that have run compare with what
    was known of them; without that, by how its weight compares with theirs, or by their mean.
    """
    measured = {arm: pace.epoch.value for arm, pace in paces.items() if pace.epoch.value is not None}
    priors = {arm: pace.prior for arm, pace in paces.items() if pace.prior}
    both = [(measured[arm], priors[arm]) for arm in measured if arm in priors]
    scale = sum(seen for seen, _ in both) / sum(before for _, before in both) if both else 1.0
    known = measured | {arm: prior * scale for arm, prior in priors.items() if arm not in measured}
    if not known:
        return None
    mean = sum(known.values()) / len(known)
    weighed = [(known[arm], paces[arm].weight) for arm in known if paces[arm].weight > 0]
    unit = sum(seconds for seconds, _ in weighed) / sum(weight for _, weight in weighed) if weighed else 0.0
    return {arm: known[arm] if arm in known else pace.weight * unit or mean for arm, pace in paces.items()}
