"""What is shown while a study runs: counts, time left, and any name as it is."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ablations import progress
from ablations.progress import LineView, LiveView, Progress, duration, labels, summary, view


def plan(arms: list[str], seeds: int = 2, epochs: int = 4, name: str = "tiny") -> Any:
    runs = [
        SimpleNamespace(
            run_id=f"{seed}-{number}",
            arm=arm,
            seed=seed,
            config=SimpleNamespace(training=SimpleNamespace(epochs=epochs)),
        )
        for seed in range(seeds)
        for number, arm in enumerate(arms)
    ]
    return SimpleNamespace(
        study=SimpleNamespace(spec=SimpleNamespace(name=name)),
        arms=[SimpleNamespace(name=arm) for arm in arms],
        runs=runs,
    )


def row(epoch: int, seconds: float = 1.0, validation_accuracy: float | None = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": seconds, "validation_accuracy": validation_accuracy, "test_accuracy": 0.987}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (18_600, "5 h 10 min"),
        (86_400, "1 d"),
        (183_600, "2 d 3 h"),
        (10**8, "1157 d 9 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_follow_the_events() -> None:
    state = Progress(plan(["a", "b"]), {"0-0"})
    assert state.before == 1
    assert (state.count("finished"), state.count("waiting"), state.count("running")) == (1, 3, 0)
    state.epoch("0-1", row(1))
    assert (state.count("running"), state.count("running", arm="b"), state.count("running", arm="a")) == (1, 1, 0)
    state.ended("0-1", "diverged")
    state.epoch("1-0", row(1))
    state.ended("1-0", "failed")
    state.ended("1-1", "waiting")
    assert state.count("finished", "diverged") == 2
    assert state.count("failed", arm="a") == 1
    assert state.count("waiting", arm="b") == 1


def test_accuracy_is_the_mean_of_the_last_validation_accuracies() -> None:
    state = Progress(plan(["a", "b"]), set())
    assert state.accuracy("a") is None
    state.epoch("0-0", row(1, validation_accuracy=0.1))
    state.epoch("0-0", row(2, validation_accuracy=0.4))
    state.epoch("1-0", row(1, validation_accuracy=0.6))
    assert state.accuracy("a") == pytest.approx(0.5)
    assert state.accuracy("b") is None
    state.epoch("0-1", row(1, validation_accuracy=None))
    assert state.accuracy("b") is None


def test_time_left_in_closed_form() -> None:
    state = Progress(plan(["slow", "quick"], seeds=3, epochs=4), {"0-0"})
    assert state.seconds_left() is None
    state.epoch("0-1", row(1, seconds=1.0))
    # 1 run of `quick` has 3 epochs left, 2 have 4; 2 runs of `slow` have 4 and go, for want of better, at 1 s.
    assert state.seconds_left() == pytest.approx((3 + 8) * 1.0 + 8 * 1.0)
    state.epoch("1-0", row(1, seconds=10.0))
    assert state.seconds_left() == pytest.approx((3 + 8) * 1.0 + (3 + 4) * 10.0)
    state.epoch("0-1", row(2, seconds=3.0))
    assert state.seconds_left() == pytest.approx((2 + 8) * 2.0 + (3 + 4) * 10.0)
    state.parallel = 2
    assert state.seconds_left() == pytest.approx(((2 + 8) * 2.0 + (3 + 4) * 10.0) / 2)
    state.ended("1-0", "failed")
    assert state.seconds_left() == pytest.approx(((2 + 8) * 2.0 + 4 * 10.0) / 2)
    for run_id in ("0-1", "1-1", "2-0", "2-1"):
        state.ended(run_id, "finished")
    assert state.seconds_left() == 0


def test_the_summary_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    state = Progress(plan(["a", "b"]), set())
    monkeypatch.setattr(progress.time, "monotonic", lambda: 190.0)
    assert summary(state) == "0/4 runs done, 0 running, 0 failed, 1 min 30 s so far"
    state.epoch("0-0", row(1, seconds=2.0))
    assert summary(state) == "0/4 runs done, 1 running, 0 failed, 1 min 30 s so far, about 30 s left"
    for run in state.runs:
        state.ended(run, "finished")
    assert summary(state) == "4/4 runs done, 0 running, 0 failed, 1 min 30 s so far"


def test_labels_name_arm_and_seed() -> None:
    assert labels(plan(["a"], seeds=2).runs) == {"0-0": "a, seed 0", "1-0": "a, seed 1"}


HOSTILE = ["[red]arm[/red]", "[/]", "[link=file:///etc]x", "a:smile:b", "\\[bold]"]


def console(width: int, *, terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=width, height=100, force_terminal=terminal, color_system=None), output


def test_lines_tell_of_ends_alone() -> None:
    shown, output = console(300, terminal=False)
    state = Progress(plan(HOSTILE), set())
    lines = view(state, shown)
    assert isinstance(lines, LineView)
    lines.start()
    for number, arm in enumerate(HOSTILE):
        run_id = f"0-{number}"
        state.epoch(run_id, row(1))
        lines.update(run_id)
        assert output.getvalue().count("\n") == number, "nothing is printed before a run ends"
        state.ended(run_id, "finished")
        lines.update(run_id)
        assert output.getvalue().splitlines()[-1].startswith(f"{run_id} {arm}: finished; {number + 1}/10 runs done")
    state.ended("1-0", "waiting")
    lines.update("1-0")
    lines.stop()
    assert output.getvalue().count("\n") == len(HOSTILE)
    assert "0.987" not in output.getvalue()
    assert "98.7" not in output.getvalue(), "test accuracies are not shown"


@pytest.mark.parametrize("width", [40, 200])
@pytest.mark.parametrize("arms", [["baseline", "aim"], [f"arm-{i:02d}" for i in range(40)]], ids=["2", "40"])
def test_the_table_shows_every_arm(arms: list[str], width: int) -> None:
    shown, output = console(width, terminal=True)
    state = Progress(plan(arms), {"0-0"})
    state.epoch("0-1", row(3))
    live = view(state, shown)
    assert isinstance(live, LiveView)
    shown.print(live._render())
    lines = output.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    text = output.getvalue()
    if width == 200:
        for arm in arms:
            assert sum(line.split()[:1] == [arm] for line in lines) == 1
        cells = [line.split()[:5] for line in lines]
        assert [arms[0], "1/2", "0", "0", "–"] in cells
        assert [arms[1], "0/2", "1", "0", "50.0%"] in cells
        assert f"1/{2 * len(arms)} runs done, 1 running" in text
    else:
        assert "1/2" in text
        assert "runs done" in text
        folded = "".join(line[:12].split(" ")[0] for line in lines)
        for arm in arms:
            assert arm in folded or arm in text


@pytest.mark.parametrize("arm", HOSTILE)
def test_the_table_shows_names_as_they_are(arm: str) -> None:
    shown, output = console(200, terminal=True)
    shown.print(LiveView(Progress(plan([arm]), set()), shown)._render())
    assert arm in output.getvalue()


def test_the_live_table_starts_and_stops() -> None:
    shown, output = console(100, terminal=True)
    state = Progress(plan(["aim"]), set())
    live = LiveView(state, shown)
    live.start()
    state.ended("0-0", "finished")
    live.update("0-0")
    live.stop()
    assert "1/2" in output.getvalue().splitlines()[-2] or "1/2" in output.getvalue()
