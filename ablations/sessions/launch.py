"""Running a study: what is settled stays, what is missing is computed, and what was begun goes on."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from ablations.execution.capacity import accelerators, types_of_seeds
from ablations.execution.inline import InlineExecutor
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.run_task import paused_at, settle_as_pruned, tasks
from ablations.execution.scheduler import Queue, in_order
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from ablations.progress import Outline, Progress, Sight
from ablations.sessions import sequential_looks
from ablations.sessions.coordinator import Desk, Watcher
from ablations.sessions.registration import prepare, refuse_another_study, register
from ablations.sessions.remembered_shares import remembered
from ablations.sessions.result import Session
from ablations.spec.resources import Resources, idle_gpus
from ablations.spec.study import StudyFile, read_study
from ablations.store import ResultStore
from ablations.trackers.base import refuse_unusable
from ablations.trackers.subscriber import trackings
from aimlib.errors import UsageError
from aimlib.paths import ObjectPath, Place, place
from aimlib.records import STUDY_FILE


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
    """Compute what is missing of a study.

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
    prune : ids of paused runs that are settled as they are, with the status ``pruned``, instead of going on.
    until_verdict : after every look add the seeds of the next one, until nothing is open; see `sequential_looks`.
    track : trackers that every run is written to as well: tensorboard, mlflow, wandb.
    console : where progress is shown; None is silent.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed then.
    """
    if address is not None and executor == "inline":
        raise UsageError("--address is of a Ray cluster; it goes with --executor ray")
    for name in track:
        refuse_unusable(name)
    console = console or Console(quiet=True)
    file = read_study(study, overrides)
    if file.spec.search is not None:
        raise UsageError(
            f"{file.path}: search: this study searches first; run it with ablations.sessions.screening.run"
        )
    directory = place(out if out is not None else Path("results") / file.spec.name)

    def with_seeds(seeds: Sequence[int]) -> Session:
        wanted = StudyFile(file.spec.model_copy(update={"seeds": tuple(seeds)}), file.path)
        return _session(wanted, directory, address, executor, until or {}, prune, track, stop, console)

    stop = Stop()
    with stop.on_signals():
        if not until_verdict:
            return with_seeds(file.spec.seeds)
        before = ResultStore(directory).read_plan() or {} if (directory / STUDY_FILE).exists() else {}
        return sequential_looks.until_verdict(file, before.get("seeds", ()), with_seeds, console)


def _session(
    file: StudyFile,
    directory: Place,
    address: str | None,
    executor: Literal["ray", "inline"],
    until: Mapping[str, int],
    prune: Collection[str],
    track: Collection[str],
    stop: Stop,
    console: Console,
) -> Session:
    """Compute what is missing of a study."""
    session = uuid.uuid4().hex[:12]
    with ExitStack() as stack:
        with console.status("checking the study, its networks and its data"):
            arms = planning.arms_of(file)
            given = [arm.resources for arm in arms]
            hands: InlineExecutor | RayExecutor = InlineExecutor(given)
            if executor == "ray":
                hands = stack.enter_context(RayExecutor(given, address))
            if _is_unfinished(directory, len(arms) * len(file.spec.seeds)):
                hands.begin()  # to start, which takes time, while the rest is found out
            plan = planning.plan(file, arms)
        store = ResultStore(directory)
        refuse_another_study(store, file.spec.name)
        settled = store.settled()
        todo = {task.run_id: task for task in tasks(plan, store, list(plan.runs), session, until)}
        missing = {run_id: task for run_id, task in todo.items() if run_id not in settled and run_id not in prune}
        waiting_there = _paused_there(missing, store)
        waiting = in_order(task for run_id, task in missing.items() if run_id not in waiting_there)
        with console.status("freezing the analysis plan"):
            analysis_plan = prepare(plan, store)
        if waiting:
            with console.status("starting Ray" if executor == "ray" else ""):
                hands.check()
            if isinstance(hands, RayExecutor):
                plan, waiting = _with_shares(plan, waiting, hands, store, console)
                waiting = _on_devices(waiting, hands, store)
        # Only now, when nothing speaks against running it, does the study take the place of an earlier version.
        register(plan, store, settled, console, analysis_plan)
        _prune(todo, prune, settled, store)
        desk = _compute(plan, store, waiting, hands, session, track, stop, console)
    if waiting:
        store.clean()  # of workers that were killed in this session
    store.compact()
    done = store.settled() & set(todo)
    paused = waiting_there if stop.requested else {**waiting_there, **desk.paused}
    over = done | set(desk.failed) | set(paused)
    return Session(
        directory=store.place,
        planned=len(plan.runs),
        settled_before=len(settled & set(todo)),
        computed=len(done - settled),
        failed=desk.failed,
        open=tuple(run_id for run_id in todo if run_id not in over),
        paused=paused,
        withheld=desk.withheld,
        interrupted=stop.reason,
        code=stop.code,
    )


def _is_unfinished(directory: Place, planned: int) -> bool:
    """Tell whether a study is sure to have runs without a result; creates nothing."""
    return not (directory / STUDY_FILE).exists() or len(ResultStore(directory).settled()) < planned


def _paused_there(missing: Mapping[str, Task], store: ResultStore) -> dict[str, float | None]:
    """Return the runs that are at the epoch they are to go to already."""
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


def _with_shares(
    plan: Plan, waiting: list[Task], hands: RayExecutor, store: ResultStore, console: Console
) -> tuple[Plan, list[Task]]:
    """Return plan and tasks with the shares of a GPU that were measured, where arms ask for ``gpus: auto``."""
    if not any(arm.resources.gpus_auto for arm in plan.arms):
        return plan, waiting
    from ablations.estimation.gpu_shares import settle_shares  # noqa: PLC0415 -- the rest of training, needed by few studies

    plan = settle_shares(plan, hands.nodes, store, console)
    hands.give(arm.resources for arm in plan.arms)
    gpus = {arm.name: arm.resources.gpus for arm in plan.arms}
    return plan, [replace(task, gpus=gpus[task.arm]) for task in waiting]


def _on_devices(waiting: list[Task], hands: RayExecutor, store: ResultStore) -> list[Task]:
    """Return the tasks with the type of GPU that all runs of their seed have, where the cluster has several."""
    seeds = list(dict.fromkeys(task.config["seed"] for task in waiting if task.device == "cuda"))
    kinds = accelerators(hands.nodes, [wanted for wanted in hands.resources if wanted.gpus > 0])
    types = types_of_seeds(seeds, kinds, _devices_before(kinds, store) if len(kinds) > 1 else None)
    return [
        replace(task, accelerator=types.get(task.config["seed"], "")) if task.device == "cuda" else task
        for task in waiting
    ]


def _devices_before(kinds: Iterable[str], store: ResultStore) -> dict[int, str]:
    """Return the type of GPU on which the settled runs of each seed were computed, of those that there are."""
    import analysis  # noqa: PLC0415 -- pandas, and only a cluster with several types asks

    if store.read_plan() is None:
        return {}
    rows = analysis.load(store.place).runs[["seed", "device_name"]].dropna()
    by_length = sorted(kinds, key=len, reverse=True)  # A100 before A10
    found: dict[int, str] = {}
    for seed, name in zip(rows["seed"], rows["device_name"], strict=True):
        if kind := next((kind for kind in by_length if kind in name), ""):
            found.setdefault(int(seed), kind)
    return found


def _compute(
    plan: Plan,
    store: ResultStore,
    waiting: list[Task],
    hands: InlineExecutor | RayExecutor,
    session: str,
    track: Collection[str],
    stop: Stop,
    console: Console,
) -> Desk:
    queue = Queue(waiting, plan.study.spec.resources.max_retries, shares=remembered(store, waiting))
    slots = max(1, min(len(waiting), hands.parallel))
    state = Progress(Outline.of(plan), store.settled(), parallel=slots, resources=hands.takes, totals=hands.totals)
    sight = Sight(state, console, store, session)
    watchers: list[Watcher] = [*trackings(track, plan, _tracking_place(store), sight.note), sight]
    desk = Desk(store, {task.run_id: task for task in waiting}, queue, stop, session, watchers, console)
    if not waiting:
        return desk
    try:
        for each in watchers:
            each.start()
        for text in _to_know(hands.resources, queue):
            desk.note(text)
        with stop.gentle():
            while waiting and not stop.requested:
                hands.execute(queue, desk, stop)
                waiting = desk.released()
                queue.add(waiting)
    finally:
        for each in watchers:
            each.stop()
        store.forget_stop(session)
    return desk


def _to_know(resources: Iterable[Resources], queue: Queue) -> list[str]:
    """Return what is to be said of GPUs before runs begin."""
    idle = dict.fromkeys(text for wanted in resources if (text := idle_gpus(wanted)) is not None)
    grown = [
        f"runs of {arm} begin with {share:g} of a GPU, as they were out of memory with less before"
        for arm, share in queue.shares.items()
    ]
    return [*idle, *grown]


def _tracking_place(store: ResultStore) -> Path:
    """Return where trackers write: the study directory, or, for a study in object storage, a folder here."""
    where = store.place
    return Path("results") / where.name if isinstance(where, ObjectPath) else where
