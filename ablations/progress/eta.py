"""Estimated time left, from each arm's pace and run lengths, with the runs scheduled over the available slots."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ablations.progress.session_state import RunProgress

_FRESH_S = 2.0
"""Maximum age in seconds at which an estimate of the time left is reused."""
_WINDOW = 64
"""Number of epochs after which an old measurement has little weight, because the machine's load changes."""


class Mean:
    """Running mean in constant space: the mean of the first `_WINDOW` values, then an exponential moving average."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.count = 0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        before = value if self.value is None else self.value
        self.value = before + (value - before) / min(self.count, _WINDOW)


class Lengths:
    """Lengths of one arm's completed runs.

    Short runs end first, so the mean length of completed runs alone would be too low. Runs still in progress are
    therefore treated as censored (Kaplan and Meier, 1958).
    """

    def __init__(self) -> None:
        self._ended: Counter[int] = Counter()

    def add(self, epochs: int) -> None:
        """Record a run that ended after `epochs` epochs."""
        self._ended[epochs] += 1

    def left(self, planned: int, running: Iterable[int]) -> list[float]:
        """Return the expected number of epochs left in an active run after 0, 1, ..., `planned` epochs.

        Parameters
        ----------
        planned : maximum number of epochs in a run.
        running : number of completed epochs in each active run.
        """
        if all(length >= planned for length in self._ended):
            return [float(planned - done) for done in range(planned + 1)]
        going = Counter(running)
        reached = sum(self._ended.values()) + sum(going.values()) - self._ended[0] - going[0]
        alive = [1.0]  # fraction of runs that continue after 0, 1, ... epochs
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
    expected : seconds per epoch estimated beforehand by `ablate check`, or None.
    weight : relative cost of an epoch, in any unit that is the same for all arms, such as multiply-adds; 0 if unknown.

    Attributes
    ----------
    lengths : lengths of the arm's completed runs.
    epoch : seconds per epoch, as measured in this session.
    overhead : seconds that a run takes outside its epochs (starting a worker, loading data, building the network).
    recalled : seconds per epoch in runs settled in earlier sessions.
    """

    def __init__(self, expected: float | None = None, weight: float = 0.0) -> None:
        self.expected, self.weight = expected, weight
        self.epoch, self.overhead, self.recalled = Mean(), Mean(), Mean()
        self.lengths = Lengths()

    @property
    def prior(self) -> float | None:
        """Seconds per epoch known before this session: the pace of settled runs, or the estimate if there are none."""
        return self.expected if self.recalled.value is None else self.recalled.value


def seconds_per_epoch(paces: Mapping[str, Pace]) -> dict[str, float] | None:
    """Return the expected seconds per epoch for every arm, or None if nothing is known about any arm.

    For an arm that has not run, the value is its prior, scaled by the ratio of the other arms' measured values to their
    priors. If there is no prior, the value is estimated from the arms' weights, or else from the mean of the known
    values.
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
    """Return the seconds until the last run ends if each free slot takes the next waiting run.

    Dividing the work by the number of slots would underestimate the time near the end, when not all slots are in use.

    Parameters
    ----------
    running : remaining seconds for each running run.
    waiting : seconds for each waiting run, in starting order.
    slots : number of concurrent runs; more runs may already be running.
    """
    slots = max(1, slots)
    free = sorted(max(0.0, left) for left in running)
    free = [0.0] * (slots - len(free)) + free
    extra = len(free) - slots  # more runs than slots, because a node was lost: the first runs that end are not replaced
    ends = max(free, default=0.0)
    if extra > 0:
        free = free[extra:]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heapreplace(free, free[0] + seconds)
    return max(ends, *free)


class TimeLeft:
    """Estimator for the time left in a session, based on the session's current state.

    Parameters
    ----------
    planned : number of epochs in a run, by arm.
    paces : pace of each arm.
    runs : progress of each run, by run id.
    active, waiting : ids of the runs assigned to workers, and of the runs that have not started, in order.
    clock : monotonic clock, in seconds.
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
        """Return the expected seconds until the session ends, or None while no pace is known.

        Parameters
        ----------
        parallel : number of concurrent runs.
        """
        now = self._clock()
        if self._seconds is None or now - self._estimated_at >= _FRESH_S:
            self._estimated_at, self._seconds = now, self._estimate(parallel, now)
        return self._seconds

    def run(self, run_id: str, speeds: Mapping[str, float]) -> float:
        """Return the expected seconds until an active run ends.

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
        """Return, for every arm, the expected number of epochs left in a run after 0, 1, 2, ... epochs."""
        done: dict[str, list[int]] = {name: [] for name in self._paces}
        for run_id in self._active:
            done[self._runs[run_id].arm].append(self._runs[run_id].epochs_done)
        return {name: pace.lengths.left(self._planned[name], done[name]) for name, pace in self._paces.items()}

    def _expected_seconds(self, speeds: Mapping[str, float]) -> dict[str, list[float]]:
        """Return, for every arm, the expected duration in seconds of a run that starts after 0, 1, 2, ... epochs."""
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
