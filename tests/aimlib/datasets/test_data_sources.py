"""If the data root is an archive or in object storage, the data is copied once, checked, and used from the cache."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aimlib import object_store
from aimlib.datasets import archives, sources
from aimlib.errors import DataError, StoreError
from aimlib.paths import ObjectPath, place
from aimlib.registry import datasets

PHOTOS = ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png")
KINDS = ("tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip")


@pytest.fixture
def tree(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    top = tmp_path / "tree"
    for seed, path in enumerate(PHOTOS):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(photo(seed))
    return top


@pytest.fixture(autouse=True)
def nothing_compared() -> Iterator[None]:
    sources._compared.clear()
    yield
    sources._compared.clear()


def plugin(root: object, **options: Any) -> Any:
    return datasets.create(
        datasets.parse({"name": "image_folder", "classes": 2, "size": 8, "root": str(root), **options})
    )


def packed(tree: Path, archive: Path, inside: str = "") -> Path:
    """Return an archive with the tree below the folder `inside`."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    names = [f"{inside}{path.relative_to(tree).as_posix()}" for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as content:
            for path, name in zip(files, names, strict=True):
                content.write(path, name)
        return archive
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(archive.name.rpartition(".")[2], "w")
    with tarfile.open(archive, mode) as tar:
        for path, name in zip(files, names, strict=True):
            tar.add(path, name)
    return archive


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", ["", "my photos/"])
def test_an_archive_is_read_like_a_folder_with_its_content(tree: Path, tmp_path: Path, kind: str, inside: str) -> None:
    wanted = plugin(tree).load().fingerprint
    archive = packed(tree, tmp_path / f"photos.{kind}", inside)
    assert plugin(archive).load().fingerprint == wanted
    archive.rename(tmp_path / f"moved.{kind}")
    assert plugin(tmp_path / f"moved.{kind}").load().fingerprint == wanted


def test_an_archive_is_unpacked_once_and_again_after_a_change(
    tree: Path, tmp_path: Path, photo: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tree, tmp_path / "photos.zip")
    first = plugin(archive).load()
    folder = archives.unpacked(archive)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "file_digest", lambda path: pytest.fail("an untouched archive is not read again"))
        assert archives.unpacked(archive) == folder
    os.utime(archive, ns=(1, 1))
    assert archives.unpacked(archive) == folder, "the same content with a different time"
    (tree / "train" / "cat" / "new.png").write_bytes(photo(50))
    packed(tree, archive)
    assert archives.unpacked(archive) != folder
    assert plugin(archive).load().fingerprint != first.fingerprint


def zipped(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data, kind in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            content.writestr(info, data)
    return path


HOSTILE_ZIPS: dict[str, list[tuple[str, bytes, int]]] = {
    "parent": [("../evil", b"x", 0)],
    "parent inside": [("a/../../evil", b"x", 0)],
    "absolute": [("/tmp/evil", b"x", 0)],
    "backslash": [("..\\evil", b"x", 0)],
    "symlink": [("evil", b"/etc/passwd", stat.S_IFLNK | 0o777)],
    "pipe": [("evil", b"", stat.S_IFIFO)],
    "twice but for case": [("a.jpg", b"x", 0), ("A.JPG", b"y", 0)],
    "file then below it": [("a", b"x", 0), ("a/b", b"y", 0)],
    "folder then file": [("a/b", b"x", 0), ("a", b"y", 0)],
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_hostile_zip_files_are_refused_and_leave_no_files_behind(tmp_path: Path, case: str) -> None:
    path = zipped(tmp_path / "hostile.zip", *HOSTILE_ZIPS[case])
    with pytest.raises(DataError, match=r"hostile\.zip"):
        archives.unpacked(path)
    left = [entry.name for entry in (tmp_path / "cache" / "unpacked").iterdir() if not entry.name.endswith(".lock")]
    assert left == []
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil").exists()


def test_a_hostile_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("../evil")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DataError, match=r"hostile\.tar\.gz: '\.\./evil' leads out"):
        archives.unpacked(path)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_are_refused(tree: Path, tmp_path: Path, kind: str) -> None:
    whole = packed(tree, tmp_path / f"whole.{kind}").read_bytes()
    for number, content in enumerate((b"", b"garbage" * 100, whole[: len(whole) // 3])):
        path = tmp_path / f"damaged{number}.{kind}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"damaged{number}.*fetch it again"):
            archives.unpacked(path)


def test_an_archive_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "bomb.zip", ("zeros", bytes(3_000_000), 0))
    monkeypatch.setattr(archives, "_SPARE_BYTES", shutil.disk_usage(tmp_path).free - 2_000_000)
    with pytest.raises(DataError, match=r"bomb\.zip: unpacks to more than the disk has room for"):
        archives.unpacked(path)
    encrypted = bytearray(zipped(tmp_path / "secret.zip", ("a", b"x", 0)).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + offset] |= 1
    (tmp_path / "secret.zip").write_bytes(encrypted)
    with pytest.raises(DataError, match="'a' is encrypted; unpack the archive yourself"):
        archives.unpacked(tmp_path / "secret.zip")


def test_files_that_macos_adds_are_ignored(tree: Path, tmp_path: Path) -> None:
    path = packed(tree, tmp_path / "mac.zip", "photos/")
    with zipfile.ZipFile(path, "a") as content:
        content.writestr("__MACOSX/photos/._a.png", b"attributes")
    assert plugin(path).load().fingerprint == plugin(tree).load().fingerprint


def upload(tree: Path, url: str) -> ObjectPath:
    top = place(url)
    assert isinstance(top, ObjectPath)
    for path in tree.rglob("*"):
        if path.is_file():
            object_store.put(top / path.relative_to(tree).as_posix(), path.read_bytes())
    return top


def test_a_folder_in_object_storage_is_read_like_a_local_folder(
    any_remote: str, tree: Path, photo: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    top = upload(tree, any_remote)
    local = plugin(tree).load()
    data = plugin(any_remote).load()
    assert data.fingerprint == local.fingerprint

    with monkeypatch.context() as patch:  # as in a worker, which knows the fingerprint
        patch.setattr(object_store, "listing", lambda address: pytest.fail("the storage is not queried"))
        sources._compared.clear()
        assert plugin(any_remote).load_known(data.fingerprint).fingerprint == data.fingerprint

    asked: list[str] = []
    get = object_store.get
    monkeypatch.setattr(object_store, "get", lambda address: asked.append(address.key) or get(address))
    sources._compared.clear()
    assert plugin(any_remote).load().fingerprint == data.fingerprint
    assert asked == [], "nothing has changed, so nothing is fetched again"

    object_store.put(top / "train/cat/new.png", photo(60))
    object_store.delete(top / "test/dog/d.png")
    object_store.put(top / "test/dog/e.png", photo(61))
    sources._compared.clear()
    changed = plugin(any_remote).load()
    assert changed.train.names == ("train/cat/a.png", "train/cat/new.png", "train/dog/b.png")
    assert changed.test.names == ("test/cat/c.png", "test/dog/e.png")
    assert len(asked) == 2


def test_an_archive_in_object_storage_is_read_like_a_local_folder(remote: str, tree: Path, tmp_path: Path) -> None:
    archive = packed(tree, tmp_path / "photos.tar.gz")
    upload_to = place(remote)
    assert isinstance(upload_to, ObjectPath)
    object_store.put(upload_to / "photos.tar.gz", archive.read_bytes())
    assert plugin(f"{remote}/photos.tar.gz").load().fingerprint == plugin(tree).load().fingerprint


def test_an_interrupted_copy_continues(remote: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(tree, remote)
    get, asked = object_store.get, []

    def breaks(address: Any) -> Any:
        if len(asked) == 2:
            raise StoreError(f"{address}: the connection was lost")
        asked.append(address.key)
        return get(address)

    monkeypatch.setattr(sources, "_THREADS", 1)
    monkeypatch.setattr(sources, "_BETWEEN_STATES", 1)
    monkeypatch.setattr(object_store, "get", breaks)
    with pytest.raises(StoreError, match="connection was lost"):
        plugin(remote).load()
    monkeypatch.setattr(object_store, "get", lambda address: asked.append(address.key) or get(address))
    assert plugin(remote).load().fingerprint == plugin(tree).load().fingerprint
    assert len(asked) == len(set(asked)) == 4, "fetched objects are not fetched again"


def test_missing_paths_and_bad_urls_are_refused(remote: str) -> None:
    with pytest.raises(DataError, match=r"nothing found there; set data\.root to the URL"):
        plugin(remote).load()
    with pytest.raises(
        DataError,
        match=r"ftp://server/photos: data\.root must be a folder or an archive on this "
        r"machine",
    ):
        plugin("ftp://server/photos").load()
    with pytest.raises(StoreError, match="but not at a swift:// URL"):
        plugin("swift://server/photos").load()
