"""Computing runs with Ray Tune, on this machine or on a cluster.

Tune executes only a single session. This package's own scheduler and store decide which runs exist, which are settled
and which are retried. Ray's own state is never read back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ablations.execution.capacity import Node, Room, Spare, fitting, needed, refuse_unfit
from ablations.execution.events import ExecutorEvent, Subscriber
from ablations.execution.packing import Slot
from ablations.execution.ray.connection import Connection
from ablations.execution.ray.waiting import wait_for_nodes
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.spec.resources import Resources
from ablations.store import files

_MANY = 10_000
"""Maximum number of runs that wait for nodes at the same time on a growing cluster; `Room` may allow fewer."""


class RayExecutor:
    """Computes runs with Ray Tune.

    This context manager closes what `begin` opened; `check` waits until Ray is available.

    Parameters
    ----------
    resources : resources of each arm's runs.
    address : address of a running Ray cluster; None starts Ray on this machine, on the loopback interface.
    wait_for_nodes : seconds to wait for nodes that can hold the runs; the cluster is then assumed to grow on demand.
    """

    def __init__(
        self, resources: Iterable[Resources], address: str | None = None, *, wait_for_nodes: float = 0.0
    ) -> None:
        self.resources, self.address, self.wait_for_nodes = tuple(resources), address, wait_for_nodes
        self.parallel = 0
        self.nodes: list[Node] = []
        self._by_id: dict[str, Node] = {}
        self._names: dict[Slot, str] = {}
        self._connection = Connection(address)

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.end()

    def begin(self) -> None:
        """Connect to Ray or start it, in the background; return immediately.

        Raises
        ------
        UsageError: no server answers at the address.
        """
        self._connection.begin()

    def check(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Wait for Ray, and compare the requested resources with the available resources.

        Parameters
        ----------
        say : shows a line about the nodes that are being waited for.

        Raises
        ------
        UsageError: Ray is not available, or a run does not fit on any node in the cluster, even after `wait_for_nodes`;
            Ray would wait forever without a message.
        """
        self._connection.begin()
        self.worker()  # imports Tune while Ray is starting
        self._connection.wait()
        import ray  # noqa: PLC0415

        def nodes() -> dict[str, Node]:
            return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}

        self._by_id = dict(wait_for_nodes(self.resources, nodes, self.wait_for_nodes, say))
        self.nodes = list(self._by_id.values())
        if any(wanted.gpus > 0 for wanted in self.resources):
            self.refuse_unusable_gpus()
        self.parallel = min(fitting(wanted, self.nodes) for wanted in self.resources)

    def refuse_unusable_gpus(self) -> None:
        """Raise an error if torch can use fewer GPUs on a node than Ray counts.

        Raises
        ------
        UsageError: torch can use fewer GPUs on a node; every run that Ray places on the missing GPUs would fail.
        """
        from ablations.execution.ray.usable_gpus import refuse_unusable  # noqa: PLC0415 -- only needed with GPUs

        refuse_unusable(self._by_id, here=self.address is None)

    @property
    def takes(self) -> dict[str, float]:
        """Resources of the largest run."""
        return {name: max(needed(wanted)[name] for wanted in self.resources) for name in ("CPU", "GPU")}

    @property
    def totals(self) -> dict[str, float]:
        """Total resources of all nodes."""
        return {name: sum(node.get(name, 0.0) for node in self.nodes) for name in ("CPU", "GPU")}

    def expect(self, resources: Iterable[Resources]) -> None:
        """Set the resources of each arm's runs; `check` compares them with Ray's resources."""
        self.resources = tuple(resources)

    def give(self, resources: Iterable[Resources]) -> None:
        """Change the resources of each arm's runs after `check` was called.

        Raises
        ------
        UsageError: a run does not fit on any node in the cluster.
        """
        self.expect(resources)
        refuse_unfit(self.resources, self.nodes)
        self.parallel = min(fitting(wanted, self.nodes) for wanted in self.resources)

    def worker(self) -> type:
        """Return the Tune trainable that computes tasks."""
        from ablations.execution.ray.trainable import Worker  # noqa: PLC0415 -- imports Ray

        return Worker

    def execute(self, scheduler: Scheduler, coordinator: Subscriber[ExecutorEvent], stop: Stop) -> None:
        """Compute the scheduler's runs, as many in parallel as fit, until none is left or the session ends.

        Runs without a report were interrupted: their nodes have ended, or a grace period is over.
        """
        from ray import tune  # noqa: PLC0415

        from ablations.execution.ray.gpu_usage import Usage  # noqa: PLC0415
        from ablations.execution.ray.placeholders import Placeholders  # noqa: PLC0415
        from ablations.execution.ray.registry_cache import cached_registry  # noqa: PLC0415
        from ablations.execution.ray.tune_adapter import SessionStopper, StartOrder, TaskSearcher, TuneCallback  # noqa: PLC0415

        limits = self.resources[0]
        stall = limits.stall_minutes * 60
        stopper = SessionStopper()
        spare: Spare = "none" if self.address is None else "double" if self.wait_for_nodes else "one"
        room = Room(self.resources, self._by_id, spare)
        placeholders = Placeholders(min((wanted.gpus for wanted in self.resources if wanted.gpus), default=1.0))
        usage = Usage(placeholders, self._names)
        # Tune would start one worker after another, each only after the previous worker has imported everything.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(room.runs if spare != "double" else _MANY)
        callback = TuneCallback(
            scheduler, coordinator, stop, stopper, room, usage, grace=limits.grace_seconds, stall=stall
        )
        with scratch() as folder, contextlib.closing(placeholders), contextlib.closing(callback), cached_registry():
            tuner = tune.Tuner(
                self.worker(),
                tune_config=tune.TuneConfig(
                    scheduler=StartOrder(),
                    search_alg=TaskSearcher(scheduler, callback, stall_seconds=stall),
                    num_samples=-1,
                    reuse_actors=limits.isolation == "actor",
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    verbose=0,
                    progress_reporter=tune.CLIReporter(),  # no output; by default, Tune shows a display in a notebook
                    callbacks=[callback],
                    stop=stopper,
                    failure_config=tune.FailureConfig(max_failures=0),
                    # Runs save their own state; if Tune requested its state, a worker would be killed.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            tuner.fit()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for the files that Tune requires; remove the folders of sessions whose driver was killed.

    The folder is outside the study directory, because Tune's files are pickles.
    """
    parent = files.private_folder(Path(tempfile.gettempdir()) / f"aim-tune-{os.getuid()}")
    for left in parent.glob(f"session.{files.host_name()}.*"):
        if not files.is_alive(int(left.name.split(".")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"session.{files.host_name()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
