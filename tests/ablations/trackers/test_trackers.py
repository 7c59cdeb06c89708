"""Trackers receive each run and epoch once, receive nothing that must stay on the machine, and never block a run."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from progress_cases import run_id
from tiny_study import TINY, numbers, planned

from ablations.execution.events import EpochEnded, Event, Notice, RunEnded, RunRetried, RunStarted
from ablations.trackers import RunInfo, Tracker, Tracking, base
from ablations.trackers.disclosure import HIDDEN, metrics, options
from ablations.trackers.subscriber import trackings
from aimlib.component import Frozen, local
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.records import RunState

CONFIG = RunConfig.parse({**TINY["base"], "seed": 0})
HOSTILE = "[red]../../aim[/red] 記憶"


def plan(runs: int = 2, name: str = "tiny") -> Any:
    planned = [SimpleNamespace(run_id=run_id(i), arm=HOSTILE, seed=i, config=CONFIG) for i in range(runs)]
    return SimpleNamespace(study=SimpleNamespace(spec=SimpleNamespace(name=name)), runs=planned)


def row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "validation_accuracy": epoch / 10,
        "validation_loss": None,
        "test_accuracy": 0.987654,
        "test_loss": 0.1,
        "learning_rate": 1e-3,
        "seconds": 1.5,
    }


class Recorder(Tracker):
    """A tracker that records its events, and that can be slow or raise errors."""

    told: list[tuple[Any, ...]]
    hold: threading.Event | None = None
    trouble: str = ""

    def __init__(self, directory: Path, study: str) -> None:
        super().__init__(directory, study)
        self._note("made", directory.name, study)

    def _note(self, *event: Any) -> None:
        if self.hold is not None:
            self.hold.wait(10)
        if self.trouble and self.trouble == event[0]:
            raise RuntimeError("no space left")
        self.told.append(event)

    def started(self, run: RunInfo, *, resumed: bool) -> None:
        self._note("started", run.run_id, resumed)

    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        self._note("epoch", run.run_id, number)

    def ended(self, run: RunInfo, end: str) -> None:
        self._note("ended", run.run_id, end)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    class Fresh(Recorder):
        told = []

    monkeypatch.setitem(base.TRACKERS, "recorder", ("of.this:Test", ()))  # type: ignore[misc]
    monkeypatch.setattr("ablations.trackers.subscriber.tracker_class", lambda name: Fresh)
    return Fresh


def session(directory: Path, *events: Event, name: str = "recorder", runs: int = 2) -> list[str]:
    """Pass events to a tracker as one session would, and return the tracker's messages."""
    notes: list[str] = []
    tracking = Tracking(name, plan(runs), directory, notes.append)
    tracking.start()
    for event in events:
        tracking.handle(event)
    tracking.stop()
    return notes


def test_a_resumed_run_continues_without_duplicate_epochs(tmp_path: Path, recorder: type[Recorder]) -> None:
    first = run_id(0)
    epochs = [EpochEnded(first, row(epoch)) for epoch in range(1, 6)]
    again = RunRetried(first, "the node went away", 3.0)
    session(tmp_path, RunStarted(first, "host"), *epochs[:3], again, RunStarted(first, "host"), *epochs[1:4])
    session(tmp_path, RunStarted(first), *epochs[2:], RunEnded(first, "finished"))
    assert recorder.told == [
        ("made", "recorder", "tiny"),
        ("started", first, False),
        *[("epoch", first, epoch) for epoch in (1, 2, 3, 4)],
        ("made", "recorder", "tiny"),
        ("started", first, True),
        ("epoch", first, 5),
        ("ended", first, "finished"),
    ]


def test_the_ending_of_a_run_is_tracked(tmp_path: Path, recorder: type[Recorder]) -> None:
    states: tuple[RunState, ...] = ("diverged", "failed", "held", "paused", "stopped")
    events = [event for i, state in enumerate(states) for event in (RunStarted(run_id(i)), RunEnded(run_id(i), state))]
    session(tmp_path, *events, RunEnded(run_id(6), "failed"), Notice("hello"), runs=7)
    ends = [event[2] for event in recorder.told if event[0] == "ended"]
    assert ends == ["diverged", "failed", "held", "held", "stopped"], "and nothing of a run that was never begun"


@pytest.mark.parametrize("trouble", ["made", "started", "epoch", "ended"])
def test_a_tracker_that_raises_an_error_is_reported_once_and_disabled(
    tmp_path: Path, recorder: type[Recorder], trouble: str
) -> None:
    recorder.trouble = trouble
    events = [
        event
        for each in map(run_id, range(2))
        for event in (RunStarted(each), EpochEnded(each, row(1)), RunEnded(each, "finished"))
    ]
    notes = session(tmp_path, *events)
    unharmed = "disabled; the study and its results are not affected"
    assert notes == [f"--track recorder failed (RuntimeError: no space left): {unharmed}"]


def test_a_tracker_that_hangs_does_not_delay_anything(
    tmp_path: Path, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.trackers.subscriber._STOP_TIMEOUT_S", 0.05)
    monkeypatch.setattr("ablations.trackers.subscriber._MOST_WAITING", 50)
    recorder.hold = threading.Event()
    began = time.monotonic()
    notes = session(tmp_path, *[EpochEnded(run_id(0), row(epoch)) for epoch in range(1, 200)])
    assert time.monotonic() - began < 5
    recorder.hold.set()
    assert notes == [
        "--track recorder is more than 50 events behind: disabled; the study and its results are not affected"
    ]


class Options(Frozen):
    """Options, some of which must not leave this machine."""

    root: str = local("/home/me/photos", "where the photos are")
    api_key: str = "s3cret"
    url: str = "https://me:s3cret@example.org/data"
    nested: dict[str, Any] = {"access_token": "s3cret", "size": 3, "none": None}
    sizes: tuple[int, ...] = (4, 8)
    monkey: str = "shown"


def test_paths_secrets_and_test_accuracies_are_not_sent() -> None:
    assert options(Options()) == {
        "api_key": HIDDEN,
        "url": "https://example.org/data",
        "nested.access_token": HIDDEN,
        "nested.size": 3,
        "sizes": "[4, 8]",
        "monkey": "shown",
    }
    assert metrics(row(2)) == {"train_loss": 0.5, "validation_accuracy": 0.2, "learning_rate": 1e-3, "seconds": 1.5}
    told = options(CONFIG)
    assert (told["model.backbone.name"], told["training.optimizer.learning_rate"]) == ("small_resnet", 2e-3)


def test_unusable_tracker_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--track unknown tracker 'tensorbord'; did you mean 'tensorboard'\?"):
        trackings(["tensorbord"], plan(), tmp_path, print)
    monkeypatch.setitem(base.TRACKERS, "mlflow", ("nowhere:None", ("no_such_module",)))  # type: ignore[misc]
    with pytest.raises(
        UsageError, match=r"--track mlflow: no_such_module is not installed; pip install 'aim-ablations\[mlf"
    ):
        trackings(["mlflow"], plan(), tmp_path, print)
    assert trackings([], plan(), tmp_path, print) == []
    assert list(tmp_path.iterdir()) == []


def test_trackers_are_not_imported_unless_the_option_is_used() -> None:
    code = (
        "import sys; import ablations.commands.app, ablations.progress.monitor, ablations.trackers\n"
        "from ablations.trackers.subscriber import trackings\n"
        "assert trackings([], None, None, print) == []\n"
        "print([m for m in ('tensorboard', 'tensorboardX', 'mlflow', 'wandb') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


EVENTS: list[list[Event]] = [
    [RunStarted(run_id(0)), *[EpochEnded(run_id(0), row(epoch)) for epoch in (1, 2, 3)]],
    [
        RunStarted(run_id(0)),
        *[EpochEnded(run_id(0), row(epoch)) for epoch in (2, 3, 4)],
        RunEnded(run_id(0), "finished"),
        RunStarted(run_id(1)),
        EpochEnded(run_id(1), row(1)),
        RunEnded(run_id(1), "failed", "why"),
    ],
]
"""Two sessions, the second of which continues from a checkpoint saved after the first epoch."""
STEPS = [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]


def both_sessions(directory: Path, name: str) -> None:
    for events in EVENTS:
        assert session(directory, *events, name=name) == []


def test_tensorboard_receives_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra `tensorboard`")
    from tensorboardX.proto.event_pb2 import Event

    both_sessions(tmp_path, "tensorboard")
    folders = {path.parent for path in tmp_path.rglob("events.out.*")}
    assert {folder.name for folder in folders} == {f"seed{i}-{run_id(i)}" for i in range(2)}
    assert {folder.parent.name for folder in folders} == {"_red_.._.._aim_red_"}, "no name leads elsewhere"
    seen = []
    for path in sorted(tmp_path.rglob(f"*{run_id(0)}/events.out.*")):
        data = path.read_bytes()
        assert b"0.98" not in data
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            seen += [(value.tag, event.step, round(value.simple_value, 6)) for value in event.summary.value]
    assert sorted((step, value) for tag, step, value in seen if tag == "accuracy/validation") == STEPS
    assert {tag for tag, _, _ in seen} == {
        "config/text_summary",
        "accuracy/validation",
        "loss/train",
        "learning_rate",
        "seconds",
    }


def test_a_study_is_tracked(tmp_path: Path, study: Callable[..., Path]) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra `tensorboard`")
    from ablations.sessions.launch import run

    file = study({"base.training.epochs": 1, "seeds": 1})
    tracked = run(file, tmp_path / "tracked", executor="inline", track=["tensorboard", "tensorboard"])
    assert sorted(numbers(tracked.directory)) == sorted(planned(tracked.directory))
    folders = {path.parent.name for path in (tracked.directory / "tracking").rglob("events.out.*")}
    assert folders == {f"seed0-{each}" for each in planned(tracked.directory)}
    with pytest.raises(UsageError, match="unknown tracker 'nonsense'"):
        run(file, tmp_path / "none", executor="inline", track=["nonsense"])
    assert not (tmp_path / "none").exists()


def test_mlflow_receives_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    from mlflow.tracking import MlflowClient

    both_sessions(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'tracking' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.data.tags["ablate.run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {each: (run.info.status, run.data.tags["outcome"]) for each, run in runs.items()} == {
        run_id(0): ("FINISHED", "finished"),
        run_id(1): ("FAILED", "failed"),
    }
    first = runs[run_id(0)]
    assert first.info.run_name == f"{HOSTILE}, seed 0"
    assert first.data.params["model.backbone.name"] == "small_resnet"
    assert set(first.data.metrics) == {"train_loss", "validation_accuracy", "learning_rate", "seconds"}
    history = client.get_metric_history(first.info.run_id, "validation_accuracy")
    assert sorted((point.step, point.value) for point in history) == STEPS


def test_wandb_receives_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    from wandb.proto.wandb_internal_pb2 import Record

    both_sessions(tmp_path, "wandb")
    folders = sorted((tmp_path / "tracking" / "wandb" / "wandb").glob("offline-run-*"))
    assert [folder.name.rsplit("-", 1)[1] for folder in folders].count(run_id(0)) == 2, "a folder per session"
    seen = []
    for folder in folders:
        if folder.name.endswith(run_id(0)):
            for data in _log_records(next(folder.glob("*.wandb")).read_bytes()):
                message = Record.FromString(data)
                items = {(item.key or item.nested_key[0]): item.value_json for item in message.history.item}
                seen += [(int(items["_step"]), float(items["validation_accuracy"]))] if items else []
                assert "0.98" not in str(message)
                assert message.run.host in ("", "(not shown)")
    assert seen == STEPS


def _log_records(data: bytes) -> list[bytes]:
    """Return the records of a LevelDB log, which has a header of seven bytes."""
    found: list[bytes] = []
    place, part = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        body = data[place + 7 : place + 7 + length]
        place += 7 + length
        part = body if kind in (1, 2) else part + body
        if kind in (1, 4):
            found.append(part)
    return found
