"""Where runs are computed: on Ray Tune, or in this process.

An executor computes tasks and tells a listener; the truth about what is settled is the store's alone, so
nothing of Ray's own state is ever read back.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ablations.store import files
from ablations.study import Resources
from ablations.trial import Task, as_json, execute
from aimlib.errors import UsageError

_PATIENCE = 10.0
"""Seconds to wait for a cluster's first answer."""


class Listener(Protocol):
    """Is told what happens to the runs of a session."""

    def began(self, run_id: str) -> None:
        """A run has been given to a worker."""

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch of a run is complete."""

    def ended(self, run_id: str, end: str) -> None:
        """An attempt ended: finished, diverged, failed, held (another process computes this run), or unshared."""

    def died(self, run_id: str, reason: str) -> None:
        """The process of a run died more often than it may, and nobody else will tell."""


class InlineExecutor:
    """Computes one run after the other in this process: for debugging, and where there is no Ray.

    Parameters
    ----------
    resources : what one run is given; the CPUs are its threads.
    """

    parallel = 1

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def check(self) -> None:
        """Refuse a study that this process cannot compute.

        Raises
        ------
        UsageError: runs ask for a GPU, and torch sees none here.
        """
        import torch  # noqa: PLC0415 -- whoever computes has it

        if (self.resources.gpus or self.resources.device == "cuda") and not torch.cuda.is_available():
            raise UsageError(
                "resources.gpus: runs ask for a GPU, and this process sees none; give --set resources.gpus=0, or run "
                "where one is"
            )

    def execute(self, tasks: list[Task], listener: Listener) -> None:
        """Compute the tasks in their order."""
        for task in tasks:
            listener.began(task.run_id)
            end = execute(task, lambda row, run_id=task.run_id: listener.epoch(run_id, row))  # type: ignore[misc]
            listener.ended(task.run_id, end)


class RayExecutor:
    """Computes runs with Ray Tune, on this machine or on a cluster.

    Parameters
    ----------
    resources : what one run is given.
    address : of a running Ray cluster; None starts Ray on this machine, on the loopback interface.
    scratch : folder for the files that Tune insists on; its content is removed after the session.

    Raises
    ------
    UsageError: no run fits on the cluster; Ray would wait for ever without a word.
    """

    def __init__(self, resources: Resources, scratch: Path, address: str | None = None) -> None:
        self.resources, self.address, self.scratch = resources, address, scratch
        self.parallel = 0

    def __enter__(self) -> RayExecutor:
        # Loggers write files that nobody reads, and TensorBoard's imports torch into the driver.
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        # Runs without a GPU must not see any.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        _refuse_deaf(self.address)
        import ray  # noqa: PLC0415 -- seconds of start-up that only this needs

        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the listener tells what happens to runs
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"no Ray at {self.address or 'this machine'}: {error}; start one with `ray start --head`, and "
                f"give driver and nodes the same token (RAY_AUTH_TOKEN_PATH) where it asks for one"
            ) from error
        try:
            self.parallel = self._fitting([node["Resources"] for node in ray.nodes() if node["Alive"]])
        except UsageError:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import ray  # noqa: PLC0415

        ray.shutdown()

    def _fitting(self, nodes: list[Mapping[str, float]]) -> int:
        """Return how many runs fit at once; a run must fit on one node."""
        needed = {"CPU": float(self.resources.cpus), "GPU": self.resources.gpus}
        for name, amount in needed.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if amount > most:
                raise UsageError(
                    f"resources.{name.lower()}s: a run asks for {amount:g} {name}s, and no node has more than "
                    f"{most:g}; lower it in the study or with --set resources.{name.lower()}s=..."
                )
        fitting = sum(
            min(_times(node.get(name, 0), amount) for name, amount in needed.items() if amount > 0) for node in nodes
        )
        if fitting == 0:
            raise UsageError(
                f"resources: no node has {self.resources.cpus} CPUs and {self.resources.gpus:g} GPUs at once; lower "
                f"one of them in the study or with --set"
            )
        return fitting

    def check(self) -> None:
        """Nothing is left to refuse: entering the context has compared the resources with the cluster's."""

    def execute(self, tasks: list[Task], listener: Listener) -> None:
        """Compute the tasks, as many at once as fit; return when Tune has nothing left to do."""
        from ray import tune  # noqa: PLC0415

        with self._session() as folder:
            tuner = tune.Tuner(
                tune.with_resources(_trainable, {"cpu": self.resources.cpus, "gpu": self.resources.gpus}),
                param_space={"task": tune.grid_search([json.dumps(as_json(task)) for task in tasks])},
                tune_config=tune.TuneConfig(reuse_actors=True, trial_name_creator=_name, trial_dirname_creator=_name),
                run_config=tune.RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    verbose=0,
                    callbacks=[_callback(listener)],
                    failure_config=tune.FailureConfig(max_failures=self.resources.max_retries),
                ),
            )
            tuner.fit()

    @contextlib.contextmanager
    def _session(self) -> Iterator[Path]:
        for left in self.scratch.glob(f"session.{files.host_name()}.*"):
            if not files.is_alive(int(left.name.split(".")[2])):  # its driver was killed
                shutil.rmtree(left, ignore_errors=True)
        folder = self.scratch / f"session.{files.host_name()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another session still works in it
                self.scratch.rmdir()


def _refuse_deaf(address: str | None) -> None:
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


def _times(available: float, amount: float) -> int:
    """Return how often an amount fits; a fraction of a GPU never spans two."""
    if amount < 1:
        return math.floor(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)


def _name(trial: Any) -> str:
    return str(json.loads(trial.config["task"])["run_id"])


def _trainable(config: dict[str, str]) -> None:
    """Compute one task; Tune's function trainable."""
    from ray import tune  # noqa: PLC0415

    task = Task(**json.loads(config["task"]))
    end = execute(task, on_epoch=lambda row: tune.report({"epoch_row": dict(row)}))
    tune.report({"end": end})


def _callback(listener: Listener) -> Any:
    """Return the Tune callback that passes events on; made here because its base class needs Ray."""
    from ray import tune  # noqa: PLC0415

    class Relay(tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            listener.began(_name(trial))

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            if "end" in result:
                listener.ended(_name(trial), result["end"])
            elif "epoch_row" in result:
                listener.epoch(_name(trial), result["epoch_row"])

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            cause = _cause_of_death(trial)
            listener.died(_name(trial), f"the process of this run died again and again: {cause}")

        def __reduce__(self) -> tuple[Any, ...]:
            return (
                tune.Callback,
                (),
            )  # Tune pickles callbacks into files for a restore, which is never asked for

    return Relay()


def _cause_of_death(trial: Any) -> str:
    try:
        with open(trial.error_file, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 -- Tune's own path
            lines = [line.strip() for line in file if line.strip()]
    except (OSError, TypeError):
        lines = []
    return lines[-1] if lines else "Ray gave no reason"
