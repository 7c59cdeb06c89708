"""`Tracking`: passes a session's events to a tracker, in a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.execution.events import EpochEnded, Event, RunEnded, RunStarted
from ablations.trackers.base import RunInfo, Tracker, refuse_unusable, tracker_class
from ablations.trackers.disclosure import metrics, options
from aimlib.paths import make_folder

if TYPE_CHECKING:
    from ablations.planning.plan import Plan

FOLDER = "tracking"
_MOST_WAITING = 100_000
_STOP_TIMEOUT_S = 60.0


class Tracking:
    """Subscriber that passes events to one tracker without delaying the study.

    If the tracker fails, the error is reported once and the tracker is disabled. The study continues.

    Parameters
    ----------
    name : name of the tracker; see `ablations.trackers.TRACKERS`.
    plan : plan of the study.
    directory : study directory; the tracker writes to its folder ``tracking/<name>``.
    note : callback for error messages, called from another thread.

    Raises
    ------
    UsageError: no such tracker exists, or it is not installed.
    """

    def __init__(self, name: str, plan: Plan, directory: Path, note: Callable[[str], None]) -> None:
        refuse_unusable(name)
        self.name, self._note = name, note
        self._folder = Path(directory) / FOLDER
        self._study = plan.study.spec.name
        self._runs = {run.run_id: run for run in plan.runs}
        self._events: queue.Queue[tuple[str, tuple[Any, ...]] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._disabled = threading.Event()

    def start(self) -> None:
        """Start writing."""
        self._thread = threading.Thread(target=self._work, name=f"tracking {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the remaining events, for at most a minute, and stop."""
        if self._thread is None:
            return
        if not self._disabled.is_set():
            with contextlib.suppress(queue.Full):
                self._events.put(None, timeout=_STOP_TIMEOUT_S)
        self._thread.join(_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            self._disable(f"did not write everything within {_STOP_TIMEOUT_S:.0f} s")
        self._thread = None

    def __enter__(self) -> Tracking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle(self, event: Event) -> None:
        """Pass an event of a run to the tracker's thread; notices are not passed on."""
        match event:
            case RunStarted(run_id):  # the host is not disclosed
                self._tell("started", run_id)
            case EpochEnded(run_id, row):
                self._tell("epoch", run_id, int(row["epoch"]), metrics(row))
            case RunEnded(run_id, state):
                self._tell("ended", run_id, "held" if state == "paused" else state)

    def _tell(self, event: str, *arguments: Any) -> None:
        if self._disabled.is_set():
            return
        try:
            self._events.put_nowait((event, arguments))
        except queue.Full:
            self._disable(f"is more than {_MOST_WAITING:,} events behind")

    def _disable(self, why: str) -> None:
        if not self._disabled.is_set():
            self._disabled.set()
            self._note(f"--track {self.name} {why}: disabled; the study and its results are not affected")

    def _work(self) -> None:
        try:
            folder = self._folder / self.name
            make_folder(folder)
            worker = _Worker(
                tracker_class(self.name)(folder, self._study),
                Ledger(self._folder / "epochs" / self.name),
                self._info,
            )
            while not self._disabled.is_set() and (event := self._events.get()) is not None:
                name, arguments = event
                getattr(worker, name)(*arguments)
            worker.close()
        except Exception as error:  # noqa: BLE001 -- an error in a tracker must not stop the study
            self._disable(f"failed ({type(error).__name__}: {error})")

    def _info(self, run_id: str) -> RunInfo:
        run = self._runs[run_id]
        return RunInfo(run_id, self._study, run.arm, run.seed, run.config.training.epochs, options(run.config))


class _Worker:
    """Passes each run and each epoch to a tracker only once."""

    def __init__(self, tracker: Tracker, ledger: Ledger, info: Callable[[str], RunInfo]) -> None:
        self._tracker, self._ledger, self._info = tracker, ledger, info
        self._open: dict[str, tuple[RunInfo, int]] = {}

    def started(self, run_id: str) -> None:
        if run_id not in self._open:
            run, last = self._info(run_id), self._ledger.last(run_id)
            self._tracker.started(run, resumed=last > 0)
            self._open[run_id] = run, last

    def epoch(self, run_id: str, number: int, values: Mapping[str, float]) -> None:
        self.started(run_id)
        run, last = self._open[run_id]
        if number > last:
            self._tracker.epoch(run, number, values)
            self._ledger.put(run_id, number)
            self._open[run_id] = run, number

    def ended(self, run_id: str, end: str) -> None:
        if run_id in self._open:
            self._tracker.ended(self._open.pop(run_id)[0], end)

    def close(self) -> None:
        self._tracker.close()


class Ledger:
    """The last epoch of each run that a tracker has received, so that a resumed run does not repeat any epoch.

    The epochs are stored on disk, with one file per run, for all drivers of the study.

    Parameters
    ----------
    directory : folder of the ledger, which is created if missing.
    """

    def __init__(self, directory: Path) -> None:
        make_folder(directory)
        self._directory = directory

    def last(self, run_id: str) -> int:
        """Return the last epoch, or 0 if there is none."""
        try:
            return int((self._directory / run_id).read_text(encoding="ascii") or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def put(self, run_id: str, epoch: int) -> None:
        """Record that the tracker has this epoch."""
        (self._directory / run_id).write_text(str(epoch), encoding="ascii")


def trackings(names: Iterable[str], plan: Plan, directory: Path, note: Callable[[str], None]) -> list[Tracking]:
    """Return one subscriber for each distinct tracker name.

    Raises
    ------
    UsageError: no such tracker exists, or it is not installed.
    """
    return [Tracking(name, plan, directory, note) for name in dict.fromkeys(names)]
