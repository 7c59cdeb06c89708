"""Placeholders end up on exactly the excluded GPUs, no matter which GPUs Ray assigns to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.execution.packing import Slot
from ablations.execution.ray.placeholders import Gone, Placeholders


@dataclass
class Node:
    """A node that assigns GPUs as Ray does, in request order."""

    gpus: int
    free: dict[str, float] = field(default_factory=dict)
    waiting: list[Actor] = field(default_factory=list)
    started: int = 0
    gone: bool = False

    def __post_init__(self) -> None:
        self.free = dict.fromkeys(map(str, range(self.gpus)), 1.0)

    def take(self, amount: float) -> str | None:
        fitting = [device for device, free in self.free.items() if free >= amount - 1e-9]
        if not fitting:
            return None
        device = min(fitting, key=lambda each: (self.free[each], each))
        self.free[device] -= amount
        return device

    def start(self, _: str, amount: float) -> Actor:
        self.started += 1
        actor = Actor(self, amount)
        self.waiting.append(actor)
        return actor

    def go_on(self) -> None:
        for actor in list(self.waiting):
            if (device := self.take(actor.amount)) is not None:
                actor.device = device
                self.waiting.remove(actor)


@dataclass
class Actor:
    node: Node
    amount: float
    device: str = ""

    def landed(self) -> Slot | None:
        if self.node.gone:
            raise Gone
        return Slot("n", self.device) if self.device else None

    def end(self) -> None:
        if self in self.node.waiting:
            self.node.waiting.remove(self)
        elif self.device:
            self.node.free[self.device] += self.amount


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def after(placeholders: Placeholders, node: Node, clock: Clock, used: dict[Slot, float], seconds: float) -> None:
    """Advance the clock in steps of 0.25 s, and let the node and the placeholders act after every step."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now += 0.25
        node.go_on()
        placeholders.tick(used)


def test_the_requested_gpu_is_found_among_free_ones_and_the_others_are_released() -> None:
    node, clock = Node(4), Clock()
    placeholders = Placeholders(0.5, node.start, clock)
    placeholders.tick({})
    assert node.started == 0
    broken = Slot("n", "2")
    placeholders.occupy([broken])
    after(placeholders, node, clock, {}, 5)
    assert placeholders.held(broken) == 1.0
    assert node.free == {"0": 1.0, "1": 1.0, "2": 0.0, "3": 1.0}
    placeholders.occupy([])
    after(placeholders, node, clock, {}, 1)
    assert node.free == dict.fromkeys("0123", 1.0), "the GPU is used again"


def test_the_share_of_a_run_is_occupied_after_the_run() -> None:
    node, clock = Node(2), Clock()
    broken = Slot("n", "0")
    assert node.take(0.5) == "0"
    placeholders = Placeholders(0.25, node.start, clock)
    placeholders.occupy([broken])
    used = {broken: 0.5}
    after(placeholders, node, clock, used, 30)
    assert placeholders.held(broken) == 0.5
    assert node.free == {"0": 0.0, "1": 1.0}
    node.free["0"] += 0.5
    used.clear()
    placeholders.freed(broken)
    after(placeholders, node, clock, used, 30)
    assert placeholders.held(broken) == 1.0
    assert node.free == {"0": 0.0, "1": 1.0}


def test_an_unsuccessful_search_pauses_and_is_repeated() -> None:
    """Another session, which is unknown to this session, is using the GPU."""
    node, clock = Node(2), Clock()
    broken = Slot("n", "1")
    node.free["1"] = 0.0
    placeholders = Placeholders(0.5, node.start, clock)
    placeholders.occupy([broken])
    free, started = 0, 0
    for _ in range(10):
        after(placeholders, node, clock, {}, 30)
        free += node.free["0"] == 1.0
        started, before = node.started, started
        assert node.started - before < 12, "there is no busy loop"
    assert free >= 5, "the usable GPU is not kept"
    node.free["1"] = 1.0
    after(placeholders, node, clock, {}, 120)
    assert placeholders.held(broken) == 1.0
    assert node.free == {"0": 1.0, "1": 0.0}


def test_no_gpu_is_held_on_a_lost_node() -> None:
    node, clock = Node(1), Clock()
    placeholders = Placeholders(1.0, node.start, clock)
    placeholders.occupy([Slot("n", "0")])
    after(placeholders, node, clock, {}, 2)
    assert placeholders.held(Slot("n", "0")) == 1.0
    node.gone = True
    after(placeholders, node, clock, {}, 1)
    assert placeholders.held(Slot("n", "0")) == 0.0


def test_all_gpus_are_released_at_the_end() -> None:
    node, clock = Node(3), Clock()
    placeholders = Placeholders(1.0, node.start, clock)
    placeholders.occupy([Slot("n", "1"), Slot("n", "2")])
    after(placeholders, node, clock, {}, 5)
    assert node.free == {"0": 1.0, "1": 0.0, "2": 0.0}
    placeholders.close()
    assert node.free == dict.fromkeys("012", 1.0)
    after(placeholders, node, clock, {}, 1)
    assert node.free == dict.fromkeys("012", 1.0)


@settings(max_examples=60)
@given(
    piece=st.sampled_from([0.125, 0.25, 0.3, 0.5, 1.0]),
    gpus=st.integers(1, 4),
    taken=st.lists(st.integers(0, 3), max_size=6),
    broken=st.sets(st.integers(0, 3), min_size=1, max_size=2),
)
def test_eventually_no_run_fits_on_excluded_gpus_and_all_other_gpus_are_free(
    piece: float, gpus: int, taken: list[int], broken: set[int]
) -> None:
    node, clock = Node(gpus), Clock()
    slots = [Slot("n", str(number)) for number in broken if number < gpus]
    used: dict[Slot, float] = {}
    for number in taken:
        if number < gpus and node.free[str(number)] >= piece - 1e-9:
            node.free[str(number)] -= piece
            used[Slot("n", str(number))] = used.get(Slot("n", str(number)), 0.0) + piece
    placeholders = Placeholders(piece, node.start, clock)
    placeholders.occupy(slots)
    after(placeholders, node, clock, used, 600)
    for slot in slots:
        assert 1.0 - used.get(slot, 0.0) - placeholders.held(slot) < piece - 1e-9
    for device, free in node.free.items():
        if Slot("n", device) not in slots:
            assert abs(free - (1.0 - used.get(Slot("n", device), 0.0))) < 1e-9
