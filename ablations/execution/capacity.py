"""How many runs fit on the nodes of a cluster, and on which type of GPU the runs of a seed are computed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from ablations.execution.packing import Bundle, Packing, Slot
from ablations.execution.scheduler import Fit
from ablations.spec.resources import Resources
from aimlib.errors import UsageError

Node = Mapping[str, float]
"""What a node has according to Ray, by name of the resource."""
_TYPE = "accelerator_type:"


def needed(resources: Resources) -> dict[str, float]:
    """Return the resources that a run takes of a node, by Ray's names."""
    return {"CPU": float(resources.cpus), "GPU": resources.gpus}


def refuse_unfit(resources: Iterable[Resources], nodes: Sequence[Node]) -> None:
    """Refuse a request that no node can meet.

    Raises
    ------
    UsageError: no node can; the message names what is requested and what there is.
    """
    for wanted in resources:
        for name, amount in needed(wanted).items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if amount > most:
                raise UsageError(
                    f"resources.{name.lower()}s: a run asks for {amount:g} {name}s, and no node has more than "
                    f"{most:g}; lower it in the study or with --set resources.{name.lower()}s=..."
                )
        if fitting(wanted, nodes) == 0:
            raise UsageError(
                f"resources: no node has {wanted.cpus} CPUs and {wanted.gpus:g} GPUs at once; lower one of them in the "
                f"study or with --set"
            )


def fitting(resources: Resources, nodes: Iterable[Node]) -> int:
    """Return how many runs fit at once; a run must fit on one node."""
    wanted = {name: amount for name, amount in needed(resources).items() if amount > 0}
    return sum(min(_times(node.get(name, 0), amount) for name, amount in wanted.items()) for node in nodes)


class Room:
    """Which runs Ray is given: enough to start all workers together, and none that cannot run.

    Parameters
    ----------
    resources : what the runs of each arm are given; different kinds may run side by side.
    nodes : the present ones, by id.
    spare : runs beyond that: an autoscaler adds nodes for runs that wait.

    Attributes
    ----------
    runs : the maximum that may be given at once.
    """

    def __init__(self, resources: Iterable[Resources], nodes: Mapping[str, Node], spare: int = 0) -> None:
        self._kinds = list({tuple(needed(wanted).items()): wanted for wanted in resources}.values())
        self._spare = spare
        self._left_out: frozenset[Slot] = frozenset()
        self.update(nodes)

    def update(self, nodes: Mapping[str, Node]) -> None:
        """Record which nodes there are."""
        self._nodes = dict(nodes)
        there = [self._without_left_out(name) for name in self._nodes]
        self.runs = self._spare + sum(fitting(wanted, there) for wanted in self._kinds)

    def leave_out(self, slots: Iterable[Slot]) -> None:
        """Record the GPUs on which nothing more begins."""
        self._left_out = frozenset(slots)
        self.update(self._nodes)

    def _without_left_out(self, name: str) -> Node:
        node, gone = self._nodes[name], sum(slot.node == name for slot in self._left_out)
        return {**node, "GPU": node["GPU"] - gone} if gone else node

    def gpus(self) -> str:
        """Return a sentence that tells the user how many GPUs are left."""
        all_of_them = sum(int(node.get("GPU", 0)) for node in self._nodes.values())
        gone = sum(slot.node in self._nodes for slot in self._left_out)
        return f"{all_of_them - gone} of {all_of_them} GPUs are used from now on"

    def fit(self, bundle: Bundle, running: Iterable[tuple[Bundle, tuple[Slot, ...]]]) -> Fit:
        """Return whether a run fits beside those that were already given.

        Parameters
        ----------
        running : the resources of each of them, and its GPUs as far as known.
        """
        if self._left_out and self._fits_empty(bundle, ()) and not self._fits_empty(bundle, self._left_out):
            return "never"
        packing = Packing(self._nodes, self._left_out, running)
        return "now" if packing.place(bundle) or packing.unplaced < self._spare else "later"

    def _fits_empty(self, bundle: Bundle, left_out: Collection[Slot]) -> bool:
        return Packing(self._nodes, left_out).place(bundle)


def _times(available: float, amount: float) -> int:
    """Return how often an amount fits; a fraction of a GPU never spans two GPUs."""
    if amount < 1:
        return math.floor(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)


def accelerators(nodes: Iterable[Node], resources: Iterable[Resources] = ()) -> dict[str, float]:
    """Return the number of GPUs of each type whose nodes can hold a run of every kind.

    Parameters
    ----------
    resources : what the runs on GPUs are given.
    """
    wanted = list(resources)
    of_type: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node:
            if name.startswith(_TYPE) and node.get("GPU", 0) > 0:
                of_type.setdefault(name.removeprefix(_TYPE), []).append(node)
    return {
        kind: sum(node["GPU"] for node in those)
        for kind, those in of_type.items()
        if all(fitting(each, those) > 0 for each in wanted)
    }


def holds(node: Node, bundle: Mapping[str, float]) -> bool:
    """Return whether a node could run a task if it were free."""
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())


def types_of_seeds(
    seeds: Sequence[int], types: Mapping[str, float], before: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Return the type of GPU on which each seed is computed: all arms of a seed on the same, or pairs are none.

    Parameters
    ----------
    types : number of GPUs of each type.
    before : types on which runs of a seed were already computed, if the cluster has them.

    Seeds are distributed in proportion to the numbers of GPUs. With one type there is nothing to choose, so the result
    is empty.
    """
    if len(types) < 2:
        return {}
    chosen = {seed: kind for seed, kind in (before or {}).items() if seed in seeds and kind in types}
    dealt = {kind: sum(other == kind for other in chosen.values()) for kind in types}
    for seed in seeds:
        if seed not in chosen:
            kind = min(types, key=lambda kind: ((dealt[kind] + 1) / types[kind], kind))
            chosen[seed] = kind
            dealt[kind] += 1
    return chosen
