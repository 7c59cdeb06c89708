"""Computing runs with Ray Tune, on this machine or on a cluster.

Tune is the executor of one session and no more: which runs there are, which are settled and which are tried again is
decided by our own queue and store, and nothing of Ray's own state is ever read back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ablations.execution.capacity import Node, fitting, needed, refuse_unfit
from ablations.execution.endings import Listener
from ablations.execution.queue import Queue
from ablations.execution.stopping import Stop
from ablations.loopback import on_loopback
from ablations.resources import Resources
from ablations.store import files
from ablations.tokens import prepare_token
from aimlib.errors import UsageError

_PATIENCE = 10.0
"""Seconds to wait for a cluster's first answer."""
_SETTINGS = {
    # Loggers write files that nobody reads, and TensorBoard's imports torch into the driver.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Runs without a GPU must not see any.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Snapshots for a restore that is never asked for grow with the number of runs.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",
}


class RayExecutor:
    """Computes runs with Ray Tune. A context manager: Ray is connected to within it.

    Parameters
    ----------
    resources : what the runs of each arm are given.
    address : of a running Ray cluster; None starts Ray on this machine, on the loopback interface.

    Raises
    ------
    UsageError: a run fits nowhere on the cluster; Ray would wait for ever without a word.
    """

    def __init__(self, resources: Iterable[Resources], address: str | None = None) -> None:
        self.resources, self.address = tuple(resources), address
        self.parallel = 0
        self.nodes: list[Node] = []

    def __enter__(self) -> RayExecutor:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        refuse_deaf(self.address)
        options: dict[str, Any] = {"address": self.address}
        place: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.address is None:
            options = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            place = on_loopback()
            prepare_token()
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the listener tells what happens to runs
        try:
            with place:
                import ray  # noqa: PLC0415 -- seconds of start-up that only this needs

                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"no Ray at {self.address or 'this machine'}: {error}; start one with `ray start --head`, and "
                f"give driver and nodes the same token (RAY_AUTH_TOKEN_PATH) where it asks for one"
            ) from error
        _hush()
        try:
            self.nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            refuse_unfit(self.resources, self.nodes)
            self.parallel = min(fitting(wanted, self.nodes) for wanted in self.resources)
        except UsageError:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import ray  # noqa: PLC0415

        ray.shutdown()

    @property
    def takes(self) -> dict[str, float]:
        """What the largest run takes."""
        return {name: max(needed(wanted)[name] for wanted in self.resources) for name in ("CPU", "GPU")}

    @property
    def totals(self) -> dict[str, float]:
        """What there is of it on all nodes."""
        return {name: sum(node.get(name, 0.0) for node in self.nodes) for name in ("CPU", "GPU")}

    def check(self) -> None:
        """Nothing is left to refuse: entering the context has compared the resources with the cluster's."""

    def worker(self) -> type:
        """Return Tune's trainable that computes tasks."""
        from ablations.execution.worker import Worker  # noqa: PLC0415 -- imports Ray

        return Worker

    def execute(self, queue: Queue, listener: Listener, stop: Stop) -> None:
        """Compute what the queue gives out, as much at once as fits; return when it is exhausted or the session ends.

        Runs that are left unheard of were cut off: the nodes are gone, or a grace period is over.
        """
        from ray import tune  # noqa: PLC0415

        from ablations.execution.feed import Feed, Relay, StopAll  # noqa: PLC0415

        limits = self.resources[0]
        stopper = StopAll()
        relay = Relay(queue, listener, stop, stopper, grace=limits.grace_seconds, stall=limits.stall_minutes * 60)
        with scratch() as folder:
            tuner = tune.Tuner(
                self.worker(),
                tune_config=tune.TuneConfig(
                    search_alg=Feed(queue, relay, stall_seconds=limits.stall_minutes * 60),
                    num_samples=-1,
                    reuse_actors=limits.isolation == "actor",
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    verbose=0,
                    callbacks=[relay],
                    stop=stopper,
                    failure_config=tune.FailureConfig(max_failures=0),
                    # Runs keep their own state; asked for another, a worker would die of it instead of going on.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            tuner.fit()


def _hush() -> None:
    """Keep Ray from printing pages about every worker that dies: the listener says it in a line."""
    with contextlib.suppress(ImportError):
        from ray._private import worker  # noqa: PLC0415

        worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for the files that Tune insists on; those of sessions whose driver was killed go, too.

    Outside the study directory: Tune's files are pickles.
    """
    parent = Path(tempfile.gettempdir()) / f"aim-ablations-{os.getuid()}" / "tune"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in parent.glob(f"session.{files.host_name()}.*"):
        if not files.is_alive(int(left.name.split(".")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"session.{files.host_name()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_deaf(address: str | None) -> None:
    """Refuse an address at which nobody listens: Ray itself would knock there for ten minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise UsageError(
            f"--address {address}: nobody answers there ({error}); start Ray with `ray start --head` on that machine, "
            f"or give the address that it printed"
        ) from error
