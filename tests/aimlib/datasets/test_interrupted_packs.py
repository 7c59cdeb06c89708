"""Packing continues after an interruption at any moment, and the final bytes are the same."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aimlib.datasets import decoding, pixel_files
from aimlib.datasets.packed import Pack, pack_folder
from aimlib.datasets.packing import unfinished_folder
from aimlib.errors import DataError

KILLED = """
import os, signal, sys
from aimlib.datasets import packing, pixel_files
from aimlib.registry import datasets
root, cache, size, moment, decoder = sys.argv[1:]
pixel_files.BLOCK_PHOTOS = 4

def end(*_args):
    os.kill(os.getpid(), signal.SIGKILL)

def progress(_what, done, _total):
    if str(done) == moment:
        end()

if moment == "renamed":
    packing._forget = end
elif hasattr(packing, moment):
    setattr(packing, moment, end)
options = {"name": "stanford_dogs", "root": root, "classes": 3, "size": int(size), "cache": cache, "decoder": decoder}
datasets.create(datasets.parse(options)).pack(progress)
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_files, "BLOCK_PHOTOS", 4)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the photos that are read for decoding."""
    read = decoding.read
    found: list[str] = []

    def counting(path: Path) -> bytes:
        found.append(path.name)
        return read(path)

    monkeypatch.setattr(decoding, "read", counting)
    return found


def killed(dogs: Any, cache: Path, moment: str | int, size: int = 8, decoder: str = "accurate") -> Path:
    """Kill a process while it packs photos; return the folder that it leaves behind."""
    command = [sys.executable, "-c", KILLED, str(dogs.root), str(cache), str(size), str(moment), decoder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return unfinished_folder(folder_of(dogs, cache, size, decoder))


def folder_of(dogs: Any, cache: Path, size: int = 8, decoder: str = "accurate") -> Path:
    plugin = dogs.plugin(size=size, decoder=decoder)
    return pack_folder(plugin.listing(), plugin.recipe(), str(cache))


def content(pack: Pack) -> dict[str, Any]:
    """Return all files in a store, without the build number."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in pack.folder.iterdir()}
    for name in ("manifest.json", "checksums.json"):
        found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "build"}
    return found


@pytest.fixture
def whole(dogs: Any, tmp_path: Path) -> dict[str, Any]:
    """Return the files of a store that was packed without an interruption."""
    return content(dogs.plugin(cache=str(tmp_path / "whole")).pack())


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        (1, 0),
        (4, 0),
        (5, 4),
        (9, 8),
        (12, 8),
        (13, 12),
        (18, 16),
        ("_write_index", 18),
        ("write_manifest", 18),
        ("_put_in_place", 18),
    ],
)
def test_a_killed_pack_continues_and_its_final_bytes_are_the_same(
    dogs: Any,
    tmp_path: Path,
    whole: dict[str, Any],
    decoded: list[str],
    caplog: pytest.LogCaptureFixture,
    moment: str | int,
    kept: int,
) -> None:
    unfinished = killed(dogs, tmp_path / "cache", moment)
    assert unfinished.is_dir()
    assert not folder_of(dogs, tmp_path / "cache").exists()
    decoded.clear()
    told: list[int] = []
    pack = dogs.plugin().pack(lambda _what, done, _total: told.append(done))
    assert content(pack) == whole
    assert len(decoded) == 18 - kept
    assert told[-1] == 18
    assert (f"{kept} of 18 photos were already packed" in caplog.text) == bool(kept)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        pack.folder.name,
        f"{pack.folder.name}.lock",
    ]


def test_a_pack_killed_just_after_completion_is_used(
    dogs: Any, tmp_path: Path, whole: dict[str, Any], decoded: list[str]
) -> None:
    killed(dogs, tmp_path / "cache", "renamed")
    decoded.clear()
    found = content(dogs.plugin().pack())
    assert {name: found[name] for name in whole} == whole
    assert decoded == []


def test_a_repeatedly_killed_pack_has_the_same_final_bytes(
    dogs: Any, tmp_path: Path, whole: dict[str, Any], decoded: list[str]
) -> None:
    for moment in (6, 10, 15, "write_checksums"):
        killed(dogs, tmp_path / "cache", moment)
    decoded.clear()
    assert content(dogs.plugin().pack()) == whole
    assert decoded == []


def test_the_fast_decoders_reasons_are_kept_after_an_interruption(
    dogs: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"decoder": "fast"}  # all photos in the tree are PNG, which Pillow decodes
    expected = dogs.plugin(cache=str(tmp_path / "whole"), **options).pack()
    assert len(expected.by_pillow()) == 18
    killed(dogs, tmp_path / "cache", 14, decoder="fast")
    assert content(dogs.plugin(**options).pack()) == content(expected)
    assert "12 of 18 photos were already packed" in caplog.text


def test_photos_that_were_broken_before_the_interruption_are_reported_after_it(dogs: Any, tmp_path: Path) -> None:
    broken = [dogs.splits["train"][1][0], dogs.splits["test"][5][0]]
    for path in broken:
        dogs.write(path, b"\xff\xd8\xff")
    killed(dogs, tmp_path / "cache", 14)
    with pytest.raises(DataError, match="2 of 18 photos") as error:
        dogs.plugin().pack()
    assert all(path in str(error.value) for path in broken)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"], "none of it can be used"


def test_a_photo_that_has_become_readable_is_packed(
    dogs: Any, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New permissions change neither the size nor the modification time of a photo, so the listing's stamp stays the
    same."""
    read, locked = decoding.read, dogs.root / "Images" / dogs.splits["train"][5][0]

    def refusing(path: Path) -> bytes:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return read(path)

    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read", refusing)
        with pytest.raises(KeyboardInterrupt):
            dogs.plugin().pack(interrupt)
    assert content(dogs.plugin().pack()) == whole


def test_photos_changed_after_the_interruption_are_packed_again(
    dogs: Any, tmp_path: Path, photo: Callable[..., bytes], decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    killed(dogs, tmp_path / "cache", 14)
    dogs.write(dogs.splits["train"][0][0], photo(999))
    decoded.clear()
    found = content(dogs.plugin().pack())
    assert len(decoded) == 18
    assert "starting again" in caplog.text
    assert found == content(dogs.plugin(cache=str(tmp_path / "whole")).pack())


def test_a_longer_list_is_packed_again(dogs: Any, tmp_path: Path, decoded: list[str]) -> None:
    killed(dogs, tmp_path / "cache", 14)
    dogs.splits["test"].append(dogs.splits["train"].pop())
    dogs.write_lists()
    decoded.clear()
    found = content(dogs.plugin().pack())
    assert len(decoded) == 18
    assert found == content(dogs.plugin(cache=str(tmp_path / "whole")).pack())


def test_a_different_recipe_does_not_continue_an_interrupted_pack(
    dogs: Any, tmp_path: Path, decoded: list[str]
) -> None:
    unfinished = killed(dogs, tmp_path / "cache", 14)
    decoded.clear()
    assert dogs.plugin(size=9).load().train.pixels.shape == (12, 9, 9, 3)
    assert len(decoded) == 18
    assert unfinished.is_dir(), "a study with that recipe continues it"


def test_a_different_version_of_the_decoder_starts_again(
    dogs: Any, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(dogs, tmp_path / "cache", 14)
    import PIL

    monkeypatch.setattr(PIL, "__version__", "99.0")
    decoded.clear()
    assert "Pillow 99.0" in dogs.plugin().pack().manifest.decoder
    assert len(decoded) == 18


def test_leftovers_of_earlier_versions_are_removed(dogs: Any, tmp_path: Path) -> None:
    folder = folder_of(dogs, tmp_path / "cache")
    leftover = folder.with_name(f"{folder.name}.building-0123abcd")
    leftover.mkdir(parents=True)
    (leftover / "train.pixels").write_bytes(bytes(100))
    dogs.plugin().pack()
    assert not leftover.exists()


def damage(path: Path, draw: random.Random) -> None:
    """Damage a file at a random place: flip a bit, truncate, zero, lengthen or remove it."""
    found = bytearray(path.read_bytes())
    at = draw.randrange(len(found))
    how = draw.choice(["flip", "cut", "zero", "lengthen", "drop", "remove"])
    if how == "flip":
        found[at] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del found[at:]
    elif how == "zero":
        found[at : at + 64] = bytes(len(found[at : at + 64]))
    elif how == "lengthen":
        found += draw.randbytes(draw.randrange(1, 1000))
    elif how == "drop":
        lines = bytes(found).splitlines(keepends=True)
        del lines[draw.randrange(len(lines))]
        found = bytearray(b"".join(lines))
    path.write_bytes(found)
    if how == "remove":
        path.unlink()


@pytest.mark.parametrize("tries", [20, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("name", ["journal", "train.pixels", "test.pixels"])
def test_damage_to_an_unfinished_pack_never_changes_the_result(
    dogs: Any, tmp_path: Path, whole: dict[str, Any], decoded: list[str], name: str, tries: int
) -> None:
    unfinished, copy = killed(dogs, tmp_path / "cache", 17), tmp_path / "copy"
    unfinished.rename(copy)
    draw, again = random.Random(f"{name} {tries}"), []
    for _ in range(tries):
        shutil.copytree(copy, unfinished)
        damage(unfinished / name, draw)
        decoded.clear()
        pack = dogs.plugin().pack()
        assert content(pack) == whole
        again.append(len(decoded))
        shutil.rmtree(pack.folder)
    assert min(again) >= 2, "two photos had not been packed"
    assert max(again) > 2, "damaged blocks are decoded again"
    assert name == "test.pixels" or max(again) > 6


def test_a_full_disk_is_reported_and_the_pack_continues_once_there_is_space(
    dogs: Any, tmp_path: Path, small_disk: Callable[[str], Path], decoded: list[str]
) -> None:
    cache = small_disk("3m")  # 18 photos of 160 px take 1.4 MB
    filler = cache / "filler"

    def fill(_what: str, done: int, _total: int) -> None:
        if done == 9:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    plugin = dogs.plugin(size=160, cache=str(cache))
    with pytest.raises(DataError, match=r"No space.*next attempt continues from it"):
        plugin.pack(fill)
    with pytest.raises(DataError, match="free some space"):
        plugin.pack()
    filler.unlink()
    decoded.clear()
    pack = plugin.pack()
    assert len(decoded) == 10
    assert content(pack) == content(dogs.plugin(size=160, cache=str(tmp_path / "whole")).pack())


@pytest.mark.parametrize("how", ["flip", "append"])
def test_a_file_that_another_machine_without_locks_overwrites_is_refused(dogs: Any, tmp_path: Path, how: str) -> None:
    def meddle(_what: str, done: int, _total: int) -> None:
        if done == 17:
            path = unfinished_folder(folder_of(dogs, tmp_path / "cache")) / "train.pixels"
            found = bytearray(path.read_bytes())
            found[100] ^= 1
            path.write_bytes(found if how == "flip" else path.read_bytes() + b"more")

    with pytest.raises(DataError, match=r"train.pixels was overwritten.*lock files across machines"):
        dogs.plugin().pack(meddle)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


WAITING = """
import sys, time
from aimlib.datasets import pack_locks, pixel_files
from aimlib.registry import datasets
root, delay = sys.argv[1], float(sys.argv[2])
pixel_files.BLOCK_PHOTOS, pack_locks.FIRST_NOTICE_S, pack_locks.NOTICE_INTERVAL_S = 4, 0.2, 0.5
plugin = datasets.create(datasets.parse({"name": "stanford_dogs", "root": root, "classes": 3, "size": 8}))
calls = []
def progress(what, done, total):
    calls.append(done)
    print("photo", done, flush=True)
    time.sleep(delay if done == 9 else 0)
print(plugin.pack(progress).manifest.fingerprint, calls[:1], flush=True)
"""


def waiting(dogs: Any, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WAITING, str(dogs.root), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_waiting_process_reports_the_holder_and_continues_when_the_holder_is_killed(
    dogs: Any, tmp_path: Path, whole: dict[str, Any]
) -> None:
    first = waiting(dogs, 600)
    assert first.stdout is not None
    while first.stdout.readline() != "photo 9\n":
        pass
    second = waiting(dogs, 0)
    assert second.stderr is not None
    notices = [second.stderr.readline() for _ in range(2)]
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=60)
    for notice in notices:
        assert f"waiting until it has been packed by process {first.pid} on {socket.gethostname()} since 2" in notice
    assert "8 of 18 photos were already packed" in err
    assert out.splitlines()[-1] == f"{whole['manifest.json']['fingerprint']} [4]"
    assert not list((tmp_path / "cache").glob("*.holder"))
