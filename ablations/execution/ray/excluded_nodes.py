"""Occupying nodes whose CPUs computed wrong results.

Ray starts a run on any node with free CPUs. On an excluded node, placeholders therefore take every CPU as soon as it is
free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ablations.execution.packing import Bundle


def name_of_cpus(host: str, node: str) -> str:
    """Return the name under which a node's CPUs are excluded.

    Parameters
    ----------
    node : Ray's id for the node; empty outside Ray.
    """
    return f"CPU of {host}" + (f" (node {node[:8]})" if node else "")


def excluded(names: Iterable[str], nodes: Iterable[str]) -> frozenset[str]:
    """Return the ids of the nodes whose CPUs are excluded under these names."""
    ends = tuple(name.rpartition(" (node ")[2].removesuffix(")") for name in names if name.startswith("CPU of "))
    return frozenset(node for node in nodes if any(end and node.startswith(end) for end in ends))


class OccupiedNodes:
    """Occupies nodes' CPUs until the session ends."""

    def __init__(self) -> None:
        self._actors: dict[str, list[Any]] = {}

    def occupy(self, nodes: Mapping[str, Bundle], wanted: Collection[str]) -> None:
        """Occupy exactly these nodes.

        Parameters
        ----------
        nodes : resources of each node, by id.
        wanted : ids of the nodes to occupy.
        """
        for node in [node for node in self._actors if node not in wanted]:
            self._release(node)
        for node in wanted:
            if node in nodes and node not in self._actors:
                self._actors[node] = [_start(node) for _ in range(int(nodes[node].get("CPU", 0)))]

    def close(self) -> None:
        """Release all nodes."""
        for node in list(self._actors):
            self._release(node)

    def _release(self, node: str) -> None:
        import ray  # noqa: PLC0415 -- here alone

        for actor in self._actors.pop(node):
            with contextlib.suppress(ray.exceptions.RayError, RuntimeError, ValueError):  # Ray itself may have ended
                ray.kill(actor)


def _start(node: str) -> Any:
    """Start an actor that takes a CPU on a node as soon as one is free."""
    import ray  # noqa: PLC0415 -- here alone
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    from ablations.execution.ray.placeholders import Placeholder  # noqa: PLC0415

    pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(scheduling_strategy=pinned, num_cpus=1, max_restarts=0)(Placeholder).remote()
