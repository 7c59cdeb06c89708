"""Concurrent runs with different GPU shares: a GPU is never overfilled, and no run waits forever."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ablations.execution.attempts import Ending
from ablations.execution.capacity import Room
from ablations.execution.packing import Packing, Slot
from ablations.execution.ray.tune_adapter import bundle_of
from ablations.execution.scheduler import Scheduler
from ablations.execution.task import Task
from ablations.spec.resources import Resources


def task(run_id: str, **options: Any) -> Task:
    return Task("d", "m", "s", "arm", run_id, "f", {"seed": 0}, {}, "cpu", 1, **options)


NODES = {"a": {"CPU": 8.0, "GPU": 2.0}, "b": {"CPU": 2.0, "GPU": 1.0, "accelerator_type:T4": 1.0}}


def bundle(gpus: float, cpus: float = 1.0, **others: float) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {}), **others}


def test_a_fraction_of_a_gpu_never_spans_two_gpus() -> None:
    packing = Packing({"a": {"CPU": 8.0, "GPU": 2.0}})
    assert packing.place(bundle(0.6))
    assert packing.place(bundle(0.6))
    assert not packing.place(bundle(0.6)), "0.4 of each GPU is free"
    assert packing.place(bundle(0.4))
    assert not packing.place(bundle(1.0))


def test_halves_fill_one_gpu_before_the_next_gpu_is_used() -> None:
    packing = Packing({"a": {"CPU": 8.0, "GPU": 2.0}})
    assert packing.place(bundle(0.5))
    assert packing.place(bundle(0.5))
    assert packing.place(bundle(1.0))


def test_the_processors_gpu_type_and_whole_gpus_of_a_run_must_be_on_one_node() -> None:
    assert not Packing(NODES).place(bundle(1.0, cpus=16.0))
    assert Packing(NODES).place(bundle(1.0, **{"accelerator_type:T4": 0.001}))
    assert not Packing(NODES).place(bundle(1.0, cpus=4.0, **{"accelerator_type:T4": 0.001}))
    assert Packing(NODES).place(bundle(2.0))
    assert not Packing(NODES).place(bundle(3.0))
    assert Packing(NODES).place(bundle(0.0, cpus=8.0))


def test_runs_use_up_the_memory_and_custom_resources_of_a_node() -> None:
    packing = Packing({"a": {"CPU": 8.0, "memory": 10.0}, "b": {"CPU": 8.0, "memory": 4.0, "slice": 1.0}})
    assert [packing.place(bundle(0.0, memory=4.0)) for _ in range(4)] == [True, True, True, False]
    assert packing.place(bundle(0.0, memory=2.0))
    assert packing.place(bundle(0.0, slice=1.0))
    assert not packing.place(bundle(0.0, slice=0.5))
    assert not packing.place(bundle(0.0, unknown=1.0))


def test_a_run_that_waits_for_a_custom_resource_does_not_delay_runs_without_one() -> None:
    room = Room([Resources(), Resources(custom={"slice": 1.0})], {"a": {"CPU": 8.0, "slice": 1.0}})
    tasks = [task("s1", custom={"slice": 1.0}), task("s2", custom={"slice": 1.0}), task("plain")]
    scheduler, running = Scheduler(tasks, 3), {}

    def given() -> str | None:
        found = scheduler.next(lambda each: room.fit(bundle_of(each), [(one, ()) for one in running.values()]))
        if found is not None:
            running[found.run_id] = bundle_of(found)
        return found and found.run_id

    assert [given(), given(), given()] == ["s1", "plain", None]
    del running["s1"]
    scheduler.ended("s1", Ending("finished"))
    assert given() == "s2"


def test_whether_a_run_fits_depends_on_where_other_runs_are() -> None:
    halves = [(bundle(0.5), (Slot("a", "0"),)), (bundle(0.5), (Slot("a", "1"),))]
    assert Packing({"a": NODES["a"]}, running=halves).place(bundle(0.5))
    assert not Packing({"a": NODES["a"]}, running=halves).place(bundle(1.0)), "half of each GPU is free"
    assert Packing({"a": NODES["a"]}, running=[(each, ()) for each, _ in halves]).place(bundle(1.0))


def test_an_excluded_gpu_keeps_its_runs_but_does_not_receive_new_runs() -> None:
    running = [(bundle(0.5), (Slot("a", "1"),))]
    room = Room([Resources(gpus=0.5)], NODES)
    assert room.runs == 6
    room.leave_out([Slot("a", "1")])
    assert room.runs == 4
    packing = Packing(NODES, [Slot("a", "1")], running)
    assert [packing.place(bundle(0.5)) for _ in range(5)] == [True] * 4 + [False], "two on each of the other GPUs"


def test_a_run_that_fits_only_on_excluded_gpus_does_not_fit() -> None:
    room = Room([Resources(gpus=1, cpus=4), Resources(gpus=1)], NODES)
    large, small = bundle(1.0, cpus=4.0), bundle(1.0)
    assert room.fit(large, []) == "now"
    room.leave_out([Slot("a", "0"), Slot("a", "1")])
    assert (room.fit(large, []), room.fit(small, [])) == ("never", "now")
    assert room.fit(small, [(small, (Slot("b", "0"),))]) == "later"
    room.update({"b": NODES["b"]})
    assert room.fit(large, []) == "later", "its node has ended, and another node may be added"
    room.leave_out([])
    room.update(NODES)
    assert room.fit(large, []) == "now"


def test_one_more_run_is_requested_if_a_cluster_can_grow() -> None:
    room = Room([Resources(gpus=1)], {"b": NODES["b"]}, spare="one")
    running: list[Any] = [(bundle(1.0), (Slot("b", "0"),))]
    assert room.fit(bundle(1.0), running) == "now"
    assert room.fit(bundle(1.0), [*running, (bundle(1.0), ())]) == "later"


class Ray:
    """Assigns GPUs as Ray does: a fraction is placed where it leaves the least free, and whole GPUs are assigned in
    order."""

    def __init__(self, gpus: int) -> None:
        self.free = dict.fromkeys(map(str, range(gpus)), 1.0)

    def take(self, amount: float) -> str | None:
        fitting = [device for device, free in self.free.items() if free >= amount - 1e-9]
        if not fitting:
            return None
        device = min(fitting, key=lambda each: (self.free[each], each))
        self.free[device] -= amount
        return device


@given(
    shares=st.lists(st.sampled_from([0.125, 0.25, 0.3, 0.5, 1.0]), min_size=1, max_size=30),
    gpus=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_runs_with_any_gpu_shares_start_only_if_ray_has_room_and_all_of_them_finish(
    shares: list[float], gpus: int, order: Any
) -> None:
    tasks = [
        Task("", "", "", f"arm{share}", str(number), "", {}, {}, "cuda", 1, share)
        for number, share in enumerate(shares)
    ]
    queue, ray = Scheduler(tasks, 0), Ray(gpus)
    room = Room([Resources(gpus=share) for share in shares], {"n": {"CPU": 1000.0, "GPU": float(gpus)}})
    running: dict[str, tuple[float, str]] = {}
    given_out: list[int] = []
    while not queue.exhausted:
        load = [(bundle(share), (Slot("n", device),)) for share, device in running.values()]
        task = queue.next(lambda task, load=load: room.fit(bundle(task.gpus), load))  # type: ignore[misc]
        if task is not None:
            device = ray.take(task.gpus)
            assert device is not None, "Ray has room for the runs that are submitted to it"
            running[task.run_id] = (task.gpus, device)
            given_out.append(int(task.run_id))
            continue
        assert running, "some run fits if nothing is running"
        run_id = order.choice(sorted(running))
        share, device = running.pop(run_id)
        ray.free[device] += share
        queue.ended(run_id, Ending("finished"))
    assert given_out == list(range(len(shares))), "in order: no run is overtaken forever"
