"""One session of a study without a search, from its plan to the settled runs."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from ablations.execution.events import Notice
from ablations.execution.inline import InlineExecutor
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.scheduler import Scheduler, in_order
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from ablations.planning.stored_names import with_stored_names
from ablations.progress import Outline, Progress, ProgressReporter
from ablations.sessions import obsolete
from ablations.sessions import reuse as reuse_of
from ablations.sessions.budget import AffordableRuns, Budget, refuse_useless
from ablations.sessions.coordinator import ANSWER_S, Coordinator
from ablations.sessions.gpu_assignment import notices, with_measured_shares, with_one_type_per_seed
from ablations.sessions.paused_runs import paused_before, prune
from ablations.sessions.registration import prepare, refuse_another_study, register
from ablations.sessions.remembered_shares import remembered
from ablations.sessions.result import SessionResult
from ablations.sessions.retry_log import RetryLog
from ablations.sessions.reuse import Reusable
from ablations.sessions.tasks import tasks
from ablations.spec.study import StudyFile
from ablations.store import ResultStore
from ablations.store.ledger import SessionLedger
from ablations.store.outages import Outages
from ablations.trackers.subscriber import Tracking, trackings
from aimlib.errors import StoreError, counted
from aimlib.paths import ObjectPath, Place
from aimlib.records import STUDY_FILE
from aimlib.records.escaping import printable

Executor = InlineExecutor | RayExecutor
_SHOWN = 5
"""Maximum number of lost runs that are named."""


@dataclass(frozen=True)
class SessionOptions:
    """The options of `ablations.sessions.launch.run`, except the study."""

    directory: Place
    address: str | None
    executor: Literal["ray", "inline"]
    until: Mapping[str, int]
    prune: Collection[str]
    track: Collection[str]
    reuse: tuple[str | Place, ...]
    budget: Budget | None
    wait_for_nodes: float
    stop: Stop
    console: Console
    outages: Outages

    def has_plan(self) -> bool:
        """Return whether an earlier session has registered the study in the directory."""
        return self.outages.wait_out((self.directory / STUDY_FILE).exists)


def run_session(file: StudyFile, options: SessionOptions) -> SessionResult:
    """Compute the missing runs of a study without a search; see `ablations.sessions.launch.run`.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed.
    """
    session, console = uuid.uuid4().hex[:12], options.console
    with ExitStack() as stack:
        plan, executor = _planned(file, options, stack)
        refuse_useless(options.budget, plan)
        store = ResultStore(options.directory, outages=options.outages)
        settled = store.settled()
        refuse_another_study(store, plan, settled)
        plan, kept_names = with_stored_names(plan, store.read_plan())
        for line in kept_names:
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        for line in obsolete.notes(plan, options.directory, settled):
            console.print(printable(line), soft_wrap=True, markup=False, highlight=False)
        todo = {task.run_id: task for task in tasks(plan, store, list(plan.runs), session, options.until)}
        missing = {run_id: todo[run_id] for run_id in todo if run_id not in settled and run_id not in options.prune}
        paused = paused_before(missing, store)
        found = _found(plan, missing.keys() - paused.keys(), options)
        waiting = in_order(
            task for run_id, task in missing.items() if run_id not in paused and run_id not in found.runs
        )
        with console.status("freezing the analysis plan"):
            analysis_plan = prepare(plan, store)
        if waiting:
            plan, waiting = _assigned(plan, waiting, executor, store, console)
        # The study replaces an earlier version only now, when nothing can prevent the study from running.
        register(plan, store, settled, console, analysis_plan)
        ledger = store.ledger(session)
        _begin(ledger, options, frozen=analysis_plan is not None)
        reused = _take(found, plan, store, options)
        prune(todo, options.prune, settled, store)
        affordable = AffordableRuns(options.budget, plan, waiting, store)
        coordinator = _compute(affordable, executor, session, options, ledger)
    if waiting:
        store.clean()  # files left by workers that were killed in this session
    head = _end(ledger, options)
    store.compact()
    if not options.stop.requested:
        paused |= coordinator.paused
    result = _result(store, todo, settled, reused, paused, coordinator, options.stop)
    return replace(result, budget=affordable.spent, ledger_head=head)


def _begin(ledger: SessionLedger, options: SessionOptions, *, frozen: bool) -> None:
    """Join the ledger; print its head if the analysis plan has just been frozen, and print which rows are lost."""
    console, joined = options.console, options.outages.wait_out(ledger.join, writes=True)
    if frozen:
        console.print(f"Ledger head at the freeze: {joined.head}", highlight=False, soft_wrap=True)
    if joined.lost:
        runs = counted(
            len(joined.lost), "run in the ledger no longer has a row", "runs in the ledger no longer have a row"
        )
        text = f"{runs} ({', '.join(joined.lost[:_SHOWN])}{', …' if len(joined.lost) > _SHOWN else ''})"
        console.print(f"{text}: damaged or deleted; planned runs are computed again.", highlight=False, soft_wrap=True)


def _end(ledger: SessionLedger, options: SessionOptions) -> str:
    """Write the remaining entries; print and return the ledger head."""
    console = options.console
    try:
        ended = options.outages.wait_out(ledger.end, writes=True)
    except StoreError as error:
        console.print(f"The ledger is incomplete until the next session: {error}", markup=False, soft_wrap=True)
        return ""
    if ended.head:
        runs = counted(ended.entered, "settled run")
        console.print(f"Ledger head, which covers {runs}: {ended.head}", highlight=False, soft_wrap=True)
    return ended.head


def _found(plan: Plan, missing: Collection[str], options: SessionOptions) -> Reusable:
    """Return the missing runs that other studies have computed, and print which rows cannot be used."""
    with options.console.status("verifying results from other studies" if options.reuse and missing else ""):
        found = reuse_of.find(plan, missing, options.reuse, options.directory)
    for line in found.notices:
        options.console.print(line, soft_wrap=True, markup=False, highlight=False)
    return found


def _take(found: Reusable, plan: Plan, store: ResultStore, options: SessionOptions) -> int:
    """Copy the rows that were found, and return how many."""
    if not found.runs:
        return 0
    with options.console.status("copying results from other studies"), options.stop.gentle():
        reused = reuse_of.take(found, plan, store, lambda: options.stop.requested)
        store.clean()  # checkpoints of runs that this study had started
    text = f"{reused} of {counted(len(plan.runs), 'run')} {'is' if reused == 1 else 'are'} copied from"
    options.console.print(f"{text} {found.origins}", soft_wrap=True, markup=False, highlight=False)
    if left := found.runs.keys() - store.settled():
        options.console.print(
            f"{counted(len(left), 'run')} changed or disappeared in the other study, or the session was interrupted; "
            "the same command continues"
        )
    return reused


def _planned(file: StudyFile, options: SessionOptions, stack: ExitStack) -> tuple[Plan, Executor]:
    """Return the plan and the executor; the executor is already starting if runs are certainly missing."""
    executor: Executor = InlineExecutor([])
    if options.executor == "ray":
        executor = stack.enter_context(RayExecutor([], options.address, wait_for_nodes=options.wait_for_nodes))
    with options.console.status("checking the study, its networks and its data"):
        # Ray starts in the background, because this takes as long as importing torch and building the networks.
        if not options.reuse and not options.has_plan():
            executor.begin()
        arms = planning.arms_of(file)
        executor.expect(arm.resources for arm in arms)
        if not options.reuse and _is_unfinished(options, len(arms) * len(file.spec.seeds)):
            executor.begin()
        return planning.plan(file, arms), executor


def _is_unfinished(options: SessionOptions, planned: int) -> bool:
    """Return whether a study certainly has runs without results; create nothing."""
    if not options.has_plan():
        return True
    return len(ResultStore(options.directory, outages=options.outages).settled()) < planned


def _assigned(
    plan: Plan, waiting: list[Task], executor: Executor, store: ResultStore, console: Console
) -> tuple[Plan, list[Task]]:
    """Return the plan and the tasks with the GPUs that they request, once the executor can compute the tasks."""
    if not isinstance(executor, RayExecutor):
        executor.check()
        return plan, waiting
    with console.status("starting Ray"):
        executor.check(lambda text: console.print(text, soft_wrap=True, markup=False, highlight=False))
    plan, waiting = with_measured_shares(plan, waiting, executor, store, console)
    return plan, with_one_type_per_seed(waiting, executor, store)


def _compute(
    affordable: AffordableRuns, executor: Executor, session: str, options: SessionOptions, ledger: SessionLedger
) -> Coordinator:
    from ablations.execution import device_references  # noqa: PLC0415 -- imports torch

    plan, store, waiting, stop = affordable.plan, affordable.store, affordable.waiting, options.stop
    batch = affordable.next()
    scheduler = Scheduler(batch, plan.study.spec.resources.max_retries, shares=remembered(store, waiting))
    slots = max(1, min(len(waiting), executor.parallel))
    progress = Progress(
        Outline.of(plan), store.settled(), parallel=slots, resources=executor.takes, totals=executor.totals
    )
    reporter = ProgressReporter(progress, options.console, store.at_once(), session, outages=store.outages)
    trackers = trackings(options.track, plan, _tracking_place(store), lambda text: reporter.handle(Notice(text)))
    subscribers: list[ProgressReporter | Tracking] = [reporter, *trackers]
    todo = {task.run_id: task for task in waiting}
    at_once = store.at_once(ANSWER_S)
    listeners = [*subscribers, RetryLog(at_once)]
    coordinator = Coordinator(at_once, todo, scheduler, stop, session, listeners, options.console, ledger)
    if not batch:
        return coordinator
    with ExitStack() as stack:
        stack.callback(_forget_stop, store, session)
        for each in subscribers:  # the reporter ends last, because a tracker may still send messages
            stack.enter_context(each)
        for text in (*notices(executor.resources, scheduler.shares), *device_references.notices(store)):
            coordinator.handle(Notice(text))
        with stop.gentle(), store.outages.reporting(coordinator.notify):
            while batch and not stop.requested:
                executor.execute(scheduler, coordinator, stop)
                batch = coordinator.released()
                if not batch and not stop.requested:
                    batch = store.outages.wait_out(affordable.next)
                scheduler.add(batch)
        coordinator.report_outages()
    return coordinator


def _result(
    store: ResultStore,
    todo: Mapping[str, Task],
    settled: set[str],
    reused: int,
    paused: Mapping[str, float | None],
    coordinator: Coordinator,
    stop: Stop,
) -> SessionResult:
    done = store.settled() & set(todo)
    over = done | set(coordinator.failed) | set(paused)
    return SessionResult(
        directory=store.place,
        planned=len(todo),
        settled_before=len(settled & set(todo)),
        computed=len(done - settled) - reused,
        reused=reused,
        failed=coordinator.failed,
        open=tuple(run_id for run_id in todo if run_id not in over),
        paused=paused,
        completed=tuple(run_id for run_id in todo if run_id in done),
        withheld=coordinator.withheld,
        interrupted=stop.reason,
        code=stop.code,
    )


def _forget_stop(store: ResultStore, session: str) -> None:
    """Withdraw a stop request; if the storage is unavailable, it is removed later, with the states of dead sessions."""
    with suppress(StoreError):
        store.at_once(ANSWER_S).forget_stop(session)


def _tracking_place(store: ResultStore) -> Path:
    """Return the folder for the trackers: the study directory or, for a study in object storage, a local folder."""
    where = store.place
    return Path("results") / where.name if isinstance(where, ObjectPath) else where
