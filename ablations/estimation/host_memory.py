"""How much host memory the runs of a study take, and how much to request for a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ablations.spec.byte_sizes import bytes_text
from ablations.spec.resources import Resources
from aimlib.errors import counted

if TYPE_CHECKING:
    from ablations.estimation.estimate import Cost

_HEADROOM = 1.25
"""Factor that accounts for memory that a short measurement misses, such as the memory for writing a checkpoint."""
_PIECE_BYTES = 2**28


def proposal(host_bytes: int) -> int:
    """Return the bytes to request for a run that takes `host_bytes`: a quarter more, in multiples of 256 MiB."""
    return math.ceil(host_bytes * _HEADROOM / _PIECE_BYTES) * _PIECE_BYTES


def sentence(cost: Cost, resources: Mapping[str, Resources]) -> str:
    """Return how much host memory the runs take and, if none is requested, how much to request; empty if not measured.

    Parameters
    ----------
    resources : resources of a run, by arm.
    """
    measured = {arm: found.host_bytes for arm, found in cost.arms.items() if found.host_bytes is not None}
    if not measured:
        return ""
    arm, most = max(measured.items(), key=lambda item: item[1])
    size = f"up to {bytes_text(most)} per run ({arm}), measured"
    if all(resources[name].memory is not None for name in measured):
        return size
    asked = bytes_text(proposal(most))
    return (
        f"{size}; resources: {{memory: {asked}}} prevents Ray from starting more runs on a node than fit into its "
        "memory"
    )


def notes(cost: Cost, resources: Mapping[str, Resources]) -> list[str]:
    """Return notes on arms whose runs take more host memory than they request or than the machine has.

    Parameters
    ----------
    resources : resources of a run, by arm.
    """
    found = []
    for arm, each in cost.arms.items():
        requested, taken = resources[arm].memory, each.host_bytes
        if requested is not None and taken is not None and taken > requested:
            found.append(
                f"arms.{arm}: a run takes about {bytes_text(taken)} of host memory, but resources.memory requests "
                f"{bytes_text(requested)}; set it to {bytes_text(proposal(taken))}, otherwise nodes may run out of "
                "memory"
            )
    return found + [note for arm in cost.arms if (note := _too_many(arm, cost, resources[arm]))]


def _too_many(arm: str, cost: Cost, given: Resources) -> str:
    """Return a note if the runs that start at the same time do not all fit into the machine's RAM."""
    each = cost.arms[arm]
    taken = each.host_bytes if each.host_bytes is not None else each.peak_bytes
    if cost.device != "cpu" or given.memory is not None or not taken or cost.parallel * taken <= cost.total_bytes:
        return ""
    return (
        f"arms.{arm}: {counted(cost.parallel, 'run')} at once would take {cost.parallel * taken / 1e9:.1f} GB, "
        f"but this machine has {cost.total_bytes / 1e9:.1f} GB; set resources: {{memory: "
        f"{bytes_text(proposal(taken))}}}, so that fewer run at a time"
    )
