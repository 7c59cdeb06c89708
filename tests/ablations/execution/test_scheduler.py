"""The scheduler selects the next run and handles every ending: no run is lost or repeated."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.execution.attempts import Ending, ending_of, ending_of_death, fault_of, is_full
from ablations.execution.retry_policy import Over, Retry
from ablations.execution.scheduler import Scheduler, in_order
from ablations.execution.task import Task
from ablations.store.files import explained
from aimlib.errors import StoreError
from aimlib.training.device_errors import DeviceFailure


def task(run_id: str, arm: str = "aim", seed: int = 0, **options: Any) -> Task:
    costs = {"multiply_adds": options.pop("work", 1)}
    config = {"seed": seed, "training": {"epochs": options.pop("epochs", 1)}}
    return Task("", "", "", arm, run_id, "", config, costs, options.pop("device", "cpu"), 1, **options)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(*tasks: Task, retries: int = 3) -> tuple[Scheduler, Clock]:
    clock = Clock()
    return Scheduler(tasks, retries, clock), clock


def names(queue: Scheduler) -> list[str]:
    found = []
    while (given_task := queue.next()) is not None:
        found.append(given_task.run_id)
    return found


def test_tasks_are_returned_in_order_and_the_queue_is_exhausted_when_all_have_ended() -> None:
    queue, _ = queue_of(task("a"), task("b"))
    assert names(queue) == ["a", "b"]
    assert not queue.exhausted
    assert queue.ended("a", Ending("finished")) == Over("finished")
    assert queue.ended("b", Ending("diverged", "loss")) == Over("diverged", "loss")
    assert queue.exhausted


def test_a_run_on_a_dead_worker_keeps_its_place_and_is_retried_after_a_growing_delay() -> None:
    queue, clock = queue_of(task("a"), task("b"), task("c"))
    assert queue.next() is not None
    for delay in (1.0, 2.0, 4.0):
        assert queue.ended("a", Ending("died", "node gone")) == Retry(delay, "node gone")
        assert not queue.exhausted
        clock.now += delay / 2
        assert [t.run_id for t in iter(queue.next, None)] in (["b", "c"], []), "the other runs need not wait"
        clock.now += delay / 2
        again = queue.next()
        assert again is not None
        assert again.run_id == "a"
    over = queue.ended("a", Ending("died", "node gone"))
    assert over == Over("failed", "ended 4 times in a row without progress: node gone", record=True)


def test_started_runs_are_finished_before_others_start() -> None:
    queue, clock = queue_of(task("a"), task("b"), task("c"))
    queue.next()
    queue.ended("a", Ending("died", "x"))
    clock.now = 10.0
    assert names(queue) == ["a", "b", "c"]


def test_progress_resets_the_count_of_deaths() -> None:
    queue, clock = queue_of(task("a"), retries=1)
    for _ in range(20):
        assert queue.next() is not None
        queue.progressed("a")
        assert isinstance(queue.ended("a", Ending("died", "preempted")), Retry)
        clock.now += 100
    assert queue.next() is not None
    assert isinstance(queue.ended("a", Ending("stalled", "no step")), Over)


def test_after_out_of_memory_on_a_gpu_a_larger_share_is_requested_for_the_whole_arm() -> None:
    options: dict[str, Any] = {"device": "cuda", "gpus": 0.25}
    queue, _ = queue_of(task("a", **options), task("b", **options), task("c", "baseline", **options))
    queue.next()
    for share in (0.5, 1.0):
        decision = queue.ended("a", Ending("out_of_memory", "CUDA out of memory"))
        assert isinstance(decision, Retry)
        assert f"continues with {share:g}" in decision.reason
        again = queue.next()
        assert again is not None
        assert (again.run_id, again.gpus) == ("a", share)
    assert {t.run_id: t.gpus for t in iter(queue.next, None)} == {"b": 1.0, "c": 0.25}
    over = queue.ended("a", Ending("out_of_memory", "CUDA out of memory"))
    assert isinstance(over, Over)
    assert (over.state, over.record) == ("failed", True)
    assert "does not fit on a whole GPU" in over.reason
    assert "batch_size" in over.reason


def test_out_of_memory_on_a_cpu_is_attributed_to_the_machine_and_retried() -> None:
    queue, _ = queue_of(task("a"), retries=0)
    queue.next()
    assert isinstance(queue.ended("a", Ending("out_of_memory", "x")), Over)
    for end in ("out_of_memory", "machine", "stalled"):
        queue, _ = queue_of(task("a"), retries=1)
        queue.next()
        assert isinstance(queue.ended("a", Ending(end, "x")), Retry)  # type: ignore[arg-type]


def test_host_memory_is_not_mistaken_for_gpu_memory() -> None:
    queue, _ = queue_of(task("a", device="cuda", gpus=1.0))
    queue.next()
    assert queue.ended("a", Ending("machine", "MemoryError")) == Retry(1.0, "MemoryError")


def test_runs_that_run_out_of_memory_at_the_same_time_all_continue_with_larger_shares() -> None:
    tasks = [task(name, device="cuda", gpus=0.25) for name in "abcd"]
    queue, _ = queue_of(*tasks)
    assert names(queue) == ["a", "b", "c", "d"]
    for name in "abcd":
        assert isinstance(queue.ended(name, Ending("out_of_memory", "CUDA out of memory")), Retry)
    assert {t.run_id: t.gpus for t in iter(queue.next, None)} == dict.fromkeys("abcd", 0.5)
    assert isinstance(queue.ended("a", Ending("out_of_memory", "CUDA out of memory")), Retry)
    again = queue.next()
    assert again is not None
    assert again.gpus == 1.0


def test_deaths_are_remembered_while_another_process_holds_a_run() -> None:
    queue, clock = queue_of(task("a"), retries=2)
    decisions = []
    for _ in range(3):
        assert queue.next() is not None
        decisions.append(queue.ended("a", Ending("died", "segfault")))
        if isinstance(decisions[-1], Over):
            break
        clock.now += 100
        assert queue.next() is not None
        assert queue.ended("a", Ending("held")) == Over("held")
        queue.add([task("a")])
    assert isinstance(decisions[-1], Over)
    assert len(decisions) == 3


def test_a_run_that_hung_is_not_retried_before_its_process_has_ended() -> None:
    queue, _ = queue_of(task("a"))
    queue.next()
    decision = queue.ended("a", Ending("stalled", "no step"))
    assert isinstance(decision, Retry)
    assert decision.seconds >= 5


def test_a_run_waits_while_the_storage_is_full_and_this_never_counts_as_a_retry() -> None:
    queue, clock = queue_of(task("a"), retries=0)
    for _ in range(10):
        assert queue.next() is not None
        assert isinstance(queue.ended("a", Ending("full", "disk full")), Retry)
        clock.now += 100
    queue.hold_back()
    assert queue.next() is None
    assert not queue.exhausted
    queue.go_on()
    assert queue.next() is not None


def test_if_the_same_error_occurs_twice_only_its_arm_is_stopped() -> None:
    seeds = range(4)
    others = [task(f"b{seed}", "other", seed=seed) for seed in seeds]
    queue, _ = queue_of(*(task(f"a{seed}", seed=seed) for seed in seeds), *others)
    first, second = queue.next(), queue.next()
    assert first is not None
    assert second is not None
    failed = Ending("failed", "KeyError: 'x'", fault="KeyError at plugin.py:3")
    assert queue.ended("a0", failed) == Over("failed", "KeyError: 'x'")
    assert queue.ended("a1", failed) == Over("failed", "KeyError: 'x'", withheld=("a2", "a3"))
    assert names(queue) == ["b0", "b1", "b2", "b3"]


def test_two_different_errors_do_not_stop_an_arm() -> None:
    queue, _ = queue_of(*(task(f"a{seed}", seed=seed) for seed in range(4)))
    names_given = [queue.next(), queue.next()]
    assert all(names_given)
    queue.ended("a0", Ending("failed", "x", fault="KeyError at plugin.py:3"))
    over = queue.ended("a1", Ending("failed", "y", fault="KeyError at plugin.py:9"))
    assert isinstance(over, Over)
    assert over.withheld == ()
    assert names(queue) == ["a2", "a3"]


def test_a_halted_queue_ends_when_the_current_runs_have_ended() -> None:
    queue, _ = queue_of(task("a"), task("b"))
    queue.next()
    queue.halt()
    assert queue.next() is None
    assert not queue.exhausted
    queue.ended("a", Ending("paused", epochs=3))
    assert queue.exhausted


ENDS = st.sampled_from(
    ["finished", "diverged", "paused", "failed", "out_of_memory", "full", "stalled", "death", "crash"]
)


@given(seeds=st.integers(1, 5), ends=st.lists(ENDS, max_size=200), workers=st.integers(1, 4), retries=st.integers(0, 3))
def test_every_run_ends_exactly_once_and_never_runs_twice_at_the_same_time(
    seeds: int, ends: list[str], workers: int, retries: int
) -> None:
    tasks = [
        task(f"{arm}{seed}", arm, seed, device="cuda", gpus=0.5) for seed in range(seeds) for arm in ("aim", "baseline")
    ]
    queue, clock = queue_of(*tasks, retries=retries)
    over: list[str] = []
    said: list[str] = []
    script = iter(ends)
    while not queue.exhausted:
        while len(queue.running) < workers and (given_task := queue.next()) is not None:
            assert given_task.run_id not in over
            assert 0.5 <= given_task.gpus <= 1
            assert set(given_task.left_out) == set(queue.devices.left_out)
        clock.now += 61
        if not queue.running:
            continue
        run_id = min(queue.running)
        end, _, device = next(script, "finished").partition(" ")
        if end == "progress":
            queue.progressed(run_id)
            continue
        if end == "death":
            decision = queue.ended(run_id, Ending("died", "gone"))
        elif end == "crash":
            decision = queue.ended(run_id, Ending("died", "ImportError", fault="ImportError"))
        else:
            decision = queue.ended(run_id, Ending(end, fault="f" if end == "failed" else "", device=device))  # type: ignore[arg-type]
        said += [note for note in decision.notes if "is excluded" in note]
        if isinstance(decision, Over):
            over += [run_id, *decision.withheld]
        else:
            assert 0 <= decision.seconds <= 60
    assert sorted(over) == sorted(t.run_id for t in tasks)
    assert {note.partition(" ")[0] for note in said} >= set(queue.devices.left_out)
    assert len(said) == len(set(said)) or any(end == "progress" for end in ends), (
        "reported once, unless the device was used again"
    )


def test_seeds_run_in_order_and_the_longest_run_of_each_seed_starts_first() -> None:
    tasks = [
        task("b1", "b", 7, work=1),
        task("v1", "v", 7, work=9),
        task("a1", "a", 7, work=5),
        task("b0", "b", 2, work=1, epochs=100),
        task("v0", "v", 2, work=9),
    ]
    assert [t.run_id for t in in_order(tasks)] == ["v1", "a1", "b1", "b0", "v0"]


@pytest.mark.parametrize(
    ("report", "blame"),
    [
        ("ray.exceptions.ActorDiedError: The actor died unexpectedly", "infrastructure"),
        ("The actor never ran - it was canceled before it started running.", "infrastructure"),
        ("", "infrastructure"),
        ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.", "infrastructure"),
        ("ray.exceptions.RayTaskError(ModuleNotFoundError): ray::Worker.__init__()\nNo module named 'x'", "user"),
    ],
)
def test_a_death_is_attributed_to_the_right_cause(report: str, blame: str) -> None:
    ending = ending_of_death(report)
    assert (ending.end, bool(ending.fault)) == ("died", blame == "user")
    assert ending.reason


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_two_errors_are_equal_if_type_and_place_are_equal() -> None:
    one, other = raised(KeyError("seed 1")), raised(KeyError("seed 2"))
    assert fault_of(one) == fault_of(other) != fault_of(raised(ValueError("seed 1")))
    with pytest.raises(KeyError) as elsewhere:
        raise KeyError("seed 1")
    assert fault_of(elsewhere.value) != fault_of(one)


def test_each_kind_of_error_has_its_own_ending() -> None:
    full = StoreError("x: cannot be written: No space left on device; free space and run again")
    assert ending_of(raised(full)).end == "full"
    assert ending_of(raised(OSError(28, "No space left on device"))).end == "full"
    assert ending_of(raised(StoreError("x: damaged"))).end == "failed"
    with pytest.raises(StoreError) as outage:
        raise StoreError("s3: does not answer") from TimeoutError("timed out")
    assert ending_of(outage.value).end == "storage"
    for number, end in ((errno.ESTALE, "storage"), (errno.EACCES, "failed"), (errno.ELOOP, "failed")):
        with pytest.raises(StoreError) as refused, explained(Path("x")):
            raise OSError(number, os.strerror(number))
        assert ending_of(refused.value).end == end
    assert ending_of(raised(Answer(503))).end == "storage"
    assert ending_of(raised(Answer(403))).end == "failed"
    failed = ending_of(raised(ZeroDivisionError("x")))
    assert (failed.end, failed.reason) == ("failed", "ZeroDivisionError: x")
    assert failed.traceback.splitlines()[-1] == "ZeroDivisionError: x"
    assert "test_scheduler.py" in failed.fault
    assert not is_full(OSError(2, "x"))
    assert Ending(**failed.as_json()) == failed


HOST: dict[str, BaseException] = {
    "python": MemoryError(),
    "system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "torch": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
}


@pytest.mark.parametrize("kind", HOST)
def test_a_lack_of_host_memory_is_attributed_to_the_machine(kind: str) -> None:
    assert ending_of(raised(HOST[kind]), DeviceFailure("out_of_memory")).end == "machine"


@pytest.mark.parametrize(
    ("failure", "end", "spent"),
    [
        (None, "failed", False),
        (DeviceFailure("out_of_memory"), "out_of_memory", False),
        (DeviceFailure("out_of_memory", held_by_others=True), "out_of_memory", False),
        (DeviceFailure("device_error"), "device_error", True),
        (DeviceFailure("device_assert"), "failed", True),
    ],
)
def test_an_error_in_the_device_has_its_own_ending(failure: DeviceFailure | None, end: str, spent: bool) -> None:
    """A device-side assert is an error in the user's code, but the process still cannot be used again."""
    ending = ending_of(raised(RuntimeError("CUDA error: x")), failure)
    assert (ending.end, ending.process_spent) == (end, spent)
    assert ending.held_by_others == (failure is not None and failure.held_by_others)
    assert bool(ending.fault) == (end == "failed"), "only failures count against the arm"
    assert Ending(**ending.as_json()) == ending


class Answer(StoreError):
    """An error from object storage, with its status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
