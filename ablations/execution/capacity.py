"""How many runs fit on the nodes of a cluster, and which type of GPU computes the runs of each seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ablations.execution.packing import Bundle, Packing, Slot
from ablations.execution.scheduler import Fit
from ablations.spec.byte_sizes import bytes_text
from ablations.spec.resources import Resources
from aimlib.errors import UsageError

Node = Mapping[str, float]
"""Amounts of a node's resources according to Ray, by resource name."""
ACCELERATOR_TYPE = "accelerator_type:"
"""Prefix of the Ray resource that identifies the type of a node's accelerators."""
LITTLE_OF_TYPE = 0.001
"""Share of that resource that every run takes; the total of a node is 1."""
Spare = Literal["none", "one", "double"]


def needed(resources: Resources) -> dict[str, float]:
    """Return the resources that a run takes from a node, by Ray's resource names."""
    found = {"CPU": float(resources.cpus), "GPU": resources.gpus}
    if resources.memory is not None:
        found["memory"] = float(resources.memory)
    if resources.accelerator_type is not None:
        found[f"{ACCELERATOR_TYPE}{resources.accelerator_type}"] = LITTLE_OF_TYPE
    return found | dict(resources.custom)


def refuse_unfit(resources: Iterable[Resources], nodes: Sequence[Node], addable: Sequence[Node] = ()) -> None:
    """Raise an error if no node can meet a request.

    Parameters
    ----------
    nodes : the current nodes.
    addable : one node of each type that an autoscaler can add.

    Raises
    ------
    UsageError: no node can meet the request; the message names the requested and the available resources.
    """
    there = [*nodes, *addable]
    whose = "no node has" if not addable else "no node, present or added by the autoscaler, has"
    for wanted in resources:
        for name, amount in needed(wanted).items():
            most = max((node.get(name, 0) for node in there), default=0)
            if amount > most:
                raise UsageError(_too_much(name, amount, most, whose, there))
        if fitting(wanted, there) == 0:
            together = [_amount(name, amount) for name, amount in needed(wanted).items() if amount > 0]
            raise UsageError(
                f"resources: {whose} {', '.join(together[:-1])} and {together[-1]} at once; lower one of them in the "
                f"study or with --set. The nodes have: {described(there)}"
            )


def _too_much(name: str, amount: float, most: float, whose: str, nodes: Sequence[Node]) -> str:
    """Return the error message for a resource if no node has enough of it."""
    if name in ("CPU", "GPU"):
        key, text = f"resources.{name.lower()}s", f"a run asks for {amount:g} {name}s, and {whose} more than {most:g}"
    elif name == "memory":
        key = "resources.memory"
        text = f"a run asks for {bytes_text(amount)}, and {whose} more than {bytes_text(most)} for runs"
    elif name.startswith(ACCELERATOR_TYPE):
        known = sorted({name.removeprefix(ACCELERATOR_TYPE) for node in nodes for name in node if _is_type(name)})
        return (
            f"resources.accelerator_type: {whose} the type {name.removeprefix(ACCELERATOR_TYPE)}; types in the "
            f"cluster: {', '.join(known) or 'none'}; set one of them in the study or with --set, or omit the key"
        )
    else:
        known = sorted({name for node in nodes for name in node if _is_custom(name)})
        return (
            f"resources.custom.{name}: a run asks for {amount:g}, and {whose} more than {most:g}; custom resources "
            f"in the cluster: {', '.join(known) or 'none'}; a node gets them with `ray start --resources`"
        )
    return f"{key}: {text}; lower it in the study or with --set {key}=..."


def described(nodes: Iterable[Node]) -> str:
    """Return a description of the nodes; equal nodes are counted."""
    each = Counter(
        ", ".join(
            _amount(name, amount)
            for name, amount in sorted(node.items())
            if amount > 0 and (name in ("CPU", "GPU", "memory") or _is_type(name) or _is_custom(name))
        )
        for node in nodes
    )
    return "; ".join(f"{number} x ({text})" for text, number in each.items()) or "no node"


def _amount(name: str, amount: float) -> str:
    if name in ("CPU", "GPU"):
        return f"{amount:g} {name}s"
    if name == "memory":
        return f"{bytes_text(amount)} of memory"
    return name.removeprefix(ACCELERATOR_TYPE) if _is_type(name) else f"{amount:g} {name}"


def _is_type(name: str) -> bool:
    return name.startswith(ACCELERATOR_TYPE)


def _is_custom(name: str) -> bool:
    return name not in ("CPU", "GPU", "memory", "object_store_memory") and ":" not in name


def fitting(resources: Resources, nodes: Iterable[Node]) -> int:
    """Return how many runs fit at the same time; each run must fit on one node."""
    wanted = {name: amount for name, amount in needed(resources).items() if amount > 0}
    return sum(min(_times(name, node.get(name, 0), amount) for name, amount in wanted.items()) for node in nodes)


class Room:
    """Decides which runs are submitted to Ray: enough to start all workers together, but none that cannot start.

    Parameters
    ----------
    resources : resources of one run of each arm; runs with different resources may run at the same time.
    nodes : the current nodes, by id.
    spare : number of additional runs, because an autoscaler adds nodes only for waiting runs. The number is either one,
        or as many as fit on the current nodes (at least one); in the latter case, the cluster doubles at every step.

    Attributes
    ----------
    runs : maximum number of submitted runs that have not ended.
    parallel : how many of the runs that need the most resources fit at the same time.
    """

    def __init__(self, resources: Iterable[Resources], nodes: Mapping[str, Node], spare: Spare = "none") -> None:
        self._kinds = list({tuple(needed(wanted).items()): wanted for wanted in resources}.values())
        self._growth = spare
        self._left_out: frozenset[Slot] = frozenset()
        self._without: frozenset[str] = frozenset()
        self.update(nodes)

    def update(self, nodes: Mapping[str, Node]) -> None:
        """Record the current nodes."""
        self._nodes = dict(nodes)
        there = [self._without_left_out(name) for name in self._nodes]
        fit = sum(fitting(wanted, there) for wanted in self._kinds)
        self._spare = {"none": 0, "one": 1, "double": max(1, fit)}[self._growth]
        self.parallel = min((fitting(wanted, there) for wanted in self._kinds), default=0)
        self.runs = fit + self._spare

    @property
    def node_count(self) -> int:
        """Number of current nodes; 0 if this machine is the only one."""
        return 0 if self._growth == "none" else len(self._nodes)

    @property
    def totals(self) -> dict[str, float]:
        """Total CPUs and GPUs of all nodes."""
        return {name: sum(node.get(name, 0.0) for node in self._nodes.values()) for name in ("CPU", "GPU")}

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The current nodes, by id."""
        return self._nodes

    def leave_out(self, slots: Iterable[Slot], nodes: Iterable[str] = ()) -> None:
        """Record the GPUs and nodes on which no more runs start."""
        self._left_out, self._without = frozenset(slots), frozenset(nodes)
        self.update(self._nodes)

    def _without_left_out(self, name: str) -> Node:
        if name in self._without:
            return {}
        node, gone = self._nodes[name], sum(slot.node == name for slot in self._left_out)
        return {**node, "GPU": node["GPU"] - gone} if gone else node

    def gpus(self) -> str:
        """Return a sentence that tells the user how many GPUs are left."""
        all_of_them = sum(int(node.get("GPU", 0)) for node in self._nodes.values())
        gone = sum(slot.node in self._nodes for slot in self._left_out)
        return f"{all_of_them - gone} of {all_of_them} GPUs are used from now on"

    def fit(self, bundle: Bundle, running: Iterable[tuple[Bundle, tuple[Slot, ...]]]) -> Fit:
        """Return whether a run fits in addition to the runs that were already submitted to Ray.

        Parameters
        ----------
        running : the resources of each of those runs, and its GPUs if known.
        """
        used = {name: node for name, node in self._nodes.items() if name not in self._without}
        is_limited = bool(self._left_out or self._without)
        if is_limited and Packing(self._nodes).place(bundle) and not Packing(used, self._left_out).place(bundle):
            return "never"
        packing = Packing(used, self._left_out, running)
        return "now" if packing.place(bundle) or packing.unplaced < self._spare else "later"


def _times(name: str, available: float, amount: float) -> int:
    """Return how many runs fit if each run takes this amount of a resource; a share of a GPU never spans two GPUs."""
    if name == "GPU" and amount < 1:
        return math.floor(available) * math.floor(1 / amount + 1e-9)
    return math.floor(available / amount + 1e-9)


def accelerators(nodes: Iterable[Node], resources: Iterable[Resources] = ()) -> dict[str, float]:
    """Return the number of GPUs of each type on nodes that can hold a run of every kind.

    Parameters
    ----------
    resources : resources of the runs that use GPUs.
    """
    wanted = list(resources)
    of_type: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node:
            if _is_type(name) and node.get("GPU", 0) > 0:
                of_type.setdefault(name.removeprefix(ACCELERATOR_TYPE), []).append(node)
    return {
        kind: sum(node["GPU"] for node in those)
        for kind, those in of_type.items()
        if all(fitting(each, those) > 0 for each in wanted)
    }


def holds(node: Node, bundle: Mapping[str, float]) -> bool:
    """Return whether a node could run a task if nothing else used the node."""
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())


def types_of_seeds(
    seeds: Sequence[int], types: Mapping[str, float], before: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Return the GPU type for each seed: all arms of a seed use the same type, because their runs form pairs.

    Parameters
    ----------
    types : number of GPUs of each type.
    before : types on which runs of a seed were already computed, if the cluster has these types.

    Seeds are distributed in proportion to the number of GPUs of each type. If there is only one type, there is nothing
    to choose, and the result is empty.
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
