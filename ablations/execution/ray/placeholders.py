"""Placeholders: actors that occupy the GPUs on which no more runs may start.

Ray itself chooses a run's GPU, and would choose a broken GPU because it is free. It is also impossible to request a
particular GPU from Ray. A placeholder therefore requests any GPU on its node, reports which GPU was assigned to it, and
stays if that GPU must be occupied. Placeholders on a different GPU stay until the search is over; otherwise, Ray would
assign the same GPU to the next placeholder.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ablations.execution.packing import Slot

_TIMEOUT_S = 10.0
"""Seconds without a GPU after which a placeholder gives up; a process takes about a second to start."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0
"""Seconds between two searches, doubled after every failed search."""
_POLL_S = 0.2
_LITTLE = 1e-6


class Gone(Exception):  # noqa: N818 -- an outcome, not an error
    """A placeholder has ended because its node has ended."""


class Actor(Protocol):
    """A placeholder on a node."""

    def landed(self) -> Slot | None:
        """Return the GPU that was assigned to the placeholder, or None while it waits; raise `Gone` if it has ended."""

    def end(self) -> None:
        """Release the GPU."""


Start = Callable[[str, float], Actor]
"""Function that starts a placeholder for a share of a GPU on a node."""


@dataclass
class _Placeholder:
    actor: Actor
    amount: float
    asked: float
    slot: Slot | None = None


@dataclass
class _Node:
    """The placeholders on a node, and the search for the GPUs to occupy there."""

    placeholders: list[_Placeholder] = field(default_factory=list)
    not_before: float = 0.0
    pause: float = _FIRST_PAUSE_S
    whole_in_vain: bool = False

    def held(self, slot: Slot) -> float:
        return sum(each.amount for each in self.placeholders if each.slot == slot)

    @property
    def pending(self) -> _Placeholder | None:
        return next((each for each in self.placeholders if each.slot is None), None)


class Placeholders:
    """Occupies GPUs until the session ends.

    Parameters
    ----------
    piece : smallest share of a GPU that a run uses; a smaller remainder does not need a placeholder.
    start : starts a placeholder.
    clock : returns monotonic seconds.
    """

    def __init__(self, piece: float, start: Start | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._piece, self._start, self._clock = min(1.0, piece), start or start_on_ray, clock
        self._wanted: frozenset[Slot] = frozenset()
        self._nodes: dict[str, _Node] = {}
        self._looked = float("-inf")

    def occupy(self, slots: Collection[Slot]) -> None:
        """Occupy exactly these GPUs."""
        new = frozenset(slots) - self._wanted
        self._wanted = frozenset(slots)
        for slot in new:
            self._nodes.setdefault(slot.node, _Node())
            self.freed(slot)

    def freed(self, slot: Slot) -> None:
        """Record that a run on a GPU has ended, so that its share can be occupied."""
        if slot in self._wanted:
            node = self._nodes[slot.node]
            node.not_before, node.pause = self._clock(), _FIRST_PAUSE_S

    def held(self, slot: Slot) -> float:
        """Return the occupied share of a GPU."""
        node = self._nodes.get(slot.node)
        return node.held(slot) if node is not None else 0.0

    def tick(self, used: Mapping[Slot, float]) -> None:
        """Take the next step towards occupying the GPUs; called often.

        Parameters
        ----------
        used : shares of GPUs that this session's runs use.
        """
        now = self._clock()
        if not self._nodes or now - self._looked < _POLL_S:
            return
        self._looked = now
        for name, node in self._nodes.items():
            _look(node)
            self._go_on(name, node, used, now)

    def close(self) -> None:
        """Release all GPUs."""
        for node in self._nodes.values():
            _let_go(node, lambda _: True)
        self._nodes.clear()
        self._wanted = frozenset()

    def _go_on(self, name: str, node: _Node, used: Mapping[Slot, float], now: float) -> None:
        free = [1.0 - node.held(slot) - used.get(slot, 0.0) for slot in self._wanted if slot.node == name]
        missing = [share for share in free if share >= self._piece - _LITTLE]
        pending = node.pending
        if not missing:
            self._let_others_go(node)
            node.whole_in_vain = False
        elif pending is None:
            if now >= node.not_before:
                self._ask(name, node, max(missing), now)
        elif now - pending.asked > _TIMEOUT_S:
            self._in_vain(node, pending, now)

    def _ask(self, name: str, node: _Node, largest: float, now: float) -> None:
        whole = largest >= 1.0 - _LITTLE and not node.whole_in_vain
        amount = 1.0 if whole else self._piece
        node.placeholders.append(_Placeholder(self._start(name, amount), amount, now))

    def _in_vain(self, node: _Node, pending: _Placeholder, now: float) -> None:
        """Request the smallest share if no whole GPU is free; pause if that share is not free either."""
        _let_go(node, lambda each: each is pending)
        if pending.amount > self._piece:
            node.whole_in_vain = True
            return
        self._let_others_go(node)
        node.whole_in_vain = False
        node.not_before, node.pause = now + node.pause, min(_LONGEST_PAUSE_S, 2 * node.pause)

    def _let_others_go(self, node: _Node) -> None:
        """End the waiting placeholders, and then release GPUs that need not be occupied.

        Otherwise, the placeholders would take them.
        """
        _let_go(node, lambda each: each.slot is None)
        _let_go(node, lambda each: each.slot not in self._wanted)


def _look(node: _Node) -> None:
    """Record which GPUs were assigned to the placeholders, and which placeholders have ended."""
    for each in list(node.placeholders):
        try:
            each.slot = each.actor.landed()
        except Gone:
            node.placeholders.remove(each)


def _let_go(node: _Node, condition: Callable[[_Placeholder], bool]) -> None:
    for each in [each for each in node.placeholders if condition(each)]:
        each.actor.end()
        node.placeholders.remove(each)


class _RayActor:
    """A placeholder on Ray. See `Actor`."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._slot: Slot | None = None
        self._answer, self._end = handle.slot.remote(), handle.stay.remote()

    def landed(self) -> Slot | None:
        import ray  # noqa: PLC0415 -- here alone

        if ray.wait([self._end], timeout=0)[0]:
            raise Gone
        if self._slot is None and ray.wait([self._answer], timeout=0)[0]:
            try:
                self._slot = Slot(*ray.get(self._answer))
            except ray.exceptions.RayError as error:
                raise Gone from error
        return self._slot

    def end(self) -> None:
        import ray  # noqa: PLC0415 -- here alone

        with contextlib.suppress(ray.exceptions.RayError, RuntimeError, ValueError):  # Ray itself may have ended
            ray.kill(self._handle)


def start_on_ray(node: str, share: float) -> Actor:
    """Start a placeholder on a node in the cluster that this process is connected to; it ends with the session."""
    import ray  # noqa: PLC0415 -- here alone
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    options: dict[str, Any] = {"num_cpus": 0, "num_gpus": share, "max_restarts": 0, "max_concurrency": 2}
    return _RayActor(ray.remote(scheduling_strategy=pinned, **options)(Placeholder).remote())


class Placeholder:
    """Occupies its share of a GPU without using the GPU or the CPU."""

    def slot(self) -> tuple[str, str]:
        """Return the node, and the number of the GPU on that node."""
        slots = own_slots()
        return slots[0].node, slots[0].device

    def stay(self) -> None:
        """Stay until the process ends."""
        threading.Event().wait()


def own_slots() -> tuple[Slot, ...]:
    """Return the GPUs that Ray assigned to this process; none outside Ray."""
    import ray  # noqa: PLC0415 -- here alone

    if not ray.is_initialized():
        return ()
    context = ray.get_runtime_context()
    return tuple(Slot(context.get_node_id(), device) for device in context.get_accelerator_ids().get("GPU", ()))
