"""The stored history of a study: its plan, its settled runs and its failures.

Each settled row is loaded only once, because settled rows never change.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aimlib.errors import StoreError
from aimlib.records import PLANS, RUNS, SEGMENTS, STUDY_FILE, RunState

if TYPE_CHECKING:
    from ablations.planning.plan import Plan

_SETTLED = ["run_id", "status", "seconds", "epochs_run", "finished_at", "reused_from", "epochs.validation_accuracy"]
_FAILED = ["run_id", "reason", "traceback", "finished_at"]


@dataclass(frozen=True)
class Outline:
    """The parts of a plan that progress needs.

    Attributes
    ----------
    name : name of the study.
    epochs : planned number of epochs in a run, by arm, in plan order.
    runs : run id, arm and seed of every run, in plan order.
    weights : relative cost of an epoch, by arm, in any unit; used before the arms have run.
    """

    name: str
    epochs: Mapping[str, int]
    runs: tuple[tuple[str, str, int], ...]
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Outline:
        """Return the outline of a plan."""
        return cls(
            plan.study.spec.name,
            {arm.name: arm.config.training.epochs for arm in plan.arms},
            tuple((run.run_id, run.arm, run.seed) for run in plan.runs),
            {name: float(summary.multiply_adds) for name, summary in plan.summaries.items()},
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Outline:
        """Return the outline of a stored plan; see `ablations.planning.plan.document`.

        Raises
        ------
        StoreError: the document is incomplete.
        """
        try:
            epochs = {str(arm["name"]): _count(arm["config"]["training"]["epochs"]) for arm in document["arms"]}
            runs = tuple((str(run["run_id"]), str(run["arm"]), int(run["seed"])) for run in document["runs"])
            _refuse_unlisted({arm for _, arm, _ in runs} - epochs.keys())
            return cls(str(document["name"]), epochs, runs)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StoreError(
                f"{STUDY_FILE}: not a valid study plan ({error!r}); restore it from the newest of {PLANS}/*.json"
            ) from error


_MOST_EPOCHS = 2**31


def _count(epochs: object) -> int:
    """Return a value as a number of epochs; raise ValueError if the value is invalid."""
    if type(epochs) is not int or not 0 < epochs < _MOST_EPOCHS:
        raise ValueError(f"{epochs!r} is not a number of epochs")
    return epochs


def _refuse_unlisted(arms: Collection[str]) -> None:
    if arms:
        raise ValueError(f"runs of arms that are not listed: {', '.join(sorted(arms))}")


class Store(Protocol):
    """The read interface of a study's store; see `ablations.store.ResultStore`."""

    def settled(self) -> set[str]:
        """Return the ids of settled runs."""

    def failures(self) -> dict[str, int]:
        """Return the number of failed attempts, by run id, for every run with failed attempts."""

    def live(self) -> list[dict[str, Any]]:
        """Return the latest snapshot of every session."""

    def node_time(self) -> dict[str, float]:
        """Return the total uptime of all nodes in each session, in seconds."""


@dataclass(frozen=True)
class SettledRun:
    """A settled run, with `finished_at` in seconds since the epoch and the validation accuracy per epoch in `curve`.

    `seconds` is None if a different study computed the run, because its pace does not describe this study's machines.
    """

    run_id: str
    status: RunState
    seconds: float | None
    epochs_run: int
    finished_at: float
    curve: tuple[float | None, ...]


@dataclass(frozen=True)
class FailedRun:
    """The last failed attempt of an unsettled run, with `at` in seconds since the epoch."""

    run_id: str
    reason: str
    traceback: str
    at: float


class History:
    """Rows in a study directory, cached between polls.

    Parameters
    ----------
    directory : study directory: a path, or its counterpart in object storage.
    store : store of the same study.
    arms : arm of every planned run, by run id.

    Attributes
    ----------
    settled : settled runs by run id, in the order in which they were read.
    unread : ids of settled runs whose rows have not been read yet.
    failed : failed runs by run id, except runs that have been settled since.
    """

    def __init__(self, directory: Any, store: Store, arms: Mapping[str, str]) -> None:
        self._directory, self._store, self._arms = directory, store, arms
        self.settled: dict[str, SettledRun] = {}
        self.failed: Mapping[str, FailedRun] = {}
        self.unread: set[str] = set()
        self._segments_read: set[Any] = set()
        self._attempts: dict[str, int] = {}
        self._cost = 0.0
        self._read = float("-inf")

    def arm(self, run_id: str) -> str | None:
        """Return a run's arm, or None if the plan does not contain the run."""
        return self._arms.get(run_id)

    def poll(self, seconds: float = float("inf")) -> list[SettledRun]:
        """Read new rows, and return the runs settled since the last poll.

        Parameters
        ----------
        seconds : time limit; the remaining rows, listed in `unread`, are left for the next poll.

        Raises
        ------
        StoreError: a file is corrupt; the message names the file and the remedy.
        """
        ids = self._store.settled()
        self.unread = ids - self.settled.keys()
        fresh = self._rows(time.monotonic() + seconds)
        attempts = {run_id: count for run_id, count in self._store.failures().items() if run_id not in ids}
        if attempts != self._attempts and time.monotonic() - self._read > 10 * self._cost:
            self._attempts, self.failed = attempts, self._failures(ids)
        return fresh

    def _rows(self, until: float) -> list[SettledRun]:
        """Read rows until a deadline, from run files or, if they have been compacted, from segments."""
        from analysis.reading.files import read_table  # noqa: PLC0415 -- pyarrow

        fresh: list[SettledRun] = []
        for run_id in sorted(self.unread):
            if run_id not in self.unread:
                continue
            try:
                rows = _settled(read_table(self._directory / RUNS / f"{run_id}.parquet", _SETTLED).to_pylist())
            except FileNotFoundError:
                rows = self._segments()
            for row in rows:
                if row.run_id in self.unread:
                    self.unread.discard(row.run_id)
                    self.settled[row.run_id] = row
                    fresh.append(row)
            if time.monotonic() > until:
                break
        return fresh

    def _segments(self) -> list[SettledRun]:
        from analysis.reading.files import listed, read_table  # noqa: PLC0415

        new = [path for path in listed(self._directory / SEGMENTS) if path not in self._segments_read]
        rows = [row for path in new for row in _settled(read_table(path, _SETTLED).to_pylist())]
        self._segments_read.update(new)
        return rows

    def _failures(self, settled: set[str]) -> dict[str, FailedRun]:
        from analysis.reading.files import read_failures  # noqa: PLC0415

        began = time.monotonic()
        rows = read_failures(self._directory, _FAILED, settled).to_pylist()
        self._read = time.monotonic()
        self._cost = self._read - began
        return {
            row["run_id"]: FailedRun(
                row["run_id"], row["reason"] or "", row["traceback"] or "", row["finished_at"].timestamp()
            )
            for row in rows
        }


def _settled(rows: list[dict[str, Any]]) -> list[SettledRun]:
    return [
        SettledRun(
            row["run_id"],
            row["status"],
            row["seconds"] if row["reused_from"] is None else None,
            int(row["epochs_run"] or 0),
            row["finished_at"].timestamp(),
            tuple(row["epochs.validation_accuracy"] or ()),
        )
        for row in rows
    ]
