"""Resumed runs have the same results as uninterrupted runs. Damaged, foreign and hostile checkpoints are refused."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import AIM, data_set, run_config, without_clock

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import StoreError
from aimlib.training import checkpointing
from aimlib.training.loop import Outcome, Paused, outcome_so_far, train

EVERYTHING: dict[str, Any] = {
    "training__epochs": 4,
    "training__augmentation": {"rotation": 0.1, "translation": 0.1, "horizontal_flip": 0.5, "contrast": 0.2},
    "training__selection": "best_validation",
}
PLATEAU = {"name": "plateau", "patience": 1, "min_delta": 0.2}
VGG = {"backbone": {"name": "vgg16_bn", "widths": [2, 2, 2, 2, 2], "dense": [8, 8], "dropout": 0.5}}


class Interrupted(Exception):
    pass


def interrupt_after(epoch: int) -> Any:
    def on_epoch(row: Any) -> None:
        if row["epoch"] == epoch:
            raise Interrupted

    return on_epoch


def go(config: RunConfig, data: DataSet, folder: Path | None, on_epoch: Any = None, run_id: str = "run") -> Outcome:
    return train(
        config, data, run_id=run_id, checkpoint_directory=folder, checkpoint_share=float("inf"), on_epoch=on_epoch
    )


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        (
            {
                "model": AIM,
                "training__optimizer": {"name": "adam", "learning_rate": 0.01},
                "training__schedule": PLATEAU,
            },
            8,
        ),
        (
            {
                "model": AIM,
                "training__optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.05},
                "training__schedule": "cosine",
            },
            8,
        ),
        ({"model": VGG, "training__optimizer": "adamw", "training__batch_size": 16}, 32),
    ],
    ids=["adam, plateau, conv_sigmoid", "momentum, cosine, conv_sigmoid", "adamw, dropout"],
)
@pytest.mark.parametrize("epochs", [(1,), (1, 3)], ids=str)
def test_a_resumed_run_equals_an_uninterrupted_one(
    changes: dict[str, Any], size: int, epochs: tuple[int, ...], tmp_path: Path
) -> None:
    config, data = run_config(**{**EVERYTHING, **changes}), data_set(train=24, test=9, size=size)
    whole = go(config, data, None)
    for epoch in epochs:
        with pytest.raises(Interrupted):
            go(config, data, tmp_path, interrupt_after(epoch))
        torch.manual_seed(epoch)  # as if something ran between the attempts
    resumed = go(config, data, tmp_path)
    assert without_clock(resumed) == without_clock(whole)
    assert resumed.attempts == len(epochs) + 1
    assert whole.attempts == 1
    assert len({row["learning_rate"] for row in whole.epochs}) > 1 or "training__schedule" not in changes


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    config, data = run_config(), data_set()
    first = go(config, data, tmp_path)
    called: list[Any] = []
    again = go(config, data, tmp_path, called.append)
    assert without_clock(again) == without_clock(first)
    assert called == []
    assert again.started_at == first.started_at
    # The stored time does not include the last save, so it is compared with the epochs' time rather than the total.
    assert again.seconds > sum(row["seconds"] for row in first.epochs)


def test_predictions_with_more_than_256_classes_are_restored(tmp_path: Path) -> None:
    data = data_set(train=40, test=18)
    many = DataSet(data.train, data.test, tuple(map(str, range(300))), data.fingerprint)
    config = run_config()
    whole = go(config, many, None)
    assert whole.predictions.dtype.name == "uint16"
    with pytest.raises(Interrupted):
        go(config, many, tmp_path, interrupt_after(1))
    assert without_clock(go(config, many, tmp_path)) == without_clock(whole)


def test_a_share_of_zero_saves_once_and_without_a_directory_nothing_is_saved(tmp_path: Path) -> None:
    config, data = run_config(training__epochs=3), data_set()
    train(config, data, run_id="run", checkpoint_directory=tmp_path, checkpoint_share=0.0)
    found = checkpointing.load(tmp_path, "run")
    assert found is not None
    assert len(found.epochs) == 1
    assert [path.name for path in tmp_path.iterdir()] == [checkpointing.FILE]
    assert checkpointing.load(tmp_path / "nowhere", "run") is None


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the directory of a checkpoint after one epoch."""
    with pytest.raises(Interrupted):
        go(run_config(), data_set(), tmp_path, interrupt_after(1))
    return tmp_path


# Damage


def content(found: checkpointing.Checkpoint | None) -> Any:
    """Return a checkpoint as values that can be compared bit by bit."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value

    return None if found is None else plain(vars(found))


DAMAGES: dict[str, Callable[[bytearray, random.Random], object]] = {
    "a flipped bit": lambda b, draw: b.__setitem__(at := draw.randrange(len(b)), b[at] ^ 1 << draw.randrange(8)),
    "a truncated end": lambda b, draw: b.__delitem__(slice(draw.randrange(len(b)), None)),
    "a zeroed block": lambda b, draw: b.__setitem__(
        slice(at := draw.randrange(len(b) // 512) * 512, at + 512), bytes(512)
    ),
    "two blocks exchanged": lambda b, draw: _exchange(b, *(512 * at for at in draw.sample(range(len(b) // 512), 2))),
    "a block from another file": lambda b, draw: b.__setitem__(
        slice(at := draw.randrange(len(b) // 512) * 512, at + 512), draw.randbytes(512)
    ),
}


def _exchange(b: bytearray, one: int, two: int) -> None:
    b[one : one + 512], b[two : two + 512] = b[two : two + 512], b[one : one + 512]


@pytest.mark.parametrize("tries", [30, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("kind", DAMAGES)
def test_no_part_of_a_damaged_checkpoint_is_used(kind: str, tries: int, twice: Path) -> None:
    """If the damage did not change the content of the last checkpoint, that checkpoint is used; otherwise, the previous
    checkpoint is used."""
    path = twice / checkpointing.FILE
    sound, last = path.read_bytes(), content(checkpointing.load(twice, "run"))
    before = content(checkpointing._read(twice / checkpointing.PREVIOUS_FILE, "run"))
    assert last != before
    draw, found_damaged = random.Random(kind), 0
    for _ in range(tries):
        damaged = bytearray(sound)
        DAMAGES[kind](damaged, draw)
        path.write_bytes(damaged)
        said: list[str] = []
        assert content(checkpointing.load(twice, "run", said.append)) == (before if said else last)
        assert all(str(path) in text for text in said)
        found_damaged += len(said)
    assert found_damaged > tries * 2 / 3


@pytest.fixture
def twice(tmp_path: Path) -> Path:
    """Return the directory of two checkpoints, one after the first epoch and one after the second."""
    with pytest.raises(Interrupted):
        go(run_config(model=AIM, training__epochs=3), data_set(), tmp_path, interrupt_after(2))
    return tmp_path


@pytest.mark.parametrize(
    ("files", "epochs", "then"),
    [
        ([checkpointing.FILE], [2, 3], "continues from the previous checkpoint, after 1 completed epoch"),
        ([checkpointing.FILE, checkpointing.PREVIOUS_FILE], [1, 2, 3], "starts from the beginning"),
        ([checkpointing.PREVIOUS_FILE], [3], None),
    ],
    ids=str,
)
def test_a_run_with_damaged_checkpoints_repeats_the_lost_part_and_reports_it(
    files: list[str], epochs: list[int], then: str | None, twice: Path
) -> None:
    for name in files:
        whole = bytearray((twice / name).read_bytes())
        whole[len(whole) // 2] ^= 4
        (twice / name).write_bytes(whole)
    config, data, done = run_config(model=AIM, training__epochs=3), data_set(), []
    notices: list[str] = []
    outcome = train(
        config,
        data,
        run_id="run",
        checkpoint_directory=twice,
        checkpoint_share=float("inf"),
        on_epoch=lambda row: done.append(row["epoch"]),
        on_notice=notices.append,
    )
    assert without_clock(outcome) == without_clock(go(config, data, None))
    assert done == epochs
    assert len(notices) == (then is not None)
    if then is not None:
        assert notices[0].endswith(f"run run {then}")
        assert all(
            f"{twice / name} is damaged: its checksum does not match its content" in notices[0] for name in files
        )
    assert checkpointing.load(twice, "run") is not None


def test_the_damaged_checkpoint_does_not_replace_the_previous_one(twice: Path) -> None:
    """After the fallback, the next save keeps an intact checkpoint as the previous one."""
    path = twice / checkpointing.FILE
    path.write_bytes(path.read_bytes()[:-100])
    config = run_config(model=AIM, training__epochs=3)
    with pytest.raises(Interrupted):
        go(config, data_set(), twice, interrupt_after(2))
    path.unlink()
    found = checkpointing.load(twice, "run", pytest.fail)
    assert found is not None
    assert len(found.epochs) == 1


def test_a_checkpoint_without_a_checksum_is_read(twice: Path) -> None:
    """Earlier versions did not write a checksum, but can read files that have one."""
    path = twice / checkpointing.FILE
    torch.save(torch.load(path, weights_only=True), path)
    found = checkpointing.load(twice, "run", pytest.fail)
    assert found is not None
    assert len(found.epochs) == 2


def test_a_run_with_a_damaged_checkpoint_is_not_abandoned_with_fewer_epochs(twice: Path) -> None:
    path = twice / checkpointing.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"is damaged: .*; run the study again"):
        outcome_so_far(run_config(model=AIM, training__epochs=3), data_set(), twice, "run", "given up")


def refused(folder: Path, message: str, config: RunConfig | None = None, run_id: str = "run") -> None:
    with pytest.raises(StoreError, match=message) as caught:
        go(config or run_config(), data_set(), folder, run_id=run_id)
    assert "delete it" in str(caught.value)
    assert str(folder / checkpointing.FILE) in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"rubbish" * 50])
def test_a_file_that_is_not_a_checkpoint_is_set_aside(saved: Path, damage: Any) -> None:
    path = saved / checkpointing.FILE
    path.write_bytes(damage(path.read_bytes()))
    assert without_clock(go(run_config(), data_set(), saved)) == without_clock(go(run_config(), data_set(), None))
    assert (saved / checkpointing.DAMAGED_FILE).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_is_refused_without_waiting(saved: Path, make: Any) -> None:
    path = saved / checkpointing.FILE
    path.unlink()
    make(path)
    with pytest.raises(StoreError, match=r"checkpoint.pt: is not a file; remove it"):
        checkpointing.load(saved, "run")


def test_a_folder_with_the_name_of_a_temporary_file_is_not_removed(saved: Path) -> None:
    (saved / f".{checkpointing.FILE}.123").mkdir()
    assert without_clock(go(run_config(), data_set(), saved)) == without_clock(go(run_config(), data_set(), None))


def test_a_checkpoint_from_a_different_run_or_in_an_unknown_format_is_refused(saved: Path) -> None:
    refused(saved, "not a checkpoint of run other", run_id="other")
    state = torch.load(saved / checkpointing.FILE, weights_only=True)
    torch.save({**state, "format": 99}, saved / checkpointing.FILE)
    refused(saved, "known format")
    torch.save([1, 2], saved / checkpointing.FILE)
    refused(saved, "known format")


def test_the_previous_checkpoint_is_used_if_the_last_one_belongs_to_a_different_run(twice: Path) -> None:
    path, notices = twice / checkpointing.FILE, []
    torch.save({**torch.load(path, weights_only=True), "run_id": "other"}, path)
    found = checkpointing.load(twice, "run", notices.append)
    assert found is not None
    assert len(found.epochs) == 1
    assert notices == [f"{path} is damaged: it is the checkpoint of a different run"]
    (twice / checkpointing.PREVIOUS_FILE).unlink()
    with pytest.raises(StoreError, match="not a checkpoint of run run"):
        checkpointing.load(twice, "run", notices.append)


def test_a_checkpoint_with_missing_parts_is_refused(saved: Path) -> None:
    state = torch.load(saved / checkpointing.FILE, weights_only=True)
    del state["optimizer"]
    torch.save(state, saved / checkpointing.FILE)
    refused(saved, "known format")


def test_a_checkpoint_of_a_different_network_is_refused(saved: Path) -> None:
    other = {"backbone": {"name": "small_resnet", "widths": [4, 5], "blocks": [1, 1]}}
    refused(saved, "does not fit", run_config(model=other))
    refused(saved, "does not fit", run_config(model={"backbone": "mlp"}))


class Hostile:
    """Creates a file when a careless reader unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_hostile_checkpoint_executes_nothing(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "pwned"
    torch.save({"format": 1, "run_id": "run", "epochs": Hostile(target)}, saved / checkpointing.FILE)
    go(run_config(), data_set(), saved)
    assert not target.exists()
    torch.load(saved / checkpointing.DAMAGED_FILE, weights_only=False)  # the file is really hostile
    assert target.exists()


def test_saving_replaces_the_file_in_one_step(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (saved / checkpointing.FILE).read_bytes()
    found = checkpointing.load(saved, "run")
    assert found is not None

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        checkpointing.save(found, saved)
    assert (saved / checkpointing.FILE).read_bytes() == before


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """Limit every file to `free` bytes, so that writing fails halfway, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_save_that_fails_halfway_leaves_only_the_old_checkpoint(saved: Path, share: float) -> None:
    before = (saved / checkpointing.FILE).read_bytes()
    found = checkpointing.load(saved, "run")
    assert found is not None
    with full_disk(int(share * len(before))), pytest.raises(OSError, match="File too large"):
        checkpointing.save(found, saved)
    assert (saved / checkpointing.FILE).read_bytes() == before
    assert [path.name for path in saved.iterdir()] == [checkpointing.FILE]
    with pytest.raises(Paused):  # the run continues from it once there is space again
        train(run_config(), data_set(), run_id="run", checkpoint_directory=saved, pause=lambda: True)
    assert (saved / checkpointing.FILE).read_bytes() != before


@pytest.mark.parametrize("when", ["load", "save"])
def test_temporary_files_of_killed_writers_are_removed(saved: Path, when: str) -> None:
    found = checkpointing.load(saved, "run")
    assert found is not None
    remains = saved / f".{checkpointing.FILE}.4242"
    remains.write_bytes(b"half of a checkp")
    if when == "load":
        checkpointing.load(saved, "run")
    else:
        checkpointing.save(found, saved)
    assert not remains.exists()


def test_a_writer_killed_while_writing_leaves_the_old_checkpoint(saved: Path) -> None:
    """A process is killed halfway through its save. The next attempt resumes and removes the temporary file."""
    before = (saved / checkpointing.FILE).read_bytes()
    writer = (
        "import os, signal, sys, pathlib, torch\n"
        "from aimlib.training import checkpointing\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "found = checkpointing.load(folder, 'run')\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpointing.save(found, folder)\n"
    )
    ended = subprocess.run([sys.executable, "-c", writer, str(saved)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(saved.iterdir())) == 2
    assert (saved / checkpointing.FILE).read_bytes() == before
    assert without_clock(go(run_config(), data_set(), saved)) == without_clock(go(run_config(), data_set(), None))
    assert {path.name for path in saved.iterdir()} == {checkpointing.FILE, checkpointing.PREVIOUS_FILE}
