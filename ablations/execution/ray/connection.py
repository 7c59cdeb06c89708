"""Connecting to Ray, or starting it on this machine; this happens in the background, because it takes seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import Any

from ablations.execution.ray.auth import prepare_token
from ablations.execution.ray.loopback import on_loopback
from aimlib.errors import UsageError

_CONNECT_TIMEOUT_S = 10.0
"""Seconds to wait for a cluster's first response."""
_SETTINGS = {
    # Tune's loggers write files that are never read, and the TensorBoard logger imports torch in the driver.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Runs without a GPU must not see any.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Tune's snapshots grow with the number of runs, and are needed only for a restore that never happens.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",
}


class Connection:
    """A connection to Ray, opened and closed by its own thread.

    On Linux, Ray processes that are started here end with the thread that started them, so a killed driver does not
    leave any behind. The thread therefore runs until the connection is closed.

    Parameters
    ----------
    address : address of a running Ray cluster; None starts Ray on this machine, on the loopback interface.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._there, self._over = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start connecting; do nothing if this was called before.

        Raises
        ------
        UsageError: no server answers at the address.
        """
        if self._thread is not None:
            return
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        _refuse_deaf(self.address)
        place = contextlib.ExitStack()
        if self.address is None:
            prepare_token()
            place.enter_context(on_loopback())  # before ray is imported, which reads the switch
        # The thread is a daemon, because ending the process without closing the connection must not block.
        self._thread = threading.Thread(target=self._live, args=(place,), name="ray", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until Ray is available.

        Raises
        ------
        UsageError: Ray is not available.
        """
        self.begin()
        self._there.wait()
        if isinstance(self._error, (ConnectionError, ValueError, RuntimeError)):
            raise UsageError(
                f"no Ray at {self.address or 'this machine'}: {self._error}; start it with `ray start --head`, and if "
                "it requires a token, use the same token for the driver and the nodes (RAY_AUTH_TOKEN_PATH)"
            ) from self._error
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Close the connection, and stop Ray if it was started here; do nothing if there is no connection."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _live(self, place: contextlib.AbstractContextManager[Any]) -> None:
        try:
            with place:
                self._connect()
        except BaseException as error:  # noqa: BLE001 -- raised in the waiting thread
            self._error = error
        self._there.set()
        if self._error is None:
            self._over.wait()
            import ray  # noqa: PLC0415

            ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            # Tune's workers have their own environment, so the workers that Ray prestarts, one per CPU, would never be
            # used.
            options |= {"_system_config": {"prestart_worker_first_driver": False}}
        import ray  # noqa: PLC0415 -- takes seconds, and only this function needs it

        logging.getLogger("ray").setLevel(logging.ERROR)  # it warns about signals, which this package handles
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the listener reports what happens to runs
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        _hush()


def _hush() -> None:
    """Keep Ray from printing a long report about every worker that dies.

    The listener reports each death in one line.
    """
    with contextlib.suppress(ImportError):
        from ray._private import worker  # noqa: PLC0415

        worker.print_to_stdstream = lambda *_, **__: None


def _refuse_deaf(address: str | None) -> None:
    """Raise an error if no process is listening on an address, because Ray itself would keep trying for ten minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UsageError(
            f"--address {address}: no server answers there ({error}); start Ray with `ray start --head` on that "
            "machine, or use the address that it printed"
        ) from error
