"""Batches do not depend on where the images are kept, and image statistics are computed only once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, data_set, run_config, without_clock

import aimlib.training.run
from aimlib.datasets.base import DataSet, Images
from aimlib.training import loaders, standardization
from aimlib.training.inputs import Scaling, load_batch
from aimlib.training.inputs import standardization as computed
from aimlib.training.loaders import (
    HostLoader,
    Loader,
    PrefetchingLoader,
    ResidentLoader,
    place_of_data,
    resident_bytes,
)
from aimlib.training.loop import train
from aimlib.training.pixel_format import FINE, WHOLE, format_of, to_floats

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LOADERS = [HostLoader, ResidentLoader, PrefetchingLoader]


@pytest.mark.parametrize("kind", LOADERS)
def test_every_loader_returns_the_same_batch(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_PART_BYTES", 300)  # this makes the loader copy the images in several parts
    images = data_set(channels=3).train
    loader, chosen = kind(images, CPU), [np.array(part) for part in ([3, 1, 30], [7, 7], [0], [35, 2, 9])]
    for number, indices in enumerate(chosen):
        following = chosen[number + 1] if number < 2 else None
        x_BCHW, labels = loader.batch(indices, following)
        expected = load_batch(images, indices, CPU)
        assert torch.equal(x_BCHW, expected[0])
        assert torch.equal(labels, expected[1])
        assert (x_BCHW.dtype, x_BCHW.stride()) == (torch.uint8, expected[0].stride())


def test_the_next_batch_is_prefetched_and_no_other_batch_is_mistaken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, gathered = data_set().train, []

    def gather(images: Images, indices: Any, device: torch.device) -> Any:
        gathered.append(indices.tolist())
        return load_batch(images, indices, device)

    monkeypatch.setattr(loaders, "load_batch", gather)
    loader = PrefetchingLoader(images, CPU)
    first, second, other = np.array([1, 2]), np.array([3, 4]), np.array([5])
    loader.batch(first, second)
    assert torch.equal(loader.batch(second, first)[1], torch.from_numpy(images.labels[second]))
    assert torch.equal(loader.batch(other)[1], torch.from_numpy(images.labels[other]))
    loader._thread.shutdown()
    assert gathered == [[1, 2], [3, 4], [1, 2], [5]]


class _Copied:
    """A tensor on a GPU that records the streams that use it."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def record_stream(self, stream: str) -> None:
        self.log.append(f"used on {stream}")


class _Streams:
    """A simulation of CUDA streams that logs every call."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.current = log, threading.local()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        log, current = self.log, self.current

        class Stream:
            def __init__(self, device: Any, priority: int = 0) -> None:
                log.append(f"a stream of priority {priority}")

            def record_event(self) -> str:
                log.append("copied")
                return "event"

        class Main:
            def wait_event(self, event: str) -> None:
                log.append(f"main waits for {event}")

            def __str__(self) -> str:
                return "main"

        @contextmanager
        def stream(entered: Any) -> Iterator[None]:
            current.stream = entered
            yield
            del current.stream

        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "stream", stream)
        patch.setattr(torch.cuda, "device", lambda _: nullcontext())
        patch.setattr(torch.cuda, "current_stream", lambda _: Main())


def test_copies_run_on_their_own_stream_and_training_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    streams = _Streams(log)
    streams.install(monkeypatch)

    def copy(images: Images, indices: Any, device: torch.device) -> Any:
        assert hasattr(streams.current, "stream"), "not on the compute stream"
        log.append(f"copy {indices.tolist()}")
        return _Copied(log), _Copied(log)

    monkeypatch.setattr(loaders, "load_batch", copy)
    loader = PrefetchingLoader(data_set().train, GPU)
    loader.batch(np.array([1]), np.array([2]))
    loader._thread.submit(lambda: None).result()
    used = ["main waits for event", "used on main", "used on main"]
    assert log[:3] == ["a stream of priority -1", "copy [1]", "copied"]
    assert sorted(log[3:]) == sorted([*used, "copy [2]", "copied"]), "the next batch is being copied"
    loader.batch(np.array([2]))
    assert log[8:] == used, "the batch had already been copied"


def test_an_error_during_prefetching_is_raised_when_the_batch_is_requested() -> None:
    loader = PrefetchingLoader(data_set().train, CPU)
    loader.batch(np.array([0]), np.array([99]))
    with pytest.raises(IndexError):
        loader.batch(np.array([99]))


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("augmentation", [None, {"rotation": 0.1, "horizontal_flip": 0.5, "contrast": 0.2}])
def test_a_run_is_bitwise_identical_wherever_its_images_are_kept(
    kind: type[Any], augmentation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(model=AIM, training__augmentation=augmentation, training__batch_size=5)
    whole = without_clock(train(config, data_set()))
    made: list[Loader] = []

    def loader(images: Images, device: torch.device, place: str) -> Loader:
        made.append(kind(images, device))
        return made[-1]

    monkeypatch.setattr(aimlib.training.run, "loader", loader)
    assert without_clock(train(config, data_set())) == whole
    assert {type(used) for used in made} == {kind}


def test_on_the_cpu_images_stay_where_they_are(tmp_path: Path) -> None:
    """All processes share a memory map, so its pages are not copied for each process."""
    for place in ("device", "host"):
        assert isinstance(loaders.loader(data_set().train, CPU, place), HostLoader)  # type: ignore[arg-type]
    run = train(run_config(training__data_on="device"), data_set())
    assert without_clock(run) == {**without_clock(train(run_config(), data_set())), "data_on": "device"}


@pytest.mark.parametrize(
    ("share", "free", "place"),
    [
        (None, 40_000, "device"),
        (0.5, 40_000, "host"),
        (0.6, 40_000, "device"),
        (None, 7_000, "host"),
    ],
    ids=["a whole GPU", "half of a GPU", "more than half of a GPU", "another process has the rest"],
)
def test_images_are_on_the_device_if_they_need_at_most_a_quarter_of_its_memory(
    share: float | None, free: int, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data = run_config(), data_set()
    assert resident_bytes(config, data) == (36 + 18) * (64 + 8) == 3888
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 30_000))
    assert place_of_data(config, data, GPU, share) == place
    assert place_of_data(config, data, CPU, share) == "host"
    for stated in ("device", "host"):
        assert place_of_data(run_config(training__data_on=stated), data, GPU, share) == stated
    assert resident_bytes(run_config(training__data_on="host"), data) == 0


def test_images_that_do_not_fit_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def loader(images: Images, device: torch.device, place: str) -> Loader:
        if place == "device":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return HostLoader(images, device)

    monkeypatch.setattr(aimlib.training.run, "loader", loader)
    monkeypatch.setattr(aimlib.training.run, "place_of_data", lambda *_: "device")
    assert train(run_config(), data_set()).data_on == "host"
    with pytest.raises(torch.OutOfMemoryError):
        train(run_config(training__data_on="device"), data_set())


# Pixels in steps smaller than 1


def test_pixels_may_have_steps_of_a_256th() -> None:
    whole = data_set(channels=3).train
    fine = Images(whole.pixels.astype(np.uint16) * 256, whole.labels, whole.names)  # type: ignore[arg-type]
    assert (format_of(whole.pixels), format_of(fine.pixels)) == (WHOLE, FINE)
    indices = np.array([3, 8, 20])
    scaling = computed(whole.pixels, np.arange(36))
    of_fine = computed(fine.pixels, np.arange(36))
    torch.testing.assert_close(of_fine.mean, scaling.mean)
    torch.testing.assert_close(of_fine.sd, scaling.sd)
    for kind in LOADERS:
        ours, theirs = (kind(images, CPU).batch(indices)[0] for images in (fine, whole))
        assert ours.dtype == torch.uint16
        assert torch.equal(to_floats(ours), to_floats(theirs))
        assert torch.equal(scaling(ours), scaling(theirs))
    half = to_floats(torch.tensor([128], dtype=torch.uint16))
    assert half.item() == 0.5
    with pytest.raises(TypeError, match="stored pixels are uint8, or uint16"):
        format_of(np.zeros(1, dtype=np.float32))


# Statistics for the training images


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(standardization, "_known", {})
    monkeypatch.setattr(standardization, "_LEAST_BYTES", 0)
    return tmp_path / "standardization"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that grows by one whenever statistics are computed."""
    calls: list[Any] = []
    monkeypatch.setattr(standardization, "standardization", lambda *given: (calls.append(given), computed(*given))[1])
    return calls


def bits(scaling: Scaling) -> tuple[list[int], list[int]]:
    return tuple(part.flatten().view(torch.int32).tolist() for part in (scaling.mean, scaling.sd))  # type: ignore[return-value]


def test_statistics_are_computed_once_for_all_runs_with_the_same_seed(cache: Path, counted: list[Any]) -> None:
    data, indices = data_set(channels=3), np.arange(30)
    expected = bits(computed(data.train.pixels, indices))
    assert bits(standardization.standardization_of(data, indices)) == expected
    standardization._known.clear()  # another process
    found = standardization.standardization_of(data, indices)
    assert bits(found) == expected
    assert found.mean.shape == found.sd.shape == (1, 3, 1, 1)
    assert not found.identity
    assert len(counted) == 1
    standardization.standardization_of(data, np.arange(29))
    standardization.standardization_of(data_set(channels=3, seed=5), indices)
    assert len(counted) == 3, "other images, or a different set of images"
    train(run_config(), data_set())
    train(run_config(model=AIM), data_set())
    assert len(counted) == 4, "both arms with the same seed"
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [1.0, 2.0, 3.0]},
        {"mean": [1.0]},
        {"key": "another"},
        {"format": 99},
        {"digest": ""},
        {"mean": "text"},
    ],
    ids=str,
)
def test_damaged_statistics_are_computed_again(change: dict[str, Any], cache: Path, counted: list[Any]) -> None:
    data, indices = data_set(channels=3), np.arange(30)
    expected = bits(standardization.standardization_of(data, indices))
    (file,) = cache.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    standardization._known.clear()
    assert bits(standardization.standardization_of(data, indices)) == expected
    file.write_bytes(b"\xff{")
    standardization._known.clear()
    assert bits(standardization.standardization_of(data, indices)) == expected
    assert len(counted) == 3
    standardization._known.clear()
    assert bits(standardization.standardization_of(data, indices)) == expected
    assert len(counted) == 3, "the file was repaired"


def test_statistics_of_few_pixels_are_not_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardization, "_LEAST_BYTES", 2**26)
    standardization.standardization_of(data_set(), np.arange(30))
    assert not cache.exists()


def test_a_process_keeps_a_limited_number_of_statistics(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardization, "_KEPT", 2)
    data: DataSet = data_set()
    for count in (10, 11, 12):
        standardization.standardization_of(data, np.arange(count))
    assert len(standardization._known) == 2
