"""Running a study: settled runs stay, missing runs are computed, and started runs continue."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from ablations.execution.events import Notice
from ablations.execution.inline import InlineExecutor
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.run_task import paused_at, settle_as_pruned
from ablations.execution.scheduler import Scheduler, in_order
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from ablations.planning.stored_names import with_stored_names
from ablations.progress import Outline, Progress, ProgressReporter
from ablations.sessions import sequential_looks
from ablations.sessions.coordinator import Coordinator
from ablations.sessions.gpu_assignment import notices, with_measured_shares, with_one_type_per_seed
from ablations.sessions.registration import prepare, refuse_another_study, register
from ablations.sessions.remembered_shares import remembered
from ablations.sessions.result import Session
from ablations.sessions.tasks import tasks
from ablations.spec.study import StudyFile, read_study
from ablations.store import ResultStore
from ablations.trackers.base import refuse_unusable
from ablations.trackers.subscriber import Tracking, trackings
from aimlib.errors import UsageError
from aimlib.paths import ObjectPath, Place, place
from aimlib.records import STUDY_FILE

Executor = InlineExecutor | RayExecutor


def run(
    study: str | Path,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    until: Mapping[str, int] | None = None,
    prune: Collection[str] = (),
    until_verdict: bool = False,
    track: Collection[str] = (),
    console: Console | None = None,
) -> Session:
    """Compute the missing runs of a study.

    Ctrl-C or SIGTERM ends the session after every run has saved its state; a second one ends it at once, with
    KeyboardInterrupt.

    Parameters
    ----------
    study : path of a study file, or the name of a shipped study.
    out : study directory, or the URL of one in object storage; None is ``results/<name>``.
    overrides : ``key.path=value`` each, see `ablations.spec.study.read_study`.
    address : of a Ray cluster; None starts Ray on this machine.
    executor : ``inline`` computes in this process, one run after the other.
    until : number of epochs after which a run pauses, by run id; such runs are in `Session.paused`.
    prune : ids of paused runs that are settled as they are, with the status ``pruned``, instead of being continued.
    until_verdict : after every look add the seeds of the next one, until nothing is open; see `sequential_looks`.
    track : trackers that every run is also written to: tensorboard, mlflow, wandb.
    console : where progress is shown; None is silent.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed.
    """
    if address is not None and executor == "inline":
        raise UsageError("--address names a Ray cluster; it needs --executor ray")
    for name in track:
        refuse_unusable(name)
    console = console or Console(quiet=True)
    file = read_study(study, overrides)
    if file.spec.search is not None:
        raise UsageError(
            f"{file.path}: search: this study searches first; run it with ablations.sessions.screening.run"
        )
    directory = place(out if out is not None else Path("results") / file.spec.name)
    stop = Stop()
    options = _Options(directory, address, executor, until or {}, prune, track, stop, console)

    def with_seeds(seeds: Sequence[int]) -> Session:
        return _session(StudyFile(file.spec.model_copy(update={"seeds": tuple(seeds)}), file.path), options)

    with stop.on_signals():
        if not until_verdict:
            return with_seeds(file.spec.seeds)
        before = ResultStore(directory).read_plan() or {} if (directory / STUDY_FILE).exists() else {}
        return sequential_looks.until_verdict(file, before.get("seeds", ()), with_seeds, console)


@dataclass(frozen=True)
class _Options:
    """The options of `run` besides the study."""

    directory: Place
    address: str | None
    executor: Literal["ray", "inline"]
    until: Mapping[str, int]
    prune: Collection[str]
    track: Collection[str]
    stop: Stop
    console: Console


def _session(file: StudyFile, options: _Options) -> Session:
    """Compute the missing runs of a study."""
    session, console = uuid.uuid4().hex[:12], options.console
    with ExitStack() as stack:
        plan, executor = _planned(file, options, stack)
        store = ResultStore(options.directory)
        refuse_another_study(store, file.spec.name)
        plan, kept_names = with_stored_names(plan, store.read_plan())
        for line in kept_names:
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        settled = store.settled()
        todo = {task.run_id: task for task in tasks(plan, store, list(plan.runs), session, options.until)}
        missing = {run_id: todo[run_id] for run_id in todo if run_id not in settled and run_id not in options.prune}
        paused = _paused_before(missing, store)
        waiting = in_order(task for run_id, task in missing.items() if run_id not in paused)
        with console.status("freezing the analysis plan"):
            analysis_plan = prepare(plan, store)
        if waiting:
            plan, waiting = _assigned(plan, waiting, executor, store, console)
        # Only now, when nothing prevents it from running, does the study replace an earlier version.
        register(plan, store, settled, console, analysis_plan)
        _prune(todo, options.prune, settled, store)
        coordinator = _compute(plan, store, waiting, executor, session, options)
    if waiting:
        store.clean()  # of workers that were killed in this session
    store.compact()
    if not options.stop.requested:
        paused |= coordinator.paused
    return _result(store, todo, settled, paused, coordinator, options.stop)


def _planned(file: StudyFile, options: _Options, stack: ExitStack) -> tuple[Plan, Executor]:
    """Return the plan, and the executor, which is already starting if runs are sure to be missing."""
    with options.console.status("checking the study, its networks and its data"):
        arms = planning.arms_of(file)
        given = [arm.resources for arm in arms]
        executor: Executor = InlineExecutor(given)
        if options.executor == "ray":
            executor = stack.enter_context(RayExecutor(given, options.address))
        if _is_unfinished(options.directory, len(arms) * len(file.spec.seeds)):
            executor.begin()  # starts in the background, because that takes time
        return planning.plan(file, arms), executor


def _assigned(
    plan: Plan, waiting: list[Task], executor: Executor, store: ResultStore, console: Console
) -> tuple[Plan, list[Task]]:
    """Return plan and tasks with the GPUs that they request, once the executor is available and can compute them."""
    with console.status("starting Ray" if isinstance(executor, RayExecutor) else ""):
        executor.check()
    if not isinstance(executor, RayExecutor):
        return plan, waiting
    plan, waiting = with_measured_shares(plan, waiting, executor, store, console)
    return plan, with_one_type_per_seed(waiting, executor, store)


def _result(
    store: ResultStore,
    todo: Mapping[str, Task],
    settled: set[str],
    paused: Mapping[str, float | None],
    coordinator: Coordinator,
    stop: Stop,
) -> Session:
    done = store.settled() & set(todo)
    over = done | set(coordinator.failed) | set(paused)
    return Session(
        directory=store.place,
        planned=len(todo),
        settled_before=len(settled & set(todo)),
        computed=len(done - settled),
        failed=coordinator.failed,
        open=tuple(run_id for run_id in todo if run_id not in over),
        paused=paused,
        withheld=coordinator.withheld,
        interrupted=stop.reason,
        code=stop.code,
    )


def _is_unfinished(directory: Place, planned: int) -> bool:
    """Return whether a study surely has runs without a result; creates nothing."""
    return not (directory / STUDY_FILE).exists() or len(ResultStore(directory).settled()) < planned


def _paused_before(missing: Mapping[str, Task], store: ResultStore) -> dict[str, float | None]:
    """Return the runs that have already reached the requested epoch."""
    found = {}
    for run_id, task in missing.items():
        if task.until is not None:
            epochs, accuracy = paused_at(task, store)
            if epochs >= task.until:
                found[run_id] = accuracy
    return found


def _prune(todo: Mapping[str, Task], run_ids: Collection[str], settled: set[str], store: ResultStore) -> None:
    for run_id in run_ids:
        if run_id not in todo:
            raise UsageError(f"prune: {run_id} is no run of the study")
        if run_id not in settled:
            epochs, _ = paused_at(todo[run_id], store)
            if not settle_as_pruned(todo[run_id], store, f"stopped after {epochs} epochs by the search"):
                raise UsageError(f"run {run_id} is held by {store.holder(run_id)}; wait for it, or end it")


def _compute(
    plan: Plan,
    store: ResultStore,
    waiting: list[Task],
    executor: Executor,
    session: str,
    options: _Options,
) -> Coordinator:
    stop = options.stop
    scheduler = Scheduler(waiting, plan.study.spec.resources.max_retries, shares=remembered(store, waiting))
    slots = max(1, min(len(waiting), executor.parallel))
    progress = Progress(
        Outline.of(plan), store.settled(), parallel=slots, resources=executor.takes, totals=executor.totals
    )
    reporter = ProgressReporter(progress, options.console, store, session)
    trackers = trackings(options.track, plan, _tracking_place(store), lambda text: reporter.handle(Notice(text)))
    subscribers: list[ProgressReporter | Tracking] = [reporter, *trackers]
    todo = {task.run_id: task for task in waiting}
    coordinator = Coordinator(store, todo, scheduler, stop, session, subscribers, options.console)
    if not waiting:
        return coordinator
    with ExitStack() as stack:
        stack.callback(store.forget_stop, session)
        for each in subscribers:  # the reporter ends last: a tracker may still have something to say
            stack.enter_context(each)
        for text in notices(executor.resources, scheduler.shares):
            coordinator.handle(Notice(text))
        with stop.gentle():
            while waiting and not stop.requested:
                executor.execute(scheduler, coordinator, stop)
                waiting = coordinator.released()
                scheduler.add(waiting)
    return coordinator


def _tracking_place(store: ResultStore) -> Path:
    """Return where trackers write: the study directory, or, for a study in object storage, a folder here."""
    where = store.place
    return Path("results") / where.name if isinstance(where, ObjectPath) else where
