"""Device errors: the run is retried elsewhere, the GPU is excluded, and neither is penalized for the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.execution.attempts import Ending
from ablations.execution.device_failures import DeviceFailures
from ablations.execution.retry_policy import Over, Retry, larger
from ablations.execution.scheduler import Fit, Scheduler
from ablations.execution.task import Task

ECC = "AcceleratorError: CUDA error: uncorrectable ECC error encountered"


def task(run_id: str, arm: str = "aim", **options: Any) -> Task:
    return Task("", "", "", arm, run_id, "", {"seed": 0, "training": {"epochs": 1}}, {}, "cuda", 1, 1.0, **options)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(*run_ids: str, retries: int = 0) -> tuple[Scheduler, Clock]:
    clock = Clock()
    return Scheduler([task(run_id) for run_id in run_ids], retries, clock), clock


def error(device: str) -> Ending:
    return Ending("device_error", ECC, device=device, host="node7", process_spent=True)


def lose(queue: Scheduler, clock: Clock, run_id: str, device: str) -> Retry | Over:
    """Start the run, and make it end with a device error some time later."""
    clock.now += 60.0
    given = queue.next()
    assert given is not None
    assert given.run_id == run_id
    return queue.ended(run_id, error(device))


def test_a_run_continues_elsewhere_and_the_failure_does_not_count_against_the_run_or_its_arm() -> None:
    queue, clock = queue_of("a", "b", "c", retries=0)
    first = lose(queue, clock, "a", "GPU-1")
    assert isinstance(first, Retry)
    assert (first.seconds, first.notes) == (5.0, ())
    assert "continues on another device" in first.reason
    assert queue.next() is not None, "the other runs need not wait"
    clock.now += 60
    second = queue.ended("b", error("GPU-1"))
    assert isinstance(second, Retry)
    assert second.notes == (f"GPU-1 on node7 failed twice and is excluded: {ECC}",)
    clock.now += 5
    assert [given.run_id for given in iter(queue.next, None)] == ["a", "b", "c"], "the arm is not withheld"


def test_workers_are_told_which_devices_are_excluded() -> None:
    queue, clock = queue_of("a", "b")
    for _ in range(2):
        lose(queue, clock, "a", "GPU-1")
    clock.now += 60
    assert [given.left_out for given in iter(queue.next, None)] == [("GPU-1",), ("GPU-1",)]


def test_simultaneous_failures_on_one_device_count_as_one() -> None:
    """With MPS, a fault in one client terminates all clients of the GPU."""
    queue, clock = queue_of(*"abcd")
    assert len(list(iter(queue.next, None))) == 4
    for run_id in "abcd":
        decision = queue.ended(run_id, error("GPU-1"))
        assert isinstance(decision, Retry)
        assert decision.notes == ()
        clock.now += 1.0
    assert not queue.devices.left_out
    clock.now += 10.0
    assert len(list(iter(queue.next, None))) == 4
    notes = [note for run_id in "abcd" for note in queue.ended(run_id, error("GPU-1")).notes]
    assert notes == [f"GPU-1 on node7 failed twice and is excluded: {ECC}"], "reported once"


def test_a_run_that_loses_one_device_after_another_is_given_up_and_the_devices_are_used_again() -> None:
    queue, clock = queue_of("a", "b")
    for device in ("GPU-1", "GPU-1", "GPU-2", "GPU-2"):
        assert isinstance(lose(queue, clock, "a", device), Retry)
    assert set(queue.devices.left_out) == {"GPU-1", "GPU-2"}
    queue.progressed("b")
    over = lose(queue, clock, "a", "GPU-3")
    assert isinstance(over, Over)
    assert (over.state, over.record, over.withheld) == ("failed", True, ())
    assert "device errors on 3 GPUs, one after another (GPU-1, GPU-2, GPU-3)" in over.reason
    assert "CUDA_LAUNCH_BLOCKING=1" in over.reason
    assert [note.partition(" is")[0] for note in over.notes] == ["GPU-1 on node7", "GPU-2 on node7"]
    assert not queue.devices.left_out


@pytest.mark.parametrize("others", ["fail there, too", "stand still"])
def test_a_run_is_not_suspected_if_every_gpu_may_be_broken(others: str) -> None:
    queue, clock = queue_of("a", "b")
    for device in ("GPU-1", "GPU-2", "GPU-3", "GPU-4"):
        assert isinstance(lose(queue, clock, "a", device), Retry)
        if others == "fail there, too":
            queue.progressed("b")
            clock.now += 60.0
            assert len(list(iter(queue.next, None))) == 2
            assert isinstance(queue.ended("b", error(device)), Retry)
            queue.ended("a", Ending("not_begun", "x"))
    assert len(queue.devices.left_out) == (4 if others == "fail there, too" else 0)


def test_a_device_on_which_another_run_also_failed_stays_excluded() -> None:
    failures = DeviceFailures()
    for run, now in (("a", 0.0), ("b", 100.0), ("c", 200.0)):
        failures.failed("GPU-1", "", run, ECC, now)
    assert failures.forgive("a") == []
    assert set(failures.left_out) == {"GPU-1"}


def test_progress_resets_the_count_of_devices() -> None:
    queue, clock = queue_of("a")
    for number in range(10):
        assert isinstance(lose(queue, clock, "a", f"GPU-{number}"), Retry)
        clock.now += 60
        assert queue.next() is not None
        queue.progressed("a")
        queue.ended("a", Ending("not_begun", "x"))


def test_an_attempt_that_did_not_begin_is_not_counted() -> None:
    queue, clock = queue_of("a")
    for _ in range(50):
        assert queue.next() is not None
        decision = queue.ended("a", Ending("not_begun", "it was given GPU-1, which is excluded", device="GPU-1"))
        assert isinstance(decision, Retry)
        assert decision.seconds >= 5.0, "there is no busy loop"
        clock.now += decision.seconds
    assert queue.next() is not None


def test_a_device_side_assert_is_an_error_in_user_code() -> None:
    queue, _ = queue_of("a", "b", "c")
    asserted = Ending(
        "failed", "device-side assert triggered", fault="AcceleratorError at plugin.py:3", process_spent=True
    )
    queue.next()
    assert queue.ended("a", asserted) == Over("failed", "device-side assert triggered")
    queue.next()
    assert queue.ended("b", asserted) == Over("failed", "device-side assert triggered", withheld=("c",))


def test_an_unnamed_device_is_identified_by_its_host() -> None:
    queue, clock = queue_of("a")
    lose(queue, clock, "a", "")
    lose(queue, clock, "a", "")
    assert set(queue.devices.left_out) == {"GPU of node7"}


def test_a_session_ends_if_the_remaining_runs_fit_only_on_excluded_devices() -> None:
    queue, clock = queue_of("a", "b")
    never: dict[str, Fit] = {"a": "never", "b": "later"}
    assert queue.stranded(lambda _: "never") == [], "no device failed"
    for _ in range(2):
        lose(queue, clock, "a", "GPU-1")
    assert queue.stranded(lambda given: never[given.run_id]) == [], "b waits for a node that may be added"
    assert [given.run_id for given in queue.stranded(lambda _: "never")] == ["a", "b"]
    clock.now += 60
    assert queue.next() is not None
    assert queue.stranded(lambda _: "never") == [], "something is running"
    assert queue.devices.described() == f"GPU-1 on node7 ({ECC})"
    assert queue.devices.runs() == {"a": 2}


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.1, 0.25), (0.125, 0.25), (0.2, 0.5), (0.25, 0.5), (0.3, 0.5), (1 / 3, 0.5), (0.4, 1.0), (0.5, 1.0), (0.6, 1.0)],
)
def test_shares_grow_to_sizes_that_fill_a_gpu(before: float, after: float) -> None:
    assert larger(before) == after


@given(st.floats(0.01, 1.0))
def test_a_share_never_grows_beyond_a_whole_gpu(share: float) -> None:
    after = larger(share)
    assert share <= after <= 1.0
    assert 1 / after == round(1 / after)
    assert after == 1.0 or after >= 1.49 * share


def test_a_run_that_ran_out_of_memory_on_a_whole_gpu_is_retried_once_if_other_processes_used_the_memory() -> None:
    queue, clock = queue_of("a", "b")
    queue.next()
    decision = queue.ended("a", Ending("out_of_memory", "CUDA out of memory", held_by_others=True))
    assert isinstance(decision, Retry)
    assert decision.seconds == 30.0
    assert "while other processes used much" in decision.reason
    clock.now += 30
    assert queue.next() is not None
    over = queue.ended("a", Ending("out_of_memory", "CUDA out of memory", held_by_others=True))
    assert isinstance(over, Over)
    assert "does not fit on a whole GPU" in over.reason
    queue.next()
    assert isinstance(queue.ended("b", Ending("out_of_memory", "CUDA out of memory")), Over), (
        "the run itself used the memory"
    )


def test_runs_do_not_overtake_the_first_waiting_run_of_their_kind() -> None:
    tasks = [task("large"), task("small"), task("other type", accelerator="T4")]
    queue = Scheduler(tasks, 0, Clock())
    fits: dict[str, Fit] = {"large": "later", "small": "now", "other type": "now"}

    def fit(given: Task) -> Fit:
        return fits[given.run_id] if given.gpus else "now"

    assert [given.run_id for given in iter(lambda: queue.next(fit), None)] == ["other type"]
    fits["large"] = "now"
    assert [given.run_id for given in iter(lambda: queue.next(fit), None)] == ["large", "small"]


def test_runs_do_not_overtake_a_run_that_waits_for_processors() -> None:
    queue = Scheduler([task("large"), task("other type", accelerator="T4")], 0, Clock())
    assert queue.next(lambda given: "now" if given.run_id == "other type" else "later") is None


def test_a_run_that_does_not_fit_on_any_remaining_gpu_does_not_delay_the_others() -> None:
    queue = Scheduler([task("large"), task("small")], 0, Clock())
    given = queue.next(lambda given: "never" if given.run_id == "large" else "now")
    assert given is not None
    assert given.run_id == "small"
