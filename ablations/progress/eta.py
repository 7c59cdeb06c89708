"""How long it will take: the pace of arms, the lengths of their runs, and what is left, packed over the slots."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ablations.progress.session_state import RunProgress

_FRESH_S = 2.0
"""An estimate of the time left stands for so long."""
_WINDOW = 64
"""Epochs after which an old measurement counts for little: other runs come and go on the same machine."""


class Mean:
    """A mean of the first values, and a moving one of what comes after `_WINDOW` of them. Takes constant space."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.count = 0

    def add(self, value: float) -> None:
        """Take one value in."""
        self.count += 1
        before = value if self.value is None else self.value
        self.value = before + (value - before) / min(self.count, _WINDOW)


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


def seconds_per_epoch(paces: Mapping[str, Pace]) -> dict[str, float] | None:
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


class TimeLeft:
    """Estimates when a session ends, from its state, which it sees change.

    Parameters
    ----------
    planned : epochs of a run, by arm.
    paces : by arm.
    runs : by run id.
    active, waiting : ids of the runs that a worker has, and of those that have not begun, in their order.
    clock : seconds that never go back.
    longest_first : whether the longest runs are started first.
    """

    def __init__(
        self,
        planned: Mapping[str, int],
        paces: Mapping[str, Pace],
        runs: Mapping[str, RunProgress],
        active: Iterable[str],
        waiting: Iterable[str],
        clock: Callable[[], float],
        *,
        longest_first: bool,
    ) -> None:
        self._planned, self._paces, self._runs = planned, paces, runs
        self._active, self._waiting, self._clock, self._longest_first = active, waiting, clock, longest_first
        self._estimated_at = float("-inf")
        self._seconds: float | None = None
        self._epochs_left: dict[str, list[float]] = {}

    def session(self, parallel: int) -> float | None:
        """Return the expected seconds to the end of the session; None before anything is known of the pace.

        Parameters
        ----------
        parallel : how many runs go at once.
        """
        now = self._clock()
        if self._seconds is None or now - self._estimated_at >= _FRESH_S:
            self._estimated_at, self._seconds = now, self._estimate(parallel, now)
        return self._seconds

    def run(self, run_id: str, speeds: Mapping[str, float]) -> float:
        """Return the expected seconds that a running run still has.

        Parameters
        ----------
        speeds : seconds per epoch by arm, see `seconds_per_epoch`.
        """
        if not self._epochs_left:
            self._epochs_left = self._expected_epochs()
        return self._run(self._runs[run_id], speeds, self._clock())

    def _estimate(self, parallel: int, now: float) -> float | None:
        active, waiting = [self._runs[each] for each in self._active], [self._runs[each] for each in self._waiting]
        if not active and not waiting:
            return 0.0
        speeds = seconds_per_epoch(self._paces)
        if speeds is None:
            return None
        self._epochs_left = self._expected_epochs()
        whole = self._expected_seconds(speeds)
        to_begin = [whole[run.arm][run.epochs_done] for run in waiting]
        if self._longest_first:
            to_begin.sort(reverse=True)
        return makespan([self._run(run, speeds, now) for run in active], to_begin, parallel)

    def _expected_epochs(self) -> dict[str, list[float]]:
        """Return for every arm how many epochs a run still has after its first 0, 1, 2, ..."""
        done: dict[str, list[int]] = {name: [] for name in self._paces}
        for run_id in self._active:
            done[self._runs[run_id].arm].append(self._runs[run_id].epochs_done)
        return {name: pace.lengths.left(self._planned[name], done[name]) for name, pace in self._paces.items()}

    def _expected_seconds(self, speeds: Mapping[str, float]) -> dict[str, list[float]]:
        """Return for every arm the seconds of a run that is to begin, after its first 0, 1, 2, ... epochs."""
        overheads = {name: pace.overhead.value for name, pace in self._paces.items()}
        known = [value for value in overheads.values() if value is not None]
        usual = sum(known) / len(known) if known else 0.0
        starts = {name: usual if value is None else value for name, value in overheads.items()}
        return {name: [epochs * speeds[name] + starts[name] for epochs in self._epochs_left[name]] for name in starts}

    def _run(self, run: RunProgress, speeds: Mapping[str, float], now: float) -> float:
        speed = speeds[run.arm]
        left = self._epochs_left[run.arm][min(run.epochs_done, run.epochs)] * speed
        if run.measured:
            return max(0.0, left - min(now - run.heard, speed))
        return left + (self._paces[run.arm].overhead.value or 0.0)
