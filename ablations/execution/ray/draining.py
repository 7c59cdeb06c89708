"""Whether Ray is about to shut down this process's node.

`ray start --block` runs in every KubeRay pod, and on Slurm's nodes under `ray symmetric-run`. It reacts to SIGTERM by
draining its node: no new tasks start there, and the node ends after RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S (30 s), or
earlier if nothing is running there any more. Ray does not inform workers, so a worker with a state to save must ask
Ray. `ray drain-node` and autoscalers announce the end of a node in the same way. A raylet that receives SIGTERM itself,
for example from `ray stop`, kills its workers immediately.
"""

from __future__ import annotations

import time
from typing import Any

import ray

_TIMEOUT = 2.0
"""Timeout for the request in seconds: a cluster that does not answer has other problems."""


class DrainCheck:
    """Checks periodically whether this node is about to be shut down.

    Parameters
    ----------
    pause : seconds between two checks.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._next = time.monotonic()
        self._seen = False

    def seen(self) -> bool:
        """Return whether the node is about to shut down; once true, the result stays true."""
        if not self._seen and time.monotonic() >= self._next:
            self._seen = is_draining()
            self._next = time.monotonic() + self._pause
        return self._seen


def is_draining() -> bool:
    """Ask the cluster; return False if it does not answer, or if this version of Ray cannot provide an answer."""
    client: Any = getattr(ray._private.worker.global_worker, "gcs_client", None)
    if client is None or not hasattr(client, "get_draining_nodes"):
        return False
    try:
        draining = client.get_draining_nodes(timeout=_TIMEOUT)
    except Exception:  # noqa: BLE001 -- a cluster that is being shut down may raise any error
        return False
    own = ray.get_runtime_context().get_node_id()
    return own in {node.hex() if isinstance(node, bytes) else str(node) for node in draining}
