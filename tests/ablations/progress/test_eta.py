"""The time left, compared with closed forms and simulated schedules."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from progress_cases import Clock, Schedule, errors, outline, row, run_id

from ablations.execution.events import EpochEnded, RunEnded, RunStarted
from ablations.progress import Progress
from ablations.progress.eta import Lengths, makespan

ARMS = {"baseline": 10.0, "matched": 12.0, "frozen": 18.0, "aim": 20.0}


def test_the_makespan_agrees_with_its_closed_form() -> None:
    assert makespan([], [], 4) == 0
    assert makespan([3.0, 5.0], [], 2) == 5
    assert makespan([], [2.0] * 6, 3) == 4
    assert makespan([], [5.0, 1.0, 1.0, 1.0], 2) == 5, "the long run starts first, and the three short runs beside it"
    assert makespan([], [1.0, 1.0, 1.0, 5.0], 2) == 6, "the long run starts last, and is alone at the end"
    assert makespan([4.0, 4.0, 6.0], [1.0], 1) == 7, "more runs than slots: the excess runs are not replaced"
    assert makespan([1.0], [1.0], 0) == 2, "a driver without slots counts as a driver with one slot"


@given(
    st.lists(st.floats(0, 100), max_size=6),
    st.lists(st.floats(0.1, 100), max_size=30),
    st.integers(1, 8),
)
def test_the_makespan_lies_between_its_bounds(running: list[float], waiting: list[float], slots: int) -> None:
    found = makespan(running[:slots], waiting, slots)
    work, longest = sum(running[:slots]) + sum(waiting), max([*running[:slots], *waiting], default=0)
    assert found >= max(longest if not waiting else max(waiting), work / slots) - 1e-6
    assert found <= work / slots + longest + 1e-6, "Graham's bound for list scheduling"


def test_the_time_left_agrees_with_its_closed_form() -> None:
    clock = Clock()
    shown = Progress(outline(["slow", "quick"], seeds=3, epochs=4), {run_id(0)}, clock=clock)
    assert shown.seconds_left() is None
    shown.handle(RunStarted(run_id(1)))
    clock.now += 1.5
    shown.handle(EpochEnded(run_id(1), row(1, seconds=1.0)))  # each run takes half a second to start
    # 1 run of `quick` has 3 epochs left, 2 have 4; 2 runs of `slow`, about which nothing is known, have not started.
    assert shown.seconds_left() == pytest.approx(3 * 1.0 + 4 * (4 * 1.0 + 0.5))
    clock.now += 0.4
    assert shown.seconds_left() == pytest.approx(3 + 4 * 4.5), "an estimate is valid for two seconds"
    clock.now += 2.0
    assert shown.seconds_left() == pytest.approx(3 - 1 + 4 * 4.5), "at most the whole current epoch has passed"
    for number in range(1, 6):
        shown.handle(RunEnded(run_id(number), "finished"))
    clock.now += 2.0
    assert shown.seconds_left() == 0


def test_an_arm_that_has_not_run_uses_its_estimate_or_its_relative_work() -> None:
    def left(expected: dict[str, float] | None, weights: dict[str, float]) -> float:
        clock = Clock()
        planned = outline(["a", "b"], seeds=1, epochs=10)
        shown = Progress(
            type(planned)(planned.name, planned.epochs, planned.runs, weights), (), expected=expected, clock=clock
        )
        shown.handle(EpochEnded(run_id(0), row(1, seconds=4.0)))
        found = shown.seconds_left()
        assert found is not None
        return found

    assert left(None, {}) == pytest.approx(9 * 4 + 10 * 4)
    assert left({"a": 20.0, "b": 60.0}, {}) == pytest.approx(9 * 4 + 10 * 12), "here, all epochs take twice as long"
    assert left(None, {"a": 1e9, "b": 2e9}) == pytest.approx(9 * 4 + 10 * 8)
    shown = Progress(outline(["a", "b"], seeds=1, epochs=10), (), expected={"a": 20.0, "b": 60.0})
    assert shown.seconds_left() == pytest.approx(80.0), "known before any run has started"


def test_the_pace_includes_the_time_between_epochs() -> None:
    clock = Clock()
    shown = Progress(outline(["a"], seeds=1, epochs=10), (), clock=clock)
    shown.handle(RunStarted(run_id(0)))
    for epoch in range(1, 6):
        clock.now += 3.0
        shown.handle(EpochEnded(run_id(0), row(epoch, seconds=2.0)))
    assert shown.arms["a"].pace.epoch.value == pytest.approx((2 + 4 * 3) / 5)


def test_the_lengths_of_runs_that_end_early_are_estimated() -> None:
    lengths = Lengths()
    assert lengths.left(4, [2]) == [4, 3, 2, 1, 0]
    for length in (2, 4, 4, 4):
        lengths.add(length)
    assert lengths.left(4, []) == pytest.approx([3.5, 2.5, 2, 1, 0]), (
        "a quarter of the runs have two epochs, and the others have four"
    )
    alone = Lengths()
    alone.add(1)
    assert alone.left(4, [3, 3, 3])[0] == pytest.approx(0.75 * 4 + 0.25), "runs that continue have not ended early"


@pytest.mark.parametrize("slots", [1, 4, 8, 20])
def test_the_estimate_is_accurate_after_every_arm_has_run(slots: int) -> None:
    """The error is below 3 % of the total time. A simple division is up to 25 % too low."""
    schedule = Schedule(outline(ARMS, 5, 50), ARMS, slots, overhead=20.0, noise=0.1)
    found = errors(schedule, (0.25, 0.5, 0.75, 0.9))
    assert all(abs(estimate) < 0.03 for estimate, _ in found.values()), found
    if slots in (8, 20):
        assert found[0.5][1] < -0.2


def test_the_estimate_is_accurate_for_random_schedules() -> None:
    """Over 60 schedules, the mean error was below 1 % of the total time; the SD was 1.7 % after a quarter of the time
    and 0.8 % after three quarters.
    """
    found: dict[float, list[float]] = {0.25: [], 0.5: [], 0.75: []}
    for seed in range(12):
        draw = random.Random(seed)
        arms = {f"arm {i}": draw.uniform(5, 20) for i in range(draw.randint(2, 6))}
        planned = outline(arms, draw.randint(3, 10), draw.randint(10, 40))
        schedule = Schedule(planned, arms, draw.randint(1, 12), draw.uniform(0, 40), noise=0.15, seed=seed)
        for share, (estimate, _) in errors(schedule, found).items():
            found[share].append(estimate)
    for share, bound in ((0.25, 0.1), (0.5, 0.05), (0.75, 0.03)):
        assert max(map(abs, found[share])) < bound, share
        assert abs(fmean(found[share])) < 0.02


def test_the_estimate_takes_early_stopping_into_account() -> None:
    planned = outline(ARMS, 12, 50)
    found: dict[float, list[float]] = {0.5: [], 0.75: [], 0.9: []}
    for seed in range(6):
        draw = random.Random(seed)
        lengths = {each: draw.randint(10, 50) for each, _, _ in planned.runs}
        schedule = Schedule(planned, ARMS, 8, overhead=20.0, noise=0.1, lengths=lengths, seed=seed)
        for share, (estimate, _) in errors(schedule, found).items():
            found[share].append(estimate)
    for share, bound in ((0.5, 0.2), (0.75, 0.15), (0.9, 0.08)):
        assert max(map(abs, found[share])) < bound, share


def test_a_session_that_starts_the_longest_runs_first_takes_as_long_as_check_estimated() -> None:
    draw = random.Random(3)
    arms = {f"arm {i}": draw.uniform(5, 25) for i in range(20)}
    planned = outline(arms, 10, 20)
    schedule = Schedule(planned, arms, 16, overhead=15.0, noise=0.15, longest_first=True)
    found = errors(schedule, (0.1, 0.5), {name: seconds * 20 / 3 for name, seconds in arms.items()}, longest_first=True)
    assert all(abs(estimate) < 0.05 for estimate, _ in found.values()), found
