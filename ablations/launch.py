"""Running a study: what is settled stays, what is missing is computed, and what was begun goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from ablations import planning
from ablations.executors import InlineExecutor, RayExecutor
from ablations.planning import Plan
from ablations.sight import Outline, Progress, Sight
from ablations.store import ResultStore
from ablations.study import read_study
from ablations.trackers.tracker import refuse_unusable
from ablations.trackers.tracking import Tracking, trackings
from ablations.trial import Task, failure, tasks
from aimlib.errors import UsageError
from aimlib.records import ANALYSIS_PLAN, SETTLED

_POLL = 2.0
"""Seconds between looks at runs that another process computes."""

_UNSHARED = (
    "the worker does not see the study's directory {directory}: put it on storage that all nodes share and give that "
    "with --out"
)


@dataclass(frozen=True)
class Session:
    """What came of one call of `run`.

    Attributes
    ----------
    directory : the study directory.
    planned, settled_before, computed : numbers of runs.
    failed : ids of runs that failed in this session, each with its reason.
    open : ids of runs that are not settled and have not failed: the session was interrupted.
    """

    directory: Path
    planned: int
    settled_before: int
    computed: int
    failed: Mapping[str, str]
    open: tuple[str, ...]


def run(
    study: str | Path,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    console: Console | None = None,
    track: Iterable[str] = (),
) -> Session:
    """Compute what is missing of a study.

    Parameters
    ----------
    study : path of a study file, or the name of a shipped study.
    out : study directory; None is ``results/<name>``.
    overrides : ``key.path=value`` each, see `ablations.study.read_study`.
    address : of a Ray cluster; None starts Ray on this machine.
    executor : ``inline`` computes in this process, one run after the other.
    console : where progress is shown; None is silent.
    track : trackers that are told of every run, see `ablations.trackers`.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed then.
    """
    if address is not None and executor == "inline":
        raise UsageError("--address is of a Ray cluster; it goes with --executor ray")
    console = console or Console(quiet=True)
    track = tuple(track)
    for name in track:
        refuse_unusable(name)
    file = read_study(study, overrides)
    if file.spec.search is not None:
        raise UsageError(f"{file.path}: search: this study searches first; run it with ablations.screening.run")
    with console.status("checking the study, its networks and its data"):
        plan = planning.plan(file)
    directory = Path(out) if out is not None else Path("results") / plan.study.spec.name
    store = ResultStore(directory)
    _refuse_another_study(store, plan)
    settled = store.settled()
    waiting = [task for task in tasks(plan, store, list(plan.runs)) if task.run_id not in settled]
    with ExitStack() as stack:
        hands: InlineExecutor | RayExecutor = InlineExecutor(plan.study.spec.resources)
        if waiting and executor == "ray":
            with console.status("starting Ray"):
                hands = stack.enter_context(RayExecutor(plan.study.spec.resources, store.directory / "ray", address))
        if waiting:
            hands.check()
        # Only now, when nothing speaks against running it, does the study take the place of an earlier version.
        _write_plan(plan, store, settled, console)
        return _compute(plan, store, waiting, hands, console, track)


def _refuse_another_study(store: ResultStore, plan: Plan) -> None:
    before = store.read_plan()
    if before is not None and before.get("name") != plan.study.spec.name:
        raise UsageError(
            f"{store.directory}: holds the study {before.get('name')!r}, not {plan.study.spec.name!r}; give "
            f"another --out"
        )


def _write_plan(plan: Plan, store: ResultStore, settled: set[str], console: Console) -> None:
    """Write everything but results."""
    store.clean()
    document = planning.document(plan, store.read_plan())
    store.write_plan(document)
    if not store.has_analysis_plan():
        with console.status("freezing the analysis plan"):
            sha256 = store.freeze_analysis_plan(planning.analysis_plan(document))
        console.print(f"The analysis plan is frozen: {ANALYSIS_PLAN}, SHA-256 {sha256[:16]}…", highlight=False)
    store.write_models(planning.model_rows(plan.arms, plan.summaries))
    for data in {data.fingerprint: data for data in plan.data.values()}.values():
        store.write_images(data.fingerprint, planning.image_rows(data))
    planned = {run.run_id for run in plan.runs}
    before = len(settled & planned)
    if before:
        console.print(f"{before} of {len(planned)} runs are settled already and are not repeated.")
    if settled - planned:
        console.print(
            f"{len(settled - planned)} settled runs in {store.directory} are no longer part of the study: they stay "
            f"there, and the report leaves them out.",
            soft_wrap=True,
        )


def _compute(
    plan: Plan,
    store: ResultStore,
    waiting: list[Task],
    hands: InlineExecutor | RayExecutor,
    console: Console,
    track: tuple[str, ...],
) -> Session:
    planned = {run.run_id for run in plan.runs}
    settled = store.settled()
    desk = _Desk(plan, store, {task.run_id: task for task in waiting}, settled, console, track)
    desk.sight.progress.parallel = max(1, min(len(waiting), hands.parallel))
    if waiting:
        desk.start()
    try:
        while waiting:
            desk.begin(waiting)
            hands.execute(waiting, desk)
            waiting = [] if desk.interrupted else desk.released()
    finally:
        desk.stop()
    store.compact()
    done = store.settled() & planned
    left = tuple(run.run_id for run in plan.runs if run.run_id not in done and run.run_id not in desk.failed)
    before = len(settled & planned)
    return Session(store.directory, len(plan.runs), before, len(done) - before, desk.failed, left)


class _Desk:
    """Keeps the books of a session: the executor's listener."""

    def __init__(
        self,
        plan: Plan,
        store: ResultStore,
        waiting: dict[str, Task],
        settled: set[str],
        console: Console,
        track: tuple[str, ...],
    ) -> None:
        self.store, self.tasks, self.console = store, waiting, console
        self.sight = Sight(Progress(Outline.of(plan), settled), console)
        self.listeners: list[Tracking | Sight] = [*trackings(track, plan, store.directory, self.sight.note), self.sight]
        self.failed: dict[str, str] = {}
        self.held: set[str] = set()
        self._unheard: set[str] = set()

    def start(self) -> None:
        """Begin to tell the listeners."""
        for listener in self.listeners:
            listener.start()

    def stop(self) -> None:
        """Tell nobody any more."""
        for listener in self.listeners if self.tasks else ():
            listener.stop()

    def begin(self, waiting: list[Task]) -> None:
        """Take note of the tasks that are given to the executor."""
        self.held.clear()
        self._unheard = {task.run_id for task in waiting}

    @property
    def interrupted(self) -> bool:
        """Whether the executor came back without an end for every task."""
        return bool(self._unheard)

    def began(self, run_id: str) -> None:
        for listener in self.listeners:
            listener.began(run_id)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        for listener in self.listeners:
            listener.epoch(run_id, row)

    def ended(self, run_id: str, end: str) -> None:
        self._unheard.discard(run_id)
        if end == "held":
            self.held.add(run_id)
        elif end == "unshared" or (end in SETTLED and not self.store.is_settled(run_id)):
            self.died(run_id, _UNSHARED.format(directory=self.store.directory))
            return
        elif end == "failed":
            self.failed[run_id] = (
                f"why: ablate results {self.store.directory} --where status=failed --columns arm,seed,reason"
            )
        for listener in self.listeners:
            listener.ended(run_id, end)

    def died(self, run_id: str, reason: str) -> None:
        self._unheard.discard(run_id)
        self.store.record_failure(failure(self.tasks[run_id], reason))
        self.failed[run_id] = reason
        for listener in self.listeners:
            listener.died(run_id, reason)

    def released(self) -> list[Task]:
        """Return the tasks that another process had claimed and has not settled, once it lets go of one."""
        waiting = set(self.held)
        if waiting:
            holders = sorted({self.store.holder(run_id) or "another process" for run_id in waiting})
            self.console.print(
                f"{len(waiting)} runs are being computed by {'; '.join(holders)}; waiting (Ctrl-C leaves them to it).",
                markup=False,
                soft_wrap=True,
            )
        while waiting:
            for run_id in sorted(waiting):
                if self.store.is_settled(run_id):
                    waiting.discard(run_id)
                    self.sight.ended(run_id, "finished")
            free = [run_id for run_id in sorted(waiting) if self.store.holder(run_id) is None]
            if free:
                return [self.tasks[run_id] for run_id in free]
            time.sleep(_POLL if waiting else 0)
        return []
