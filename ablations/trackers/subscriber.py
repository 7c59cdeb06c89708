"""`Tracking`: the listener that passes a session's events to its trackers, in a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.trackers.base import RunInfo, Tracker, refuse_unusable, tracker_class
from ablations.trackers.disclosure import metrics, options
from ablations.trackers.ledger import Ledger
from aimlib.paths import make_folder

if TYPE_CHECKING:
    from ablations.planning.plan import Plan

FOLDER = "tracking"
_MOST_WAITING = 100_000
_PATIENCE = 60.0
_LEFT = ("held", "paused", "unshared")


class Tracking:
    """Passes events on to one tracker without ever holding up the study.

    What goes wrong is told once, and the tracker is switched off: the study goes on.

    Parameters
    ----------
    name : of the tracker, see `ablations.trackers.TRACKERS`.
    plan : of the study.
    directory : of the study; the tracker writes into ``tracking/<name>`` in it.
    note : told what goes wrong, from another thread.

    Raises
    ------
    UsageError: there is no such tracker, or it is not installed.
    """

    def __init__(self, name: str, plan: Plan, directory: Path, note: Callable[[str], None]) -> None:
        refuse_unusable(name)
        self.name, self._note = name, note
        self._folder = Path(directory) / FOLDER
        self._study = plan.study.spec.name
        self._runs = {run.run_id: run for run in plan.runs}
        self._events: queue.Queue[tuple[str, tuple[Any, ...]] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._off = threading.Event()

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._work, name=f"tracking {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what has gathered, for at most a minute, and end."""
        if self._thread is None:
            return
        if not self._off.is_set():
            with contextlib.suppress(queue.Full):
                self._events.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._switch_off(f"has not written everything within {_PATIENCE:.0f} s")
        self._thread = None

    def began(self, run_id: str, where: str = "") -> None:
        """A worker has a run; where it is stays here."""
        self._tell("began", run_id)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch of a run is complete."""
        self._tell("epoch", run_id, int(row["epoch"]), metrics(row))

    def ended(self, run_id: str, end: str) -> None:
        """An attempt ended."""
        self._tell("ended", run_id, "held" if end in _LEFT else end)

    def again(self, run_id: str, reason: str, seconds: float) -> None:
        """An attempt is repeated: the run stays open."""

    def died(self, run_id: str, reason: str) -> None:
        """A run was given up."""
        self._tell("ended", run_id, "failed")

    def note(self, text: str) -> None:
        """Messages are for people who look at this study."""

    def _tell(self, event: str, *arguments: Any) -> None:
        if self._off.is_set():
            return
        try:
            self._events.put_nowait((event, arguments))
        except queue.Full:
            self._switch_off(f"is more than {_MOST_WAITING:,} events behind")

    def _switch_off(self, why: str) -> None:
        if not self._off.is_set():
            self._off.set()
            self._note(f"--track {self.name} {why}: switched off; the study and its own results are unharmed")

    def _work(self) -> None:
        try:
            folder = self._folder / self.name
            make_folder(folder)
            worker = _Worker(
                tracker_class(self.name)(folder, self._study),
                Ledger(self._folder / "epochs" / self.name),
                self._info,
            )
            while not self._off.is_set() and (event := self._events.get()) is not None:
                name, arguments = event
                getattr(worker, name)(*arguments)
            worker.close()
        except Exception as error:  # noqa: BLE001 -- whatever a tracker does, the study goes on
            self._switch_off(f"failed ({type(error).__name__}: {error})")

    def _info(self, run_id: str) -> RunInfo:
        run = self._runs[run_id]
        return RunInfo(run_id, self._study, run.arm, run.seed, run.config.training.epochs, options(run.config))


class _Worker:
    """Tells a tracker of each run once and of each epoch once."""

    def __init__(self, tracker: Tracker, ledger: Ledger, info: Callable[[str], RunInfo]) -> None:
        self._tracker, self._ledger, self._info = tracker, ledger, info
        self._open: dict[str, tuple[RunInfo, int]] = {}

    def began(self, run_id: str) -> None:
        if run_id not in self._open:
            run, last = self._info(run_id), self._ledger.last(run_id)
            self._tracker.started(run, resumed=last > 0)
            self._open[run_id] = run, last

    def epoch(self, run_id: str, number: int, values: Mapping[str, float]) -> None:
        self.began(run_id)
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


def trackings(names: Iterable[str], plan: Plan, directory: Path, note: Callable[[str], None]) -> list[Tracking]:
    """Return a listener per tracker, each name once.

    Raises
    ------
    UsageError: there is no such tracker, or it is not installed.
    """
    return [Tracking(name, plan, directory, note) for name in dict.fromkeys(names)]
