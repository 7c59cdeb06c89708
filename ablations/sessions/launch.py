"""Running a study: settled runs stay, missing runs are computed, and started runs continue."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from ablations.execution.events import Notice
from ablations.execution.inline import InlineExecutor
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.scheduler import Scheduler, in_order
from ablations.execution.signals import Interrupted, Stop
from ablations.execution.task import Task
from ablations.planning import own_code
from ablations.planning import plan as planning
from ablations.planning.approval import Trust
from ablations.planning.plan import Plan
from ablations.planning.stored_names import with_stored_names
from ablations.progress import Outline, Progress, ProgressReporter
from ablations.sessions import obsolete, sequential_looks
from ablations.sessions import reuse as reuse_of
from ablations.sessions.budget import AffordableRuns, Budget, refuse_useless
from ablations.sessions.coordinator import ANSWER_S, Coordinator
from ablations.sessions.gpu_assignment import notices, with_measured_shares, with_one_type_per_seed
from ablations.sessions.registration import prepare, refuse_another_study, register
from ablations.sessions.remembered_shares import remembered
from ablations.sessions.result import SessionResult
from ablations.sessions.retry_log import RetryLog
from ablations.sessions.reuse import Reusable
from ablations.sessions.tasks import tasks
from ablations.spec.durations import parse_seconds
from ablations.spec.study import StudyFile, StudySource, read_study
from ablations.store import ResultStore
from ablations.store.ledger import SessionLedger
from ablations.store.outages import Outages
from ablations.store.repair import repair
from ablations.trackers.base import refuse_unusable
from ablations.trackers.subscriber import Tracking, trackings
from aimlib.errors import StoreError, UsageError, counted
from aimlib.paths import ObjectPath, Place, place
from aimlib.records import STUDY_FILE
from aimlib.records.escaping import printable

Executor = InlineExecutor | RayExecutor
_SHOWN = 5
"""Number of lost runs that are named."""


def run(
    study: StudySource,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    until: Mapping[str, int] | None = None,
    prune: Collection[str] = (),
    until_verdict: bool = False,
    track: str | Collection[str] = (),
    reuse: str | Place | Iterable[str | Place] = (),
    budget: str | None = None,
    wait_for_nodes: str | None = None,
    trust: Trust = (),
    console: Console | None = None,
) -> SessionResult:
    """Compute the missing runs of a study without a search; `ablations.run` is the same for all studies.

    Ctrl-C or SIGTERM ends the session after every run has saved its state; a second one ends it at once, with
    KeyboardInterrupt.

    Parameters
    ----------
    study : path of a study file, the name of a shipped study, a mapping of its keys, or an `ablations.Study`.
    out : study directory, or the URL of one in object storage; None is ``results/<name>``.
    overrides : ``key.path=value`` each, see `ablations.spec.study.read_study`.
    address : of a Ray cluster; None starts Ray on this machine.
    executor : ``inline`` computes in this process, one run after the other.
    until : number of epochs after which a run pauses, by run id; such runs are in `SessionResult.paused`.
    prune : ids of paused runs that are settled as they are, with the status ``pruned``, instead of being continued.
    until_verdict : after every look add the seeds of the next one, until nothing is open; see `sequential_looks`.
    track : trackers that every run is also written to: tensorboard, mlflow, wandb.
    reuse : directories of other studies, or folders of study directories: results of the same run ids are verified and
        copied instead of being computed again; see `ablations.sessions.reuse`. Those that the study names follow.
    budget : device hours of the study, all its sessions together, such as ``20gpuh`` or ``90cpumin``: looks are begun
        while they are affordable; see `ablations.sessions.budget`. None: no limit.
    wait_for_nodes : how long to wait for nodes on which the runs fit, such as ``30min`` or ``2h``, while an autoscaler
        adds them. None: a study that fits on no present node is refused.
    trust : hashes of approved own code of files that the study names; True approves all of it; see
        `ablations.planning.approval`.
    console : where progress is shown; None is silent.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed.
    """
    if address is not None and executor == "inline":
        raise UsageError("--address names a Ray cluster; it needs --executor ray")
    track = (track,) if isinstance(track, str) else track
    for name in track:
        refuse_unusable(name)
    limit = Budget.parse(budget) if budget is not None else None
    wait = _seconds_to_wait(wait_for_nodes, address)
    console = console or Console(quiet=True)
    file = read_study(study, overrides)
    if file.spec.search is not None:
        raise UsageError(f"{file.where}: search: this study searches first; run it with ablations.run")
    enter(file, trust, console)
    directory = place(out if out is not None else Path("results") / file.spec.name)
    stop = Stop()
    outages = waits_of(file, stop, console)
    others = (reuse,) if isinstance(reuse, (str, Place)) else tuple(reuse)
    options = _Options(
        directory,
        address,
        executor,
        until or {},
        prune,
        track,
        (*others, *file.spec.reuse),
        limit,
        wait,
        stop,
        console,
        outages,
    )

    def with_seeds(seeds: Sequence[int]) -> SessionResult:
        return _session(StudyFile(file.spec.model_copy(update={"seeds": tuple(seeds)}), file.path), options)

    with stop.on_signals(), _interruptible(options):
        outages.wait_out(lambda: _repair(directory, console))
        if not until_verdict:
            return with_seeds(file.spec.seeds)
        before = ResultStore(directory, outages=outages).read_plan() or {} if _has_plan(options) else {}
        return sequential_looks.until_verdict(file, before.get("seeds", ()), with_seeds, console)


def _seconds_to_wait(text: str | None, address: str | None) -> float:
    if text is None:
        return 0.0
    if address is None:
        raise UsageError(
            "--wait-for-nodes: no nodes are added to this machine; give --address of a Ray cluster as well"
        )
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--wait-for-nodes: {error}") from error


def enter(file: StudyFile, trust: Trust, console: Console) -> None:
    """Register the own code of a study, and print what its reader should know of the code and of overrides."""
    for line in (*file.notes, *own_code.enter(file, trust).notes):
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def waits_of(file: StudyFile, stop: Stop, console: Console) -> Outages:
    """Return how a session waits for its storage; notices are printed until the session has a better place for them."""

    def say(text: str) -> None:
        console.print(printable(text), soft_wrap=True, markup=False, highlight=False)

    limit = file.spec.resources.outage_hours * 3600
    return Outages(limit, notify=say, interrupted=lambda: stop.requested)


@contextmanager
def _interruptible(options: _Options) -> Iterator[None]:
    """End with the exit code of a request to stop if that interrupted waiting for the storage."""
    try:
        yield
    except StoreError as error:
        if not options.stop.requested or not options.outages.passes(error):
            raise
        text = printable(f"{options.stop.reason}: the storage is unavailable: {error}")
        options.console.print(text, soft_wrap=True, markup=False, highlight=False)
        raise Interrupted(options.stop.code) from None


def _has_plan(options: _Options) -> bool:
    return options.outages.wait_out((options.directory / STUDY_FILE).exists)


def _repair(directory: Place, console: Console) -> None:
    """Set damaged files of an earlier session aside, and print what is lost and what is done."""
    if isinstance(directory, Path) and not directory.is_dir():
        return
    with console.status("verifying the stored results"):
        lines = repair(directory, networks=False)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


@dataclass(frozen=True)
class _Options:
    """The options of `run` besides the study."""

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


def _session(file: StudyFile, options: _Options) -> SessionResult:
    """Compute the missing runs of a study."""
    session, console = uuid.uuid4().hex[:12], options.console
    with ExitStack() as stack:
        plan, executor = _planned(file, options, stack)
        refuse_useless(options.budget, plan)
        store = ResultStore(options.directory, outages=options.outages)
        refuse_another_study(store, file.spec.name)
        plan, kept_names = with_stored_names(plan, store.read_plan())
        for line in kept_names:
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        settled = store.settled()
        for line in obsolete.notes(plan, options.directory, settled):
            console.print(printable(line), soft_wrap=True, markup=False, highlight=False)
        todo = {task.run_id: task for task in tasks(plan, store, list(plan.runs), session, options.until)}
        missing = {run_id: todo[run_id] for run_id in todo if run_id not in settled and run_id not in options.prune}
        paused = _paused_before(missing, store)
        found = _found(plan, missing.keys() - paused.keys(), options)
        waiting = in_order(
            task for run_id, task in missing.items() if run_id not in paused and run_id not in found.runs
        )
        with console.status("freezing the analysis plan"):
            analysis_plan = prepare(plan, store)
        if waiting:
            plan, waiting = _assigned(plan, waiting, executor, store, console)
        # Only now, when nothing prevents it from running, does the study replace an earlier version.
        register(plan, store, settled, console, analysis_plan)
        ledger = store.ledger(session)
        _begin(ledger, options, frozen=analysis_plan is not None)
        reused = _take(found, plan, store, options)
        _prune(todo, options.prune, settled, store)
        affordable = AffordableRuns(options.budget, plan, waiting, store)
        coordinator = _compute(affordable, executor, session, options, ledger)
    if waiting:
        store.clean()  # of workers that were killed in this session
    head = _end(ledger, options)
    store.compact()
    if not options.stop.requested:
        paused |= coordinator.paused
    result = _result(store, todo, settled, reused, paused, coordinator, options.stop)
    return replace(result, budget=affordable.spent, ledger_head=head)


def _begin(ledger: SessionLedger, options: _Options, *, frozen: bool) -> None:
    """Join the ledger, and print its head if the analysis plan has just been frozen, and which rows are lost."""
    console, joined = options.console, options.outages.wait_out(ledger.join, writes=True)
    if frozen:
        console.print(f"Ledger head at the freeze: {joined.head}", highlight=False, soft_wrap=True)
    if joined.lost:
        runs = counted(len(joined.lost), "run of the ledger has", "runs of the ledger have")
        text = f"{runs} no row any more ({', '.join(joined.lost[:_SHOWN])}{', …' if len(joined.lost) > _SHOWN else ''})"
        console.print(f"{text}: damaged or deleted; planned ones are computed again.", highlight=False, soft_wrap=True)


def _end(ledger: SessionLedger, options: _Options) -> str:
    """Write the rest of the chain, and print and return the head of the ledger."""
    console = options.console
    try:
        ended = options.outages.wait_out(ledger.end, writes=True)
    except StoreError as error:
        console.print(f"The ledger is incomplete until the next session: {error}", markup=False, soft_wrap=True)
        return ""
    if ended.head:
        runs = counted(ended.entered, "settled run")
        console.print(f"Ledger head, which stands for {runs}: {ended.head}", highlight=False, soft_wrap=True)
    return ended.head


def _found(plan: Plan, missing: Collection[str], options: _Options) -> Reusable:
    """Return the missing runs that other studies have, and print which rows cannot be used."""
    with options.console.status("verifying results of other studies" if options.reuse and missing else ""):
        found = reuse_of.find(plan, missing, options.reuse, options.directory)
    for line in found.notices:
        options.console.print(line, soft_wrap=True, markup=False, highlight=False)
    return found


def _take(found: Reusable, plan: Plan, store: ResultStore, options: _Options) -> int:
    """Copy the rows that were found; return their number."""
    if not found.runs:
        return 0
    with options.console.status("copying results of other studies"), options.stop.gentle():
        reused = reuse_of.take(found, plan, store, lambda: options.stop.requested)
        store.clean()  # checkpoints of runs that this study had begun
    text = f"{reused} of {counted(len(plan.runs), 'run')} {'is' if reused == 1 else 'are'} taken over from"
    options.console.print(f"{text} {found.origins}", soft_wrap=True, markup=False, highlight=False)
    if left := found.runs.keys() - store.settled():
        options.console.print(
            f"{counted(len(left), 'run')} changed or vanished in the other study, or the session was interrupted; "
            f"the same command continues"
        )
    return reused


def _planned(file: StudyFile, options: _Options, stack: ExitStack) -> tuple[Plan, Executor]:
    """Return the plan, and the executor, which is already starting if runs are sure to be missing."""
    executor: Executor = InlineExecutor([])
    if options.executor == "ray":
        executor = stack.enter_context(RayExecutor([], options.address, wait_for_nodes=options.wait_for_nodes))
    with options.console.status("checking the study, its networks and its data"):
        # Ray starts in the background, because that takes as long as importing torch and building the networks.
        if not options.reuse and not _has_plan(options):
            executor.begin()
        arms = planning.arms_of(file)
        executor.expect(arm.resources for arm in arms)
        if not options.reuse and _is_unfinished(options, len(arms) * len(file.spec.seeds)):
            executor.begin()
        return planning.plan(file, arms), executor


def _assigned(
    plan: Plan, waiting: list[Task], executor: Executor, store: ResultStore, console: Console
) -> tuple[Plan, list[Task]]:
    """Return plan and tasks with the GPUs that they request, once the executor is available and can compute them."""
    if not isinstance(executor, RayExecutor):
        executor.check()
        return plan, waiting
    with console.status("starting Ray"):
        executor.check(lambda text: console.print(text, soft_wrap=True, markup=False, highlight=False))
    plan, waiting = with_measured_shares(plan, waiting, executor, store, console)
    return plan, with_one_type_per_seed(waiting, executor, store)


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


def _is_unfinished(options: _Options, planned: int) -> bool:
    """Return whether a study surely has runs without a result; creates nothing."""
    if not _has_plan(options):
        return True
    return len(ResultStore(options.directory, outages=options.outages).settled()) < planned


def _paused_before(missing: Mapping[str, Task], store: ResultStore) -> dict[str, float | None]:
    """Return the runs that have already reached the requested epoch."""
    found: dict[str, float | None] = {}
    if all(task.until is None for task in missing.values()):
        return found
    from ablations.execution.run_task import paused_at  # noqa: PLC0415 -- imports torch

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
            from ablations.execution.run_task import paused_at, settle_as_pruned  # noqa: PLC0415 -- imports torch

            epochs, _ = paused_at(todo[run_id], store)
            if not settle_as_pruned(todo[run_id], store, f"stopped after {epochs} epochs by the search"):
                raise UsageError(f"run {run_id} is held by {store.holder(run_id)}; wait for it, or end it")


def _compute(
    affordable: AffordableRuns, executor: Executor, session: str, options: _Options, ledger: SessionLedger
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
        for each in subscribers:  # the reporter ends last: a tracker may still have something to say
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


def _forget_stop(store: ResultStore, session: str) -> None:
    """Withdraw a request to stop; without storage it stays, and is removed with the states of dead sessions."""
    with suppress(StoreError):
        store.at_once(ANSWER_S).forget_stop(session)


def _tracking_place(store: ResultStore) -> Path:
    """Return where trackers write: the study directory, or, for a study in object storage, a folder here."""
    where = store.place
    return Path("results") / where.name if isinstance(where, ObjectPath) else where
