"""The state of a session counts every event, and the cost of an update does not grow with the study."""

from __future__ import annotations

import random
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from progress_cases import Clock, large, outline, row, run_id

from ablations.execution.events import EpochEnded, NodesChanged, RunEnded, RunRetried, RunStarted
from ablations.progress import Outline, Progress
from ablations.progress.snapshot import snapshot_of
from ablations.progress.summary import summary
from aimlib.errors import StoreError
from aimlib.records import RUN_STATES


def test_a_plan_and_its_document_have_the_same_outline() -> None:
    training = SimpleNamespace(training=SimpleNamespace(epochs=7))
    plan = SimpleNamespace(
        study=SimpleNamespace(spec=SimpleNamespace(name="tiny")),
        arms=[SimpleNamespace(name="a", config=training)],
        runs=[SimpleNamespace(run_id=run_id(0), arm="a", seed=3)],
        summaries={"a": SimpleNamespace(multiply_adds=1000)},
    )
    document = {
        "name": "tiny",
        "arms": [{"name": "a", "config": {"training": {"epochs": 7}}}],
        "runs": [{"run_id": run_id(0), "arm": "a", "seed": 3}],
    }
    of = Outline.of(plan)
    assert Outline.read(document) == Outline("tiny", of.epochs, of.runs)
    assert of.weights == {"a": 1000.0}
    with pytest.raises(StoreError, match=r"study\.json: not a valid study plan .*plans"):
        Outline.read({"name": "tiny", "arms": [{}]})
    for epochs in (0, 7.5, 1e308, float("inf"), 10**40):
        arm = {"name": "a", "config": {"training": {"epochs": epochs}}}
        with pytest.raises(StoreError, match="is not a number of epochs"):
            Outline.read(document | {"arms": [arm]})
    with pytest.raises(StoreError, match="runs of arms that are not listed: b"):
        Outline.read(document | {"runs": [{"run_id": run_id(0), "arm": "b", "seed": 3}]})


def test_counts_follow_the_events() -> None:
    shown = Progress(outline(["a", "b"]), {run_id(0), "not planned"})
    assert (shown.before, shown.settled) == (1, 1)
    shown.handle(RunStarted(run_id(1), "node, GPU 0.5"))
    shown.handle(EpochEnded(run_id(1), row(1)))
    assert shown.arms["b"].counts["running"] == 1
    shown.handle(RunEnded(run_id(1), "diverged"))
    shown.handle(RunStarted(run_id(2)))
    shown.handle(RunEnded(run_id(2), "failed"))
    shown.handle(RunEnded(run_id(3), "held"))
    assert {state: n for state, n in shown.counts.items() if n} == {
        "finished": 1,
        "diverged": 1,
        "failed": 1,
        "held": 1,
    }
    assert list(shown.failures) == [run_id(2)]
    shown.handle(RunStarted(run_id(2)))
    assert not shown.failures, "a run that is running again has not failed"
    assert shown.runs[run_id(2)].attempts == 2


def test_a_late_event_does_not_restart_an_ended_run() -> None:
    shown = Progress(outline(["a"]), ())
    shown.handle(RunStarted(run_id(0)))
    shown.handle(RunEnded(run_id(0), "finished"))
    shown.handle(EpochEnded(run_id(0), row(4)))
    assert shown.runs[run_id(0)].state == "finished"
    assert not shown.active


def test_a_repeated_attempt_is_counted_reported_and_shown() -> None:
    shown = Progress(outline(["a"]), ())
    shown.handle(RunStarted(run_id(0)))
    shown.handle(EpochEnded(run_id(0), row(1)))
    shown.handle(EpochEnded(run_id(0), row(2)))
    shown.handle(RunRetried(run_id(0), "the node\nwent away", 30.0))
    assert (shown.repeated, shown.runs[run_id(0)].state) == (1, "retrying")
    assert shown.messages[-1].text == "a, seed 0: retrying in 30 s: the node went away"
    seen = snapshot_of(shown)
    assert (seen.arms[0].running, seen.arms[0].waiting, seen.running[0].state) == (0, 2, "retrying")
    shown.handle(RunStarted(run_id(0)))
    shown.handle(EpochEnded(run_id(0), row(2)))  # the run continues from a checkpoint after the first epoch
    assert (shown.runs[run_id(0)].epochs_done, shown.arms["a"].epochs_done) == (2, 2)
    assert shown.arms["a"].accuracy(2) == (0.5, 1), "an epoch that is computed twice is counted once"


def test_accuracies_are_compared_after_the_same_epoch_and_never_come_from_test_images() -> None:
    shown = Progress(outline(["a", "b", "c"]), ())
    for epoch, accuracy in ((1, 0.1), (2, 0.4), (3, 0.9)):
        shown.handle(EpochEnded(run_id(0), row(epoch, accuracy=accuracy)))
    shown.handle(EpochEnded(run_id(1), row(1, accuracy=0.3)))
    shown.handle(EpochEnded(run_id(1), row(2, accuracy=float("nan"))))
    shown.handle(EpochEnded(run_id(3), row(1, accuracy=0.2)))
    seen = snapshot_of(shown, arm_curves=True, run_curves=True)
    assert seen.equal_epoch == 1, "the last epoch that every arm with an accuracy has reached"
    assert [(arm.accuracy, arm.accuracy_runs) for arm in seen.arms] == [(pytest.approx(0.15), 2), (0.3, 1), (None, 0)]
    assert seen.arms[0].curve == (0.15, 0.4, 0.9)
    assert "0.98" not in repr(seen)


def test_runs_from_earlier_sessions_are_counted_with_their_states() -> None:
    shown = Progress(outline(["a", "b"], epochs=4), {run_id(0)})
    assert shown.seconds_left() is None
    shown.recall(run_id(0), "diverged", [0.2, 0.4], seconds=10.0, epochs_run=2)
    assert (shown.settled, shown.counts["diverged"], shown.arms["a"].accuracy(2)) == (1, 1, (0.4, 1))
    assert shown.seconds_left() == pytest.approx(2 * 5.0 + 2 * 4 * 5.0), "the length and the pace of the known run"
    shown.recall("a run in a different plan", "finished", [], None, 0)
    assert shown.settled == 1


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(RUN_STATES), st.integers(1, 4)), max_size=60))
def test_the_counts_agree_with_the_runs_after_any_events(events: list[tuple[int, str, int]]) -> None:
    shown = Progress(outline(["a", "b"], seeds=4), {run_id(5)}, clock=Clock())
    for number, state, epoch in events:
        each = run_id(number)
        if state == "running":
            shown.handle(RunStarted(each))
        elif state == "retrying":
            shown.handle(RunRetried(each, "why", 1.0))
        elif state == "waiting":
            shown.handle(EpochEnded(each, row(epoch)))
        else:
            shown.handle(RunEnded(each, state))
    runs = shown.runs.values()
    assert +shown.counts == Counter(run.state for run in runs)
    for name, arm in shown.arms.items():
        assert +arm.counts == Counter(run.state for run in runs if run.arm == name)
        assert arm.epochs_done == sum(run.epochs_done for run in runs if run.arm == name)
    assert set(shown.active) == {each for each, run in shown.runs.items() if run.state in ("running", "retrying")}
    assert set(shown.failures) == {each for each, run in shown.runs.items() if run.state == "failed"}
    assert snapshot_of(shown).share <= 1
    left = shown.seconds_left()
    assert left is None or left >= 0


def test_the_cost_of_an_event_does_not_grow_with_the_number_of_runs() -> None:
    def cost(runs: int) -> float:
        shown = Progress(outline([f"arm {i}" for i in range(4)], runs // 4, 1000), ())
        draw = random.Random(0)
        for number in range(32):
            shown.handle(RunStarted(run_id(number)))
        best = float("inf")
        for turn in range(5):
            began = time.process_time()
            for epoch in range(1, 41):
                shown.handle(EpochEnded(run_id(draw.randrange(32)), row(turn * 40 + epoch)))
            best = min(best, time.process_time() - began)
        return best

    assert cost(4000) < 5 * cost(40)


def test_a_snapshot_of_4000_runs_is_fast() -> None:
    shown, clock = large()
    began = time.process_time()
    for _ in range(5):
        clock.now += 10
        snapshot_of(shown)
    assert (time.process_time() - began) / 5 < 0.1, "6 ms on the machine where it was measured"


def test_the_uptime_of_all_nodes_is_summed_while_nodes_are_added_and_removed() -> None:
    clock = Clock()
    shown = Progress(outline(["a"], seeds=6), (), parallel=1, totals={"CPU": 4.0}, clock=clock)
    assert (shown.nodes, shown.node_seconds) == (0, 0.0)
    for nodes, parallel, seconds in ((1, 4, 10.0), (3, 12, 100.0), (0, 0, 50.0), (2, 8, 1.0)):
        shown.handle(NodesChanged(nodes, parallel, {"CPU": 4.0 * nodes, "GPU": 0.0}))
        assert shown.parallel == max(1, min(parallel, 6)), "6 runs, at least one of which takes some time"
        clock.now += seconds
    assert shown.node_seconds == 1 * 10 + 3 * 100 + 2 * 1
    assert shown.use["CPU"].total == 8.0
    assert "2 nodes, 0.087 node-hours" in summary(snapshot_of(shown))
