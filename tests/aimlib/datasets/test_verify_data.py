from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimlib.datasets.base import DataSet
from aimlib.datasets.listing import PhotoListing, PhotoSplit
from aimlib.datasets.verify import Finding, verify
from aimlib.registry import datasets


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings if finding.is_error]


def test_intact_data_has_no_findings(dogs: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    (remark,) = verify(dogs.plugin(), lambda *call: seen.append(call))
    assert (remark.kind, len(remark.files), remark.is_error) == ("misnamed", 18, False)
    assert seen[-1] == ("verifying", 18, 18)
    assert verify(datasets.create(datasets.parse("digits"))) == []


def test_every_kind_of_fault_is_found_and_reported(dogs: Any, photo: Any) -> None:
    train, test = dogs.splits["train"], dogs.splits["test"]
    missing, empty, broken, twin = train[0][0], train[1][0], test[0][0], test[1][0]
    (dogs.root / "Images" / missing).unlink()
    dogs.write(empty, b"")
    dogs.write(broken, photo(1, kind="JPEG")[:200])
    dogs.write(twin, (dogs.root / "Images" / train[2][0]).read_bytes())
    dogs.write("n00000001-Breed_1/extra.jpg", photo(2))
    test.append(train[3])
    train.append(train[5])
    dogs.write_lists()
    findings = {finding.kind: finding for finding in verify(dogs.plugin(classes=4)) if finding.is_error}
    assert {kind: finding.file for kind, finding in findings.items()} == {
        "count": str(dogs.root / "Images"),
        "listed_twice": train[5][0],
        "both_lists": train[3][0],
        "missing": missing,
        "unlisted": "n00000001-Breed_1/extra.jpg",
        "empty": empty,
        "undecodable": broken,
        "duplicate": twin,
    }
    assert train[2][0] in findings["duplicate"].message
    assert "3 classes, but data.classes is 4" in findings["count"].message


def test_duplicates_are_found_by_pixels_and_not_by_bytes(dogs: Any) -> None:
    source = (dogs.root / "Images" / dogs.splits["train"][0][0]).read_bytes()
    dogs.write(dogs.splits["test"][0][0], source + b"trailing bytes that no decoder reads")
    assert kinds(verify(dogs.plugin())) == ["duplicate"]


def test_unusable_lists_are_reported(dogs: Any, tmp_path: Path) -> None:
    (dogs.root / "lists" / "test_list.mat").write_bytes(b"")
    (finding,) = verify(dogs.plugin())
    assert finding.kind == "unusable"
    assert "test_list.mat" in finding.message
    assert kinds(verify(dogs.plugin(root=str(tmp_path / "nowhere")))) == ["unusable"]


def test_a_damaged_pack_is_reported(dogs: Any) -> None:
    folder = dogs.plugin().pack().folder
    (folder / "train.pixels").write_bytes(b"\0" * (folder / "train.pixels").stat().st_size)
    finding = verify(dogs.plugin())[0]
    assert finding.kind == "pack"
    assert "train.pixels" in finding.message


def listing_of(train: np.ndarray, test: np.ndarray) -> PhotoListing:
    classes = tuple(f"n{label:08d}-Breed" for label in range(120))
    splits = {
        name: PhotoSplit(tuple(f"{name}{number:05d}" for number in range(len(labels))), labels)
        for name, labels in (("train", train), ("test", test))
    }
    return PhotoListing("stanford_dogs", "lists", Path(), (".",), classes, splits)


def test_the_full_set_is_compared_with_the_published_numbers() -> None:
    plugin = datasets.create(datasets.parse("stanford_dogs"))
    train, test = np.repeat(np.arange(120), 100), np.arange(8580) % 120
    assert plugin.count_problems(listing_of(train, test)) == []
    problems = plugin.count_problems(listing_of(train[1:], test[:-3]))
    assert problems == [
        "n00000000-Breed: 99 training photos listed instead of 100",
        "11,999 training photos listed instead of 12,000",
        "8,577 test photos listed instead of 8,580",
    ]


def test_a_wrong_fingerprint_of_loaded_data_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = datasets.create(datasets.parse({"name": "digits", "train_images": 20}))
    data = plugin.load()
    monkeypatch.setattr(plugin, "load", lambda: DataSet(data.train, data.test, data.classes, "0" * 20))
    assert kinds(verify(plugin)) == ["unusable"]


@pytest.mark.photos
def test_verify_finds_no_problems_in_real_photos(stanford_dogs_root: Path) -> None:
    options = {"name": "stanford_dogs", "root": str(stanford_dogs_root), "classes": 20}
    assert verify(datasets.create(datasets.parse(options))) == []
