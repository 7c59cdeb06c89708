"""Waiting for nodes that an autoscaler or a person adds to a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ablations.execution.capacity import Node, fitting, needed, refuse_unfit
from ablations.spec.durations import duration
from ablations.spec.resources import Resources
from aimlib.errors import UsageError, counted

_POLL_INTERVAL_S = 2.0


def wait_for_nodes(
    resources: Iterable[Resources],
    nodes: Callable[[], Mapping[str, Node]],
    limit: float,
    say: Callable[[str], None],
) -> Mapping[str, Node]:
    """Wait until every kind of run fits on a node; return the nodes.

    In the meantime, a placement group for each kind of run that does not fit anywhere shows an autoscaler what is
    needed. Ray removes these requests when the driver ends.

    Parameters
    ----------
    nodes : returns the current nodes, by id.
    limit : seconds to wait.
    say : called once if there is something to wait for.

    Raises
    ------
    UsageError: after `limit` seconds, some kind of run still does not fit on any node; the message names the missing
        resources.
    """
    wanted, deadline = list(resources), time.monotonic() + limit
    there = nodes()
    if limit <= 0 or not unfit(wanted, list(there.values())):
        refuse_unfit(wanted, list(there.values()))
        return there
    missing = unfit(wanted, list(there.values()))
    say(f"waiting up to {duration(limit)} for nodes: {_reason(wanted, there)} (Ctrl-C ends the session)")
    with _requested(missing):
        while unfit(wanted, list(there.values())) and time.monotonic() < deadline:
            time.sleep(min(_POLL_INTERVAL_S, max(0.0, deadline - time.monotonic())))
            there = nodes()
    try:
        refuse_unfit(wanted, list(there.values()))
    except UsageError as error:
        raise UsageError(f"--wait-for-nodes: no such node within {duration(limit)}. {error}") from error
    say(f"{counted(len(there), 'node')} found: continuing")
    return there


def unfit(resources: Iterable[Resources], nodes: Sequence[Node]) -> list[Resources]:
    """Return the kinds of runs that do not fit on any node."""
    kinds = {tuple(needed(wanted).items()): wanted for wanted in resources}
    return [wanted for wanted in kinds.values() if fitting(wanted, nodes) == 0]


def _reason(resources: Iterable[Resources], nodes: Mapping[str, Node]) -> str:
    try:
        refuse_unfit(resources, list(nodes.values()))
    except UsageError as error:
        return str(error).partition(";")[0]
    return ""


@contextlib.contextmanager
def _requested(kinds: Iterable[Resources]) -> Iterator[None]:
    """Within the block, request resources for one run of each kind."""
    from ray.util.placement_group import placement_group, remove_placement_group  # noqa: PLC0415 -- imports Ray

    bundles = [{name: amount for name, amount in needed(wanted).items() if amount > 0} for wanted in kinds]
    groups = [placement_group([bundle]) for bundle in bundles]
    try:
        yield
    finally:
        for group in groups:
            remove_placement_group(group)
