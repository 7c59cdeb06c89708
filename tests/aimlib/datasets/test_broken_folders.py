"""For many kinds of damage to a folder of photos, a message says what to do."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_folders import picture, two_classes, write
from PIL import Image
from typer.testing import CliRunner

from ablations.commands import data as data_cli
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.verification import near
from aimlib.datasets.verify import Finding, verify
from aimlib.errors import DataError
from aimlib.registry import datasets

SIZE = 16


def plugin(root: Path, **options: Any) -> PhotoPlugin:
    settings = {"name": "image_folder", "root": str(root), "classes": 2, "size": SIZE, **options}
    made = datasets.create(datasets.parse(settings))
    assert isinstance(made, PhotoPlugin)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "photos")


def train(root: Path, name: str) -> Path:
    return root / "train" / "cat" / name


def placeholders(root: Path) -> None:
    for number in range(430):
        split = "test" if number % 5 == 0 else "train"
        write(root / split / ("cat", "dog")[number % 2] / f"gone{number}.png", picture(999))


def copies_within(root: Path) -> None:
    write(train(root, "copy.png"), picture(0))


def copy_across_splits(root: Path) -> None:
    write(train(root, "copy.png"), picture(6))


def copy_across_classes(root: Path) -> None:
    write(train(root, "copy.png"), picture(3))


def empty(root: Path) -> None:
    write(train(root, "empty.jpg"), b"")


def truncated(root: Path) -> None:
    write(train(root, "cut.jpg"), picture(50, "JPEG", height=200, width=200)[:-900])


def a_page_instead_of_a_photo(root: Path) -> None:
    write(train(root, "error.jpg"), b"<html>404 not found</html>")


def misnamed(root: Path) -> None:
    write(train(root, "really_png.jpg"), picture(51))


def odd_mode(root: Path) -> None:
    write(train(root, "print.jpg"), picture(52, "JPEG", mode="CMYK"))


def tiny(root: Path) -> None:
    write(train(root, "icon.png"), picture(53, height=3, width=3))


def blank(root: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 10, 10)).save(content, "PNG")
    write(train(root, "red.png"), content.getvalue())


def imbalanced(root: Path) -> None:
    for number in range(60):
        write(train(root, f"more{number}.png"), picture(100 + number))


def not_utf8(root: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(root / "train" / "cat") + b"/caf\xe9.png")), picture(54))


def two_spellings(root: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        write(root / "train" / name / "a.png", picture(55))
        write(root / "test" / name / "b.png", picture(56))


def case_twins(root: Path) -> None:
    write(root / "train" / "Cat" / "a.png", picture(57))
    write(root / "test" / "Cat" / "b.png", picture(58))


def a_link_to_nowhere(root: Path) -> None:
    train(root, "gone.png").symlink_to(root / "nowhere.png")


def a_link_to_a_folder_in_a_class(root: Path) -> None:
    (root / "elsewhere").mkdir()
    write(root / "elsewhere" / "x.png", picture(59))
    train(root, "more").symlink_to(root / "elsewhere")


def a_class_that_contains_itself(root: Path) -> None:
    (root / "train" / "loop").symlink_to(root / "train")


def photos_beside_classes(root: Path) -> None:
    write(root / "train" / "loose.png", picture(60))


def another_suffix(root: Path) -> None:
    write(train(root, "phone.heic"), b"whatever")


def strays(root: Path) -> None:
    write(train(root, "Thumbs.db"), b"x")
    write(train(root, ".DS_Store"), b"x")


def a_pipe(root: Path) -> None:
    os.mkfifo(train(root, "pipe.png"))


def an_empty_class(root: Path) -> None:
    (root / "train" / "emu").mkdir()


def no_test_folder(root: Path) -> None:
    (root / "test").rename(root / "held_out")


def no_folder_of_a_class(root: Path) -> None:
    for name in ("cat", "dog"):
        (root / "train" / name).rename(root / name)


def a_file_as_root(root: Path) -> None:
    root.rename(root.parent / "before")
    root.write_text("photos")


@dataclass(frozen=True)
class Case:
    """A kind of damage, and the expected finding: its kind, whether it is an error, and words in its message."""

    broken: Callable[[Path], None]
    kind: str
    is_error: bool
    words: tuple[str, ...]


CASES = [
    Case(placeholders, "duplicate", True, ("430 copies of one photo", "across splits", "exclude all")),
    Case(copies_within, "duplicate", False, ("2 copies", "within one split", "keep one", "copy.png")),
    Case(copy_across_splits, "duplicate", True, ("across splits: 1 test, 1 train", "copy.png", "keep one")),
    Case(copy_across_classes, "duplicate", True, ("across classes", "no label is certain")),
    Case(empty, "empty", True, ("no bytes", "fetch", "--fix", "empty.jpg")),
    Case(truncated, "undecodable", True, ("truncated", "fetch", "cut.jpg")),
    Case(a_page_instead_of_a_photo, "undecodable", True, ("a web page instead of the photo", "fetch", "error.jpg")),
    Case(misnamed, "misnamed", False, (".jpg", "PNG data", "rename", "really_png.jpg")),
    Case(odd_mode, "mode", False, ("CMYK", "convert", "print.jpg")),
    Case(tiny, "tiny", False, ("icon.png", "data.size")),
    Case(blank, "blank", False, ("one color", "red.png")),
    Case(imbalanced, "imbalance", False, ("63 photos (cat)", "3 (dog)", "21.0 times")),
    Case(not_utf8, "name", True, ("not UTF-8", "convmv")),
    Case(two_spellings, "name", True, ("2 classes have the same name", "convmv")),
    Case(case_twins, "name", True, ("differ only in case", "move the photos")),
    Case(a_link_to_nowhere, "link", True, ("leads nowhere", "remove the link")),
    Case(a_link_to_a_folder_in_a_class, "link", True, ("is a link to a folder", "copy the photos")),
    Case(a_class_that_contains_itself, "link", True, ("which contains it", "remove the link")),
    Case(photos_beside_classes, "misplaced", True, ("loose.png", "move them to train/<class>/")),
    Case(another_suffix, "stray", True, (".heic", "convert or rename")),
    Case(strays, "stray", False, ("Thumbs.db", "not used")),
    Case(a_pipe, "misplaced", True, ("named pipe", "remove it")),
    Case(an_empty_class, "count", True, ("emu", "no photos at all", "remove")),
    Case(no_test_folder, "unusable", True, ("test is missing", "data.train and data.test")),
    Case(no_folder_of_a_class, "unusable", True, ("has no subfolders", "/<class>/")),
    Case(a_file_as_root, "unusable", True, ("is a file", "must be a folder")),
]


def test_an_intact_folder_has_no_findings(root: Path) -> None:
    assert verify(plugin(root)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.broken.__name__)
def test_a_broken_folder_gets_a_message_with_a_remedy(case: Case, root: Path) -> None:
    case.broken(root)
    found = [finding for finding in verify(plugin(root)) if finding.kind == case.kind]
    messages = "\n".join(finding.message for finding in found)
    assert len(found) == (2 if case.broken in (strays, an_empty_class) else 1), messages
    assert all(words in messages for words in case.words), messages
    assert {finding.is_error for finding in found} == {case.is_error}
    result = CliRunner().invoke(
        data_cli.app, ["verify", "image_folder", "--root", str(root), "--set", "classes=2", "--set", f"size={SIZE}"]
    )
    assert result.exit_code == int(any(finding.is_error for finding in verify(plugin(root)))), result.output
    assert f"{case.kind}: " in result.output
    result.output.encode()


def fixed(root: Path, tmp_path: Path, **options: Any) -> tuple[list[Finding], Path]:
    listed = tmp_path / "excluded.csv"
    settings = {"classes": 2, "size": SIZE}
    return data_cli.verify("image_folder", str(root), settings, fix=listed, **options), listed


def test_fix_lists_the_photos_that_the_rules_exclude(root: Path, tmp_path: Path) -> None:
    for broken in (copies_within, empty, truncated):
        broken(root)
    write(train(root, "of_test.png"), picture(6))
    write(root / "train" / "dog" / "both.png", picture(70))
    write(train(root, "both.png"), picture(70))
    findings, listed = fixed(root, tmp_path)
    assert not [finding for finding in findings if finding.kind == "exclusion"]
    rows = dict(line.split(",", 1) for line in listed.read_text(encoding="utf-8").splitlines()[2:])
    assert {path: reason.partition(":")[0].strip('"') for path, reason in rows.items()} == {
        "train/cat/both.png": "duplicate",
        "train/cat/copy.png": "duplicate",
        "train/cat/cut.jpg": "undecodable",
        "train/cat/empty.jpg": "empty",
        "train/cat/of_test.png": "duplicate",
        "train/dog/both.png": "duplicate",
    }
    with pytest.raises(DataError, match="verify image_folder --fix FILE"):
        plugin(root).load()
    data = plugin(root, exclude=str(listed)).load()
    assert (len(data.train.labels), len(data.test.labels)) == (6, 6)
    assert [finding for finding in verify(plugin(root, exclude=str(listed))) if finding.is_error] == []


def test_an_existing_list_is_never_overwritten(root: Path, tmp_path: Path) -> None:
    empty(root)
    _, listed = fixed(root, tmp_path)
    before = listed.read_bytes()
    with pytest.raises(ValueError, match=r"exists already|already exists"):
        fixed(root, tmp_path)
    assert listed.read_bytes() == before


def test_no_list_is_written_if_no_photo_is_excluded(root: Path, tmp_path: Path) -> None:
    findings, listed = fixed(root, tmp_path)
    assert (findings, listed.exists()) == ([], False)


def test_a_new_list_includes_the_old_one(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text("path,reason\ntrain/dog/0.png,blurred\n")
    empty(root)
    new = tmp_path / "new.csv"
    data_cli.verify("image_folder", str(root), {"classes": 2, "size": SIZE, "exclude": str(old)}, fix=new)
    assert len(plugin(root, exclude=str(new)).load().train.labels) == 5


def test_a_list_that_empties_a_class_is_reported(root: Path, tmp_path: Path) -> None:
    for number in range(3):
        write(train(root, f"{number}.png"), b"")
    findings, listed = fixed(root, tmp_path)
    assert findings[0].kind == "exclusion"
    assert "excludes all train photos of cat" in findings[0].message
    assert listed.exists()


def test_a_sheet_shows_the_findings(root: Path, tmp_path: Path) -> None:
    copies_within(root)
    write(train(root, "<b>.png"), b"")
    page = tmp_path / "sheet.html"
    data_cli.verify("image_folder", str(root), {"classes": 2, "size": SIZE}, sheet=page)
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 2
    assert "&lt;b&gt;.png" in text
    assert "<b>.png" not in text


def test_similar_photos_are_found(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    rng = np.random.default_rng(5)
    scene = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (120, 120), Image.Resampling.BICUBIC
    )
    scene.save(root / "test" / "cat" / "scene.png")
    scene.resize((90, 90)).save(train(root, "smaller.jpg"), quality=70)
    scene.save(train(root, "again.png"), compress_level=1)
    assert not [finding for finding in verify(plugin(root)) if finding.kind == "near_duplicate"]
    findings, listed = fixed(root, tmp_path, near_duplicates=True)
    (near,) = [finding for finding in findings if finding.kind == "near_duplicate"]
    assert near.files == ("test/cat/scene.png", "train/cat/again.png", "train/cat/smaller.jpg")
    assert "1 identical copy among them" in near.message
    assert {"train/cat/again.png", "train/cat/smaller.jpg"} == {
        line.partition(",")[0] for line in listed.read_text().splitlines()[2:]
    }


def test_searching_for_near_duplicates_requires_a_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagehash", None)
    with pytest.raises(ValueError, match="pip install 'aim-ablations\\[near-duplicates\\]'"):
        verify(plugin(root), near_duplicates=True)


def test_links_to_classes_and_photos_are_followed(root: Path, tmp_path: Path) -> None:
    before = plugin(root).load()
    (root / "train" / "dog").rename(tmp_path / "dogs")
    (root / "train" / "dog").symlink_to(tmp_path / "dogs")
    (root / "test" / "cat" / "0.png").rename(tmp_path / "0.png")
    (root / "test" / "cat" / "0.png").symlink_to(tmp_path / "0.png")
    assert plugin(root).load().fingerprint == before.fingerprint
    assert verify(plugin(root)) == []


def test_unwritable_folders_are_reported(root: Path, tmp_path: Path) -> None:
    for place in (root, *root.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    assert verify(plugin(root)) == []
    assert len(plugin(root).load().train.labels) == 6
    for place in (root, *root.rglob("*")):
        if place.is_dir():
            place.chmod(0o755)


def test_names_with_spaces_and_special_characters_work(root: Path) -> None:
    for seed, name in enumerate(
        ("with  two spaces.png", " leading.png", "=formula.png", 'comma, "quote".png', "#a.png")
    ):
        write(train(root, name), picture(80 + seed))
    assert [finding for finding in verify(plugin(root)) if finding.is_error] == []
    assert len(plugin(root).load().train.labels) == 11


def test_names_are_unchanged_after_writing_and_reading_a_list(root: Path, tmp_path: Path) -> None:
    for name in (
        "with  two spaces.png",
        " leading.png",
        "=formula.png",
        'comma, "quote".png',
        "#a.png",
        "line\nbreak.png",
    ):
        write(train(root, name), b"")
    _, listed = fixed(root, tmp_path)
    assert len(plugin(root, exclude=str(listed)).load().train.labels) == 6


def test_groups_are_formed_from_all_pairs_of_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    centres = rng.integers(0, 2, (40, 256), dtype=np.uint8)
    members = np.repeat(np.arange(40), np.arange(1, 41))
    rng.shuffle(members)
    bits = centres[members] ^ (rng.random((len(members), 256)) < 0.05)
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    expected = {tuple(np.flatnonzero(members == number)) for number in range(1, 40)}
    assert set(map(tuple, near.groups(hashes))) == expected
    for name, value in (("_BLOCK", 8), ("_ACROSS", 16), ("_MOST_EDGES", 10)):
        monkeypatch.setattr(near, name, value)
    assert set(map(tuple, near.groups(hashes))) == expected
    assert list(near.groups(near.stacked([]))) == []


def test_fix_handles_a_table_with_missing_photos(root: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(root)},{path.parent.name},{path.parts[-3]}" for path in sorted(root.rglob("*.png"))]
    table, listed = tmp_path / "index.csv", tmp_path / "excluded.csv"
    table.write_text("\n".join(["path,label,split", *rows, "train/cat/lost.png,cat,train"]))
    settings = {"file": str(table), "classes": 2, "size": SIZE}
    (finding,) = data_cli.verify("image_index", str(root), settings, fix=listed)
    assert (finding.kind, finding.files) == ("missing", ("train/cat/lost.png",))
    assert data_cli.verify("image_index", str(root), {**settings, "exclude": str(listed)}) == []
    assert data_cli.prepare("image_index", str(root), None, {**settings, "exclude": str(listed)}).train == 6
