"""Weight files are found, hashed and read, or refused."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from aimlib.errors import DataError, UsageError
from aimlib.weights import WeightsConfig, files, reading

NAME = "ResNet18_Weights.IMAGENET1K_V1"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    torch.save(network().state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(tmp_path / "data"))


def test_a_plan_includes_the_hash_of_the_file(state: Path) -> None:
    found = files.resolved(WeightsConfig.parse(str(state)), "")
    assert found.sha256 == hashlib.sha256(state.read_bytes()).hexdigest()


def test_the_identity_depends_on_the_content_and_not_on_the_path(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.bin"
    copy.write_bytes(state.read_bytes())
    one, other = (files.resolved(WeightsConfig.parse(str(path)), "").identity() for path in (state, copy))
    assert one == other
    torch.save({name: value + 1 for name, value in network().state_dict().items()}, copy)
    assert files.resolved(WeightsConfig.parse(str(copy)), "").identity() != one


def test_a_run_id_requires_the_hash_of_the_weights(state: Path) -> None:
    with pytest.raises(UsageError, match=r"needs the hash"):
        WeightsConfig.parse(str(state)).identity()


def test_a_file_whose_hash_differs_from_the_stated_hash_is_refused(state: Path) -> None:
    planned = files.resolved(WeightsConfig.parse(str(state)), "")
    torch.save({}, state)
    with pytest.raises(DataError, match=r"net.pt: has sha256 .* the configuration states .*; copy the same file"):
        reading.read(planned)


def test_a_weight_file_can_be_in_the_data_folder(state: Path, tmp_path: Path) -> None:
    planned = files.resolved(WeightsConfig.parse(str(state)), "")
    (tmp_path / "data" / "weights").mkdir(parents=True)
    state.rename(tmp_path / "data" / "weights" / "net.pt")
    assert files.find(planned) == tmp_path / "data" / "weights" / "net.pt"


def test_the_message_about_a_missing_file_lists_the_places_that_were_searched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.pt: no such file; looked for .*gone.pt and .*data/weights/gone.pt"):
        files.find(WeightsConfig.parse(str(tmp_path / "gone.pt")))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_both_file_formats_give_the_same_tensors(tmp_path: Path, suffix: str) -> None:
    path, wanted = tmp_path / f"net.{suffix}", network().state_dict()
    (torch.save if suffix == "pt" else safetensors.torch.save_file)(wanted, path)  # type: ignore[operator]
    found = reading.read(WeightsConfig.parse(str(path))).tensors
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_code_in_a_weight_file_is_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(network(), path)
    with pytest.raises(UsageError, match=r"could execute code and is therefore not loaded; write it with torch.save"):
        reading.read(WeightsConfig.parse(str(path)))


@pytest.mark.parametrize("content", [b"", b"abc", b"\x10\0\0\0\0\0\0\0{not json       ", b"PK\x03\x04 broken"])
def test_a_file_that_does_not_contain_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken.pt: (is neither|cannot be read)"):
        reading.read(WeightsConfig.parse(str(path)))


@pytest.mark.parametrize("kept", ["[]", '"x"', "null", "{}", '{"same": [1]}', '{"same": {"a": "b"}}', "[" * 100_000])
def test_a_kept_network_is_refused_if_its_description_was_changed(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "kept.safetensors"
    safetensors.torch.save_file(network().state_dict(), path, {reading.KEPT: kept})
    with pytest.raises(UsageError, match=r"kept.safetensors: (its record of the run|cannot be read)"):
        reading.read(WeightsConfig.parse(str(path)))


def test_a_state_dict_inside_a_checkpoint_requires_its_key(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    inner = {f"module.{name}": value for name, value in network().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": inner}, path)
    with pytest.raises(
        UsageError, match=r"2 entries are not tensors \(epoch, state_dict\); set model.weights.key, e.g"
    ):
        reading.read(WeightsConfig.parse(str(path)))
    with pytest.raises(UsageError, match=r"has no 'state'.*known: epoch, state_dict"):
        reading.read(WeightsConfig.parse({"source": str(path), "key": "state"}))
    with pytest.raises(UsageError, match=r"none of its names begins with 'net.'"):
        reading.read(WeightsConfig.parse({"source": str(path), "key": "state_dict", "prefix": "net."}))
    found = reading.read(WeightsConfig.parse({"source": str(path), "key": "state_dict", "prefix": "module."}))
    assert set(found.tensors) == set(network().state_dict())


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "net.pt", network().state_dict()
    state["0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, path)
    with pytest.raises(UsageError, match=r"0.weight contains values that are not finite"):
        reading.read(WeightsConfig.parse(str(path)))


# Weights from torchvision


def test_default_is_replaced_by_the_exact_name_that_torchvision_recommends(tmp_path: Path) -> None:
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.save(network().state_dict(), cached)
    found = files.resolved(WeightsConfig.parse("DEFAULT"), "resnet18")
    assert (found.source, files.find(found)) == (NAME, cached)
    assert found.identity() == files.resolved(WeightsConfig.parse(NAME), "whatever").identity()


def test_the_cache_is_where_torchvision_looks_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(files.cache_of_torchvision()) == f"{torch.hub.get_dir()}/checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    assert str(files.cache_of_torchvision()) == f"{torch.hub.get_dir()}/checkpoints"


def test_the_message_about_weights_that_are_not_cached_shows_the_command_that_fetches_them() -> None:
    with pytest.raises(DataError, match=rf"looked for .*resnet18-f37072fd.pth .*run `ablate data weights {NAME}`"):
        files.resolved(WeightsConfig.parse(NAME), "resnet18")


def test_for_an_unknown_name_the_nearest_name_is_suggested() -> None:
    with pytest.raises(
        UsageError, match=r"torchvision has no weights with this name; did you mean 'ResNet18_Weights.IMAGENET"
    ):
        files.resolved(WeightsConfig.parse("ResNet18_Weights.IMAGENET1K_V7"), "resnet18")
    with pytest.raises(UsageError, match=r"'small_resnet' is not a torchvision network"):
        files.resolved(WeightsConfig.parse("DEFAULT"), "small_resnet")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def test_only_the_right_weights_are_fetched_and_they_are_fetched_in_advance(
    mirror: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = mirror
    content = b"weights"
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(files, "url", lambda _source: f"https://download.invalid/models/{name}")
    (folder / name).write_bytes(b"others")
    with pytest.raises(DataError, match=r"cannot be fetched: invalid hash"):
        files.download(NAME, address)
    (folder / name).write_bytes(content)
    found = files.download(NAME, address)
    assert found == files.cache_of_torchvision() / name
    assert found.read_bytes() == content
    (folder / name).unlink()
    assert files.download(NAME, address) == found  # the existing file is returned


def test_fetching_requires_a_torchvision_name(mirror: tuple[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"is not an exact torchvision name"):
        files.download("DEFAULT")
    with pytest.raises(DataError, match=r"resnet18-f37072fd.pth: cannot be fetched: HTTP Error 404"):
        files.download(NAME, mirror[0])
