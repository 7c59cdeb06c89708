"""Whether Ray is about to end the node of this process.

`ray start --block`, the program of every KubeRay pod and of Slurm's nodes under `ray symmetric-run`, answers SIGTERM by
having its node drained: nothing new is begun there, and all of it is ended after RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
(30 s), or once nothing runs there any more. Nobody tells the workers: who has a state to save must ask. `ray
drain-node` and autoscalers announce the end of a node the same way. A raylet that gets SIGTERM itself, as from `ray
stop`, kills its workers at once.
"""

from __future__ import annotations

import time
from typing import Any

import ray

_TIMEOUT = 2.0
"""Seconds that the answer may take: a cluster that does not answer has worse troubles."""


class Leaving:
    """Checks now and then whether this node is about to be shut down.

    Parameters
    ----------
    pause : seconds between two checks.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._next = time.monotonic()
        self._seen = False

    def seen(self) -> bool:
        """Tell whether the node is about to go; once true, it stays so."""
        if not self._seen and time.monotonic() >= self._next:
            self._seen = is_draining()
            self._next = time.monotonic() + self._pause
        return self._seen


def is_draining() -> bool:
    """Ask the cluster; no where it does not answer, or this Ray cannot tell."""
    client: Any = getattr(ray._private.worker.global_worker, "gcs_client", None)
    if client is None or not hasattr(client, "get_draining_nodes"):
        return False
    try:
        draining = client.get_draining_nodes(timeout=_TIMEOUT)
    except Exception:  # noqa: BLE001 -- whatever a cluster says that is being shut down
        return False
    own = ray.get_runtime_context().get_node_id()
    return own in {node.hex() if isinstance(node, bytes) else str(node) for node in draining}
