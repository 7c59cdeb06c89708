"""Adapter between Tune and this package's scheduler: it submits the next task to Tune, and passes on Tune's reports."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from ablations.execution.attempts import Ending, ending_of_death
from ablations.execution.capacity import ACCELERATOR_TYPE, LITTLE_OF_TYPE, Room, holds
from ablations.execution.events import (
    TICK,
    AttemptEnded,
    EpochEnded,
    ExecutorEvent,
    NodesChanged,
    Notice,
    RunStarted,
    StorageWait,
    Subscriber,
)
from ablations.execution.ray.draining import is_draining
from ablations.execution.ray.excluded_nodes import OccupiedNodes, excluded
from ablations.execution.ray.gpu_usage import Usage
from ablations.execution.scheduler import Fit, Scheduler
from ablations.execution.signals import CLUSTER_GONE, Stop
from ablations.execution.task import Task, as_json
from aimlib.errors import counted

_NODES = 5.0
"""Seconds between two checks of which nodes are alive."""
_SLACK = 2.0
"""Factor by which the driver waits longer than a worker before it assumes that a silent run hangs."""


_WORKER_START_S = 20.0
"""Seconds after which a run no longer waits for the worker that is starting for it."""
_NOTHING: dict[str, Any] = {}


class TaskSearcher(Searcher):  # type: ignore[misc]
    """Submits the scheduler's tasks to Tune, one at a time, whenever there is room for a task."""

    def __init__(self, scheduler: Scheduler, callback: TuneCallback, stall_seconds: float) -> None:
        super().__init__(metric=None, mode=None)
        self._scheduler, self._callback, self._stall = scheduler, callback, stall_seconds

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next task; None if no task is ready or there is no room; FINISHED if no more tasks will follow.

        Tune requests a worker for each trial that is submitted, even if a worker is about to become free.
        """
        self._callback.watch()  # Tune sleeps here while nothing is running
        task = self._scheduler.next(self._callback.fit)
        if task is not None:
            content, bundle = json.dumps(as_json(task)), bundle_of(task)
            self._callback.gave(task.run_id, bundle)
            given = {"task": content, "resources": json.dumps(bundle), "stall_seconds": self._stall}
            return given | {"left_out": json.dumps(self._callback.left_out)}
        return str(Searcher.FINISHED) if self._scheduler.exhausted else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing, because endings are received through `TuneCallback`."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the store is the source of truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **_: Any) -> None:
        """Keep nothing."""


class StartOrder(FIFOScheduler):  # type: ignore[misc]
    """Makes a run wait for the worker that is starting for it, while free workers take later runs.

    In Tune's own order, the oldest waiting run gets the first worker that becomes free, and the worker that was
    starting for that run is stopped. If runs end before a worker has started, all runs are computed in one process, and
    each run needlessly starts a process that imports Ray. If a run's worker does not start in time, for example because
    its node must still be added to the cluster, the run gets the next free worker, as in Tune's own order.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._added: dict[str, float] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Record the time at which a run begins to wait."""
        self._added[trial.trial_id] = self._clock()

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the oldest run that has waited for its worker for too long, or None."""
        for trial in tune_controller.get_trials():
            if trial.status != "PENDING":
                self._added.pop(trial.trial_id, None)
            elif self._clock() - self._added.get(trial.trial_id, float("-inf")) > _WORKER_START_S:
                return trial
        return None


def bundle_of(task: Task) -> dict[str, float]:
    """Return the resources that a task needs on a node, by Ray's names."""
    bundle = {"CPU": float(task.threads)} | ({"GPU": task.gpus} if task.gpus else {})
    if task.memory_bytes:
        bundle["memory"] = float(task.memory_bytes)
    if task.accelerator:
        bundle[f"{ACCELERATOR_TYPE}{task.accelerator}"] = LITTLE_OF_TYPE
    return bundle | dict(task.custom)


class SessionStopper(tune.Stopper):  # type: ignore[misc]
    """Stopper that ends a session immediately on request."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stop an individual run."""
        return False

    def stop_all(self) -> bool:
        """Return whether the session must end."""
        return self.now


class TuneCallback(tune.Callback):  # type: ignore[misc]
    """Passes Tune's reports on to the coordinator, and monitors nodes and workers.

    Parameters
    ----------
    room : receives the current nodes and the excluded GPUs.
    usage : receives the runs' GPUs, and occupies the excluded GPUs.
    grace : seconds after an urgent request to stop during which runs may save their state.
    stall : seconds of silence after which a worker assumes that its run hangs.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        coordinator: Subscriber[ExecutorEvent],
        stop: Stop,
        stopper: SessionStopper,
        room: Room,
        usage: Usage,
        *,
        grace: float,
        stall: float,
    ) -> None:
        self._scheduler, self._coordinator, self._stop, self._stopper, self._room = (
            scheduler,
            coordinator,
            stop,
            stopper,
            room,
        )
        self._usage = usage
        self._occupied, self._without = OccupiedNodes(), frozenset[str]()
        self._grace, self._stall = grace, stall
        self._heard: dict[str, float] = {}
        self._given: dict[str, Mapping[str, float]] = {}
        self._trials: dict[str, Any] = {}
        self._looked = time.monotonic()
        self._nodes: NodesChanged | None = None
        self._spent = 0
        """Workers that must not take another run, although Tune may already have assigned them one."""
        self._leave_out()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Pass on what a worker reported."""
        run_id = _run_id(trial)
        self._heard[run_id], self._trials[run_id] = time.monotonic(), trial
        self._given.pop(run_id, None)
        for event in result.get("events", ()):
            if "began" in event:
                self._usage.has(run_id, event.get("slots", ()))
                self._coordinator.handle(RunStarted(run_id, event["began"]))
            elif "epoch" in event:
                self._coordinator.handle(EpochEnded(run_id, event["epoch"]))
            elif "notice" in event:
                self._coordinator.handle(Notice(event["notice"], run_id))
            elif "outage" in event:
                self._coordinator.handle(StorageWait(run_id, event["outage"]))
            elif "ended" in event:
                self._ended(run_id, Ending(**event["ended"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Report that a worker has ended; do nothing if its run had already ended."""
        run_id = _run_id(trial)
        was_heard = run_id in self._heard
        self._forget(run_id)
        if run_id in self._scheduler.running:
            if not was_heard and self._spent:
                self._spent -= 1
                ending = Ending("not_begun", "its worker could not take another run")
            else:
                ending = ending_of_death(report_of_death(trial))
            self._coordinator.handle(AttemptEnded(run_id, ending))

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Monitor nodes and workers, and keep Tune from accumulating ended trials."""
        self.watch()
        _let_go(trials)

    def _ended(self, run_id: str, ending: Ending) -> None:
        self._spent += ending.process_spent
        ending = replace(ending, device=self._usage.named(run_id, ending.device))
        self._forget(run_id)
        self._coordinator.handle(AttemptEnded(run_id, ending))
        without = self._without
        if self._leave_out():
            changed = self._without != without
            self._coordinator.handle(Notice(self._nodes_left() if changed else self._room.gpus()))

    def _leave_out(self) -> bool:
        """Occupy the excluded GPUs; return whether they have changed."""
        names = self._scheduler.devices.left_out
        without = excluded(names, self._room.nodes)
        changed = self._usage.leave_out(names) or without != self._without
        if changed:
            self._without = without
            self._room.leave_out(self._usage.left_out, without)
        return changed

    def _nodes_left(self) -> str:
        number = len(self._room.nodes)
        return f"{number - len(self._without)} of {counted(number, 'node')} are used from now on"

    def close(self) -> None:
        """Release the occupied nodes."""
        self._occupied.close()

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Node and number of every excluded GPU."""
        return [(slot.node, slot.device) for slot in self._usage.left_out]

    def fit(self, task: Task) -> Fit:
        """Return whether there is room for a task."""
        return self._room.fit(bundle_of(task), self._usage.running())

    def watch(self) -> None:
        """Do the periodic work: inform the coordinator, end what must end, check silent workers and dead nodes."""
        self._coordinator.handle(TICK)
        self._tell_of_nodes()
        trapped = any(self._room.fit(bundle, ()) == "never" for bundle in self._given.values())
        self._usage.tick(trapped=trapped)
        self._occupied.occupy(self._room.nodes, () if trapped else self._without)
        if stranded := self._scheduler.stranded(self.fit):
            self._stop.request(_why(stranded, self._scheduler))
        if self._stop.requested:
            self._scheduler.halt()
            late = self._stop.urgent and time.monotonic() - self._stop.since > self._grace
            # Runs that are waiting for a worker have nothing to save.
            if late or not any(run_id in self._heard for run_id in self._scheduler.running):
                self._stopper.now = True
        if time.monotonic() - self._looked >= _NODES:
            self._looked = time.monotonic()
            self._check_nodes()
            self._check_workers()

    def gave(self, run_id: str, bundle: Mapping[str, float]) -> None:
        """Record that a run is waiting for a worker."""
        self._given[run_id] = bundle
        self._usage.gave(run_id, bundle)

    def _tell_of_nodes(self) -> None:
        """Report the nodes of a cluster if they have changed; the nodes of this machine never change."""
        now = NodesChanged(self._room.node_count, self._room.parallel, self._room.totals)
        if now != self._nodes and (now.nodes or self._nodes):
            self._nodes = now
            self._coordinator.handle(now)

    def _check_nodes(self) -> None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self._room.update({node["NodeID"]: node["Resources"] for node in nodes})
        for run_id, bundle in list(self._given.items()):
            if not any(holds(node["Resources"], bundle) for node in nodes):
                del self._given[run_id]
                needs = ", ".join(f"{amount:g} {name}" for name, amount in bundle.items())
                text = f"no node can hold {run_id} any more ({needs}): waiting for a node that can"
                self._coordinator.handle(Notice(text))
        if is_draining():
            self._stop.request("Ray's node on this machine is being shut down", 143, urgent=True)
        alive = {node["NodeID"] for node in nodes}
        if ray.get_runtime_context().get_node_id() in alive or self._stopper.now:
            return
        self._stop.request(CLUSTER_GONE)
        self._scheduler.halt()
        self._stopper.now = True

    def _check_workers(self) -> None:
        """End workers that have been silent for a long time, because a machine may hang with all its workers."""
        limit = _SLACK * self._stall + 60
        for run_id, heard in list(self._heard.items()):
            if time.monotonic() - heard > limit:
                actor = getattr(getattr(self._trials[run_id], "temporary_state", None), "ray_actor", None)
                self._heard[run_id] = time.monotonic()
                if actor is not None:
                    ray.kill(actor)

    def _forget(self, run_id: str) -> None:
        self._heard.pop(run_id, None)
        self._given.pop(run_id, None)
        self._trials.pop(run_id, None)
        self._usage.forget(run_id)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles callbacks for a restore, which never happens.
        return (tune.Callback, ())


def _why(stranded: list[Task], scheduler: Scheduler) -> str:
    """Return why a session ends if its runs fit only on failed GPUs."""
    if any(name.startswith("CPU of ") for name in scheduler.devices.left_out):
        return (
            f"every device that could hold the {counted(len(stranded), 'remaining run')} computed wrong results twice: "
            f"{scheduler.devices.described()}; {scheduler.devices.advice()}"
        )
    arms = Counter(arm for run, number in scheduler.devices.runs().items() for arm in [scheduler.arm_of(run)] * number)
    faults = ", ".join(f"{arm} {number}" for arm, number in arms.most_common())
    return (
        f"every GPU that could hold the {counted(len(stranded), 'remaining run')} failed twice: "
        f"{scheduler.devices.described()}; their faults by arm: {faults}. Reset or replace them (nvidia-smi -q -d "
        "ECC, dmesg), or check the arm's code if all faults occurred in one arm; the same command continues from here"
    )


def _let_go(trials: list[Any]) -> None:
    """Remove ended trials from Tune's own list, which it traverses at every step, and empty them.

    Tune passes callbacks the list that it uses itself. Its other records of ended trials cannot be accessed from here,
    so each trial is emptied: its unused averaged metrics, its configuration and its resource request are removed.
    Nothing is lost, because ended runs are in the store. The last trial stays, because without any trials, Tune would
    read its own files at the end.
    """
    ended = [trial for trial in trials if trial.is_finished()]
    for trial in ended[:-1]:
        trials.remove(trial)
        trial.run_metadata = type(trial.run_metadata)()
        trial.temporary_state = trial.placement_group_factory = trial.storage = None
        trial.config = trial.evaluated_params = trial.stopping_criterion = _NOTHING
        vars(trial)["_Trial__unresolved_config"] = _NOTHING


def _run_id(trial: Any) -> str:
    return str(json.loads(trial.config["task"])["run_id"])


def report_of_death(trial: Any) -> str:
    """Return everything that Ray knows about the end of a worker; empty if Ray knows nothing."""
    try:
        with open(trial.error_file, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 -- Tune's own path
            return file.read()
    except (OSError, TypeError):
        return ""
