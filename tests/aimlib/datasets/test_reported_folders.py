"""Data as users describe it in bug reports: nothing hangs, no error is silent, and messages say what was found.

Pipes represent files that block readers; a test that opened a pipe would never end.
"""

from __future__ import annotations

import io
import logging
import os
import re
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from photo_folders import picture, two_classes, write
from PIL import Image

from aimlib.datasets import decoding, dogs_lists, packing
from aimlib.datasets.archives import unpacked
from aimlib.datasets.exclusions import read_exclusions
from aimlib.datasets.pack_plan import plan_pack
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.tasks import refuse_other_task_of_folder
from aimlib.datasets.verify import verify
from aimlib.errors import DataError
from aimlib.registry import datasets


def plugin(root: Path | str, name: str = "image_folder", **options: Any) -> PhotoPlugin:
    made = datasets.create(
        datasets.parse({"name": name, "root": str(root), "classes": 2, "size": 16, **options}),
    )
    assert isinstance(made, PhotoPlugin)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "photos")


def rows(root: Path) -> list[tuple[str, str, str]]:
    paths = sorted(root.rglob("*.png"))
    return [(path.relative_to(root).as_posix(), path.parent.name, path.parts[-3]) for path in paths]


def table(root: Path, *more: str, head: str = "path,label,split") -> Path:
    lines = [head, *(",".join(row) for row in rows(root)), *more]
    return write(root / "index.csv", "\n".join(lines).encode())


def messages(found: PhotoPlugin) -> str:
    return "\n".join(f"{each.severity} {each.kind} {each.file}: {each.message}" for each in verify(found))


# --- content of files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n", "`git lfs pull`"),
        (b"/annex/objects/SHA256E-s31390--f50d.jpg\n", "`git annex get`"),
        (b"../../elsewhere/a.jpg", "a path instead of the photo"),
        (b"\n<!DOCTYPE html><html>quota</html>", "a web page instead of the photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'{"error": 403}', "JSON instead of the photo"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC or AVIF file, or a video"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"anything", "format cannot be identified"),
    ],
)
def test_a_file_that_is_not_a_photo_is_described(content: bytes, says: str) -> None:
    with pytest.raises(decoding.DecodeError) as error:
        decoding.decode(content)
    assert says in str(error.value)
    assert ";" in str(error.value), "what to do"


def test_a_jpeg_file_that_ends_with_zeros_is_an_error_although_it_can_be_decoded(root: Path) -> None:
    whole = picture(50, "JPEG", 200, 200)
    half = whole[: len(whole) // 2]
    write(root / "train/cat/half.jpg", half + bytes(len(whole) - len(half)))
    assert decoding.decode((root / "train/cat/half.jpg").read_bytes()).size == (200, 200)
    (finding,) = [each for each in verify(plugin(root)) if each.kind == "damaged"]
    assert (finding.is_error, finding.excluded) == (True, ("train/cat/half.jpg",))
    assert "the missing part is gray" in finding.message


def test_other_damage_to_a_jpeg_file_is_only_a_remark(root: Path) -> None:
    content = bytearray(picture(50, "JPEG", 200, 200))
    middle = len(content) // 2
    content[middle : middle + 40] = b"\x55" * 40
    write(root / "train/cat/hurt.jpg", bytes(content))
    (finding,) = [each for each in verify(plugin(root)) if each.kind == "damaged"]
    assert (finding.is_error, finding.excluded) == (False, ())
    assert "look at them" in finding.message


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_intact_jpeg_files_are_not_reported_as_damaged(kind: str, root: Path) -> None:
    further = {"save_all": True, "append_images": [Image.new("RGB", (20, 20))]} if kind == "MPO" else {}
    write(root / "train/cat/whole.jpg", picture(50, kind, **further) + b"trailing")
    assert [each for each in verify(plugin(root)) if each.kind == "damaged"] == []


def test_the_orientation_of_a_tiff_file_is_applied_and_reported(root: Path) -> None:
    turned = Image.Exif()
    turned[0x112] = 6
    content = picture(50, "TIFF", 20, 40, exif=turned)
    write(root / "train/cat/turned.tif", content)
    assert decoding.decode(content).size == (20, 40)
    assert "remark rotated train/cat/turned.tif: 1 photo rotated or mirrored by a TIFF" in messages(plugin(root))


def test_32_bit_integers_are_reported(root: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(np.arange(400, dtype=np.int32).reshape(20, 20)).save(content, "TIFF")
    write(root / "train/cat/wide.tif", content.getvalue())
    assert "values below 256 become black" in messages(plugin(root))


def test_a_photo_too_narrow_for_center_crop_is_refused_before_it_fills_the_ram(root: Path) -> None:
    write(root / "train/cat/long.png", picture(1, height=1, width=60_000))
    cropped = plugin(root, resize="center_crop", size=1024)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"60,000 x 1 pixels would become 61,440,000 x 1,024 .*resize: squash"):
        cropped.load()
    assert time.monotonic() - began < 10
    assert "error undecodable train/cat/long.png" in messages(cropped)
    assert len(plugin(root).load().train.labels) == 7


# --- unreadable files, and things that are not files
# ---------------------------------------------------------------------------


def test_reading_does_not_wait_for_a_pipe_among_json_files(root: Path) -> None:
    os.mkfifo(root / "train" / "notes.json")
    refuse_other_task_of_folder(root / "train", ["cat", "dog"])
    assert len(plugin(root).load().train.labels) == 6


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_table_that_lists_something_other_than_a_file_is_refused_without_waiting(kind: str, root: Path) -> None:
    table(root, "thing.png,cat,train")
    if kind == "pipe":
        os.mkfifo(root / "thing.png")
    elif kind == "device":
        (root / "thing.png").symlink_to("/dev/zero")
    else:
        (root / "thing.png").mkdir()
    listed = plugin(root, "image_index")
    with pytest.raises(DataError, match=r"thing\.png \(it is a .*remove it, or correct the list"):
        listed.load()
    assert plan_pack(listed).undecodable
    assert "thing.png" in messages(listed)


def test_reading_does_not_wait_for_a_pipe_in_place_of_a_stanford_dogs_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train_list.mat")
    with pytest.raises(DataError, match="not a readable list"):
        dogs_lists.read_list(tmp_path / "train_list.mat")


def test_a_folder_that_can_be_listed_but_not_entered_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def refused(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("cat/0.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    listing = plugin(root).listing()
    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(DataError, match=r"train/cat/0\.png below .* cannot be accessed: Permission denied; allow"):
        listing.stamp()


def test_a_disk_that_fails_while_photos_are_being_read_is_not_reported_as_full(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, most: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(decoding, "read_file", failing)
    with pytest.raises(DataError, match=r"photos/train/cat/0\.png: cannot be read: Input/output error; check the disk"):
        plugin(root).load()


def test_folders_hundreds_deep_are_refused(root: Path) -> None:
    place = root / "train" / "cat"
    for _ in range(220):
        place /= "d"
    place.mkdir(parents=True)
    with pytest.raises(DataError, match="is nested in more than 200 folders"):
        plugin(root).load()


# --- which folders are classes -------------------------------------------------------------------------------------


def split_by(root: Path, places: Callable[[str, str], str]) -> None:
    for number, (split, name) in enumerate((split, name) for split in ("train", "test") for name in ("cat", "dog")):
        for index in range(4):
            write(root / places(split, name) / f"{index}.png", picture(10 * number + index))


def test_split_folders_are_not_read_as_classes(tmp_path: Path) -> None:
    split_by(tmp_path, lambda split, name: f"{split}ing_set/{name}" if split == "train" else f"test_set/{name}")
    with pytest.raises(DataError, match=r"set data\.train: training_set and data\.test: test_set"):
        plugin(tmp_path, split={"test_fraction": 0.2}).load()
    assert len(plugin(tmp_path, train="training_set", test="test_set").load().train.labels) == 8


def test_classes_whose_names_contain_split_names_are_accepted(tmp_path: Path) -> None:
    for name in ("steam_train", "test_tube"):
        for number in range(4):
            write(tmp_path / "set" / name / f"{number}.png", picture(len(name) * 10 + number))
    assert plugin(tmp_path / "set", split={"test_fraction": 0.3}).load().classes == ("steam_train", "test_tube")


def test_every_command_reports_splits_inside_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split_by(tmp_path / "set", lambda split, name: f"{name}/{split}")
    found = plugin(tmp_path / "set", split={"test_fraction": 0.2})
    with caplog.at_level(logging.WARNING):
        found.load()
    assert "these are names of splits" in caplog.text
    assert "error misplaced" in messages(found)


def test_folders_inside_classes_are_only_a_remark(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "train/cat/siam/a.png", picture(90))
    found = plugin(root)
    assert "remark stray train/cat/siam: 1 subfolder name" in messages(found)
    assert caplog.text == ""


def test_every_command_reports_photos_that_are_not_used(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "train/cat/phone.heic", b"x")
    write(root / "train/loose.png", picture(90))
    with caplog.at_level(logging.WARNING):
        plugin(root).load()
    assert "phone.heic: 1 image named .heic" in caplog.text
    assert "loose.png: 1 photo not in a class folder" in caplog.text


def test_a_split_that_is_a_link_to_another_split_is_refused(root: Path) -> None:
    for path in sorted((root / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "test").rmdir()
    (root / "test").symlink_to("train")
    with pytest.raises(DataError, match="test/cat: is the same folder as train/cat, because of a link"):
        plugin(root).load()


def test_folders_created_by_operating_systems_are_not_classes(root: Path) -> None:
    write(root / "train" / "__MACOSX" / "._0.png", b"x")
    (root / "test" / "@eaDir").mkdir()
    assert plugin(root).load().classes == ("cat", "dog")


def test_a_single_class_is_refused_without_advice_to_set_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "cat" / "0.png", picture(len(split)))
    with pytest.raises(DataError, match=r"1 class found in .* \(cat\), but there must be at least two"):
        plugin(tmp_path).load()


def test_the_message_contains_the_intended_folder(root: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"set data.root: {root}")):
        plugin(root.parent).load()


@pytest.mark.parametrize("given", ["$DATA/photos", "'{root}'", "{root} "])
def test_a_root_with_a_variable_or_quotes_is_explained(given: str, root: Path) -> None:
    with pytest.raises(DataError, match="is used literally"):
        plugin(given.format(root=root)).load()


@pytest.mark.parametrize("given", ["https://example.org/photos.zip", "file:///data/photos", "hf://datasets/x/y"])
def test_a_url_that_is_not_a_bucket_is_refused_as_data(given: str) -> None:
    with pytest.raises(
        DataError,
        match=r"data\.root must be a folder or an archive on this machine, or start with "
        r"s3://",
    ):
        plugin(given).load()


def test_a_cache_among_the_photos_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"set data\.cache or AIM_CACHE_DIR to a folder elsewhere"):
        plugin(root, cache=str(root / "train")).load()
    assert len(plugin(root, cache=str(root / "packs")).load().train.labels) == 6


def test_photos_replaced_with_the_same_size_and_time_are_found(root: Path) -> None:
    write(root / "train/cat/0.bmp", picture(70, "BMP"))
    found = plugin(root)
    before = found.load().fingerprint
    assert [each for each in verify(found) if each.kind == "pack"] == []
    file = root / "train/cat/0.bmp"
    state = file.stat()
    file.write_bytes(picture(71, "BMP"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert found.load().fingerprint == before, "which is why verify must report it"
    (finding,) = [each for each in verify(found) if each.kind == "pack"]
    assert finding.is_error
    assert "has changed since they were packed" in finding.message


# --- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "a Git LFS pointer instead of the table"),
        (b"<!DOCTYPE html>\n<html>Sign in</html>", "a web page instead of a table"),
        (b'{"path": "a.png"}\n', "JSON instead of a table"),
        (b"train/cat/0.png,cat,train\n", "the first line describes a photo"),
        (b"path,label,split\nhttps://x.org/a.png,cat,train\n", "line 2: .* fetch the photos"),
        (b"path,label,split\n" + b"\n" * 1200 + b"a\0.png,cat,train\n", "line 1202: .* is not a path"),
    ],
)
def test_a_file_that_is_not_a_table_is_described(content: bytes, says: str, root: Path) -> None:
    write(root / "index.csv", content)
    with pytest.raises(DataError, match=says):
        plugin(root, "image_index").load()


def test_a_name_longer_than_the_disk_allows_is_reported(root: Path) -> None:
    table(root, f"{'a' * 300}.png,cat,train")
    listed = plugin(root, "image_index")
    with pytest.raises(DataError, match=r"\(line 14\) below .* cannot be accessed: File name too long"):
        listed.load()
    assert "error missing aaa" in messages(listed)


def test_a_photo_in_a_different_unicode_form_is_reported(root: Path) -> None:
    write(root / "train/cat/caf\u00e9.png", picture(80))
    table(root, "train/cat/cafe\u0301.png,cat,train")
    with pytest.raises(DataError, match="a file exists whose name has a different Unicode form"):
        plugin(root, "image_index").load()


def test_one_label_in_two_unicode_forms_is_refused(root: Path) -> None:
    text = table(root).read_text(encoding="utf-8").replace(",cat,", ",caf\u00e9,")
    (root / "index.csv").write_text(text.replace("caf\u00e9", "cafe\u0301", 1), encoding="utf-8")
    listed = plugin(root, "image_index", classes=3)
    with pytest.raises(DataError, match="2 classes have the same name in different code points"):
        listed.load()
    assert "error name" in messages(listed)


def test_labels_that_differ_only_in_case_are_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = table(root).read_text(encoding="utf-8").splitlines()
    upper = [line.replace(",cat,", ",Cat,") if "0.png" in line else line for line in lines]
    (root / "index.csv").write_text("\n".join(upper), encoding="utf-8")
    listed = plugin(root, "image_index", classes=3)
    with caplog.at_level(logging.WARNING):
        listed.load()
    assert "2 classes differ only in case or spaces: 'Cat', 'cat'" in caplog.text
    assert "error name Cat" in messages(listed)


def test_bytes_and_photos_in_a_parquet_table_are_refused(root: Path) -> None:
    paths, labels, splits = zip(*rows(root), strict=True)
    columns: dict[str, list[Any]] = {"path": list(paths), "label": list(labels), "split": list(splits)}
    coded = {**columns, "label": [label.encode() for label in columns["label"]]}
    pq.write_table(pa.table(coded), root / "index.parquet")
    with pytest.raises(DataError, match="row 1: label is bytes instead of text"):
        plugin(root, "image_index", file="index.parquet").load()
    inside = {**columns, "path": [{"bytes": b"x", "path": path} for path in columns["path"]]}
    pq.write_table(pa.table(inside), root / "index.parquet")
    with pytest.raises(DataError, match="row 1: path contains the photo itself; write the photos as files"):
        plugin(root, "image_index", file="index.parquet").load()


def test_a_list_of_excluded_photos_with_semicolons_is_explained(tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", b"path;reason\na.png;blurred\n")
    with pytest.raises(DataError, match="separated by ';'; use commas"):
        read_exclusions(str(file))


# --- archives ------------------------------------------------------------------------------------------------------


def zipped(file: Path, *members: str) -> Path:
    with zipfile.ZipFile(file, "w") as content:
        for name in members:
            content.writestr(name, picture(1))
    return file


def tarred(file: Path, mode: str, kind: bytes = tarfile.REGTYPE, name: str = "link.png") -> Path:
    with tarfile.open(file, mode) as content:  # type: ignore[call-overload]
        for number in range(2):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = 3
            content.addfile(member, io.BytesIO(b"abc"))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "0.png"
        content.addfile(member)
    return file


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda top: zipped(top / "a.zip", "cat/1.png", "cat/1.PNG"), "differ only in case"),
        (
            lambda top: zipped(top / "a.zip", "/data/1.png"),
            "leads out of the folder; fetch it again, or, if it is your own",
        ),
        (lambda top: tarred(top / "a.tar", "w", tarfile.LNKTYPE), r"\(a link\); .*--hard-dereference"),
        (lambda top: tarred(top / "a.tar", "w", tarfile.SYMTYPE), r"\(a link\); .*--hard-dereference"),
        (lambda top: tarred(top / "a.tar", "w", name="0.png"), "'0.png' is in the archive twice, perhaps"),
        (lambda top: tarred(top / "a.tar", "w:gz"), r"it has the content of a \.tar\.gz file; rename it"),
        (lambda top: tarred(top / "a.zip", "w"), r"it has the content of a \.tar file; rename it"),
        (lambda top: zipped(top / "a.tar.gz", "1.png"), r"it has the content of a \.zip file; rename it"),
        (lambda top: write(top / "a.zip", b""), "is empty; fetch it again"),
        (lambda top: write(top / "a.zip", b"<html>quota</html>"), "a web page"),
        (lambda top: write(top / "a.zip", b"version https://git-lfs.github.com/spec/v1"), "`git lfs pull`"),
        (lambda top: write(top / "a.zip", b"Rar!\x1a\x07"), "an unsupported kind: unpack it yourself"),
    ],
)
def test_every_kind_of_unusable_archive_is_reported_with_its_own_remedy(
    made: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        unpacked(made(tmp_path))


def test_names_in_a_zip_file_that_are_not_utf8_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = zipped(tmp_path / "a.zip", "XXXX/1.png", "dog/1.png")
    file.write_bytes(file.read_bytes().replace(b"XXXX", b"caf\xe9"))
    with caplog.at_level(logging.WARNING):
        unpacked(file)
    assert "1 name not marked as UTF-8, read as CP437: caf\u0398/1.png" in caplog.text


def test_an_archive_without_read_permission_is_not_reported_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zipped(tmp_path / "a.zip", "1.png")
    real = Path.open

    def refused(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == file:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match="cannot be read: Permission denied; allow reading"):
        unpacked(file)


def test_unexpected_photos_in_a_flat_validation_folder_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wnids = ("n01440764", "n01443537")
    for wnid in wnids:
        write(tmp_path / "train" / wnid / "0.JPEG", picture(1, "JPEG"))
    write(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG", picture(2, "JPEG"))
    write(tmp_path / "val" / wnids[0] / "1.JPEG", picture(3, "JPEG"))
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="is flat, and neither"):
        plugin(tmp_path, "imagenet").load()
    assert f"not used: {wnids[0]}" in caplog.text


def test_hashing_the_content_does_not_wait_for_pipes(root: Path) -> None:
    listing = plugin(root).listing()
    (root / listing.paths()[0]).unlink()
    os.mkfifo(root / listing.paths()[0])
    with pytest.raises(decoding.DecodeError, match="a pipe or a device"):
        packing.content_digest(listing)
