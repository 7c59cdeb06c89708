"""Every layout in docs/layouts.md trains for one epoch on real photos, using the study block that the page shows."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docs_check
import numpy as np
import pytest
import torchvision
from PIL import Image

import analysis
from ablations import run
from ablations.spec import yaml_documents
from analysis.findings.folds import sentence
from analysis.report.cautions import cautions

PAGE = "docs/layouts.md"
BLOCKS = {
    block.mark.removeprefix("save "): block.text for block in docs_check.blocks(PAGE) if block.mark.startswith("save ")
}
SMALL: dict[str, Any] = {
    "model": {"backbone": {"name": "small_resnet", "widths": [8, 16], "blocks": [1, 1]}},
    "training": {"epochs": 1, "batch_size": 16, "optimizer": "adam", "select_on": "validation"},
}
ARMS = {"baseline": {}, "aim": {"model": {"memory": {"name": "conv_ones", "channels": 4}, "placement": "every_layer"}}}
EACH = 20
"""Number of photos in each of the three classes."""


@pytest.fixture
def photos(stanford_dogs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Path]]:
    """Return photos of three breeds, by breed, and change to a separate folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    breeds = sorted((stanford_dogs_root / "Images").iterdir())[:3]
    return {breed.name: sorted(breed.iterdir())[:EACH] for breed in breeds}


def copied(photos: dict[str, list[Path]], place: Callable[[str, int], str]) -> None:
    for breed, paths in photos.items():
        for number, path in enumerate(paths):
            target = Path(place(breed, number)) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def part(number: int) -> str:
    return ("train", "train", "train", "val", "test")[number % 5]


def folders(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    copied(photos, lambda breed, _: f"photos/{breed}")


def by_split(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    copied(photos, lambda breed, number: f"photos_by_split/{part(number)}/{breed}")


def table(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    folders(photos, patch)
    rows = [
        (f"{breed}/{path.name}", breed, number) for breed, paths in photos.items() for number, path in enumerate(paths)
    ]
    index = "".join(f"{path},{breed},{part(number)}\n" for path, breed, number in rows)
    Path("index.csv").write_text(f"path,label,split\n{index}")
    groups = "".join(f"{path},{breed},{breed}-{number // 3}\n" for path, breed, number in rows)
    Path("groups.csv").write_text(f"path,label,group\n{groups}")


def archive(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    folders(photos, patch)
    with zipfile.ZipFile("photos.zip", "w") as content:
        for path in Path("photos").rglob("*.jpg"):
            content.write(path)
    shutil.rmtree("photos")


def imagenet(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    copied(
        photos,
        lambda breed, number: f"imagenet/{'val' if part(number) == 'test' else 'train'}/{breed.partition('-')[0]}",
    )


def cifar(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    """Write batches in the layout of both sets; torchvision gets their MD5 hashes, as no published file is used."""
    images = [Image.open(path).convert("RGB").resize((32, 32)) for paths in photos.values() for path in paths]
    values = np.stack([np.asarray(image).transpose(2, 0, 1).reshape(-1) for image in images] * 4)
    for kind, classes, key in (
        (torchvision.datasets.CIFAR10, 10, "labels"),
        (torchvision.datasets.CIFAR100, 100, "fine_labels"),
    ):
        folder = Path("torchvision") / kind.base_folder
        folder.mkdir(parents=True)
        labels = [number % classes for number in range(len(values))]
        content = pickle.dumps({"data": values, key: labels})
        names = pickle.dumps({kind.meta["key"]: [str(number) for number in range(classes)]})
        (folder / kind.meta["filename"]).write_bytes(names)
        patch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(names).hexdigest()})
        for lists in ("train_list", "test_list"):
            files = [file for file, _ in getattr(kind, lists)]
            for file in files:
                (folder / file).write_bytes(content)
            patch.setattr(kind, lists, [[file, hashlib.md5(content).hexdigest()] for file in files])


def left_out(photos: dict[str, list[Path]], patch: pytest.MonkeyPatch) -> None:
    """Create one folder per split, and a list with one photo to leave out."""
    by_split(photos, patch)
    found = sorted(path for path in Path("photos_by_split/train").rglob("*") if path.is_file())
    path = found[0].relative_to("photos_by_split").as_posix()
    Path("excluded.csv").write_text(f"path,reason\n{path},blurred: seen on the sheet\n", encoding="utf-8")


LAYOUTS: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "split_folders.yaml": (by_split, {"classes": 3, "size": 32}),
    "own_validation.yaml": (by_split, {"classes": 3, "size": 32}),
    "excluded.yaml": (left_out, {"classes": 3, "size": 32}),
    "folders.yaml": (folders, {"classes": 3, "size": 32}),
    "table.yaml": (table, {"classes": 3, "size": 32}),
    "groups.yaml": (table, {"classes": 3, "size": 32}),
    "folds.yaml": (folders, {"classes": 3, "size": 32}),
    "archive.yaml": (archive, {"classes": 3, "size": 32}),
    "imagenet.yaml": (imagenet, {"classes": 3, "size": 32}),
    "cifar10.yaml": (cifar, {}),
    "cifar100.yaml": (cifar, {}),
}


def test_every_layout_on_the_page_is_tried() -> None:
    assert set(BLOCKS) == set(LAYOUTS)


@pytest.mark.photos
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_can_be_trained_for_an_epoch(
    layout: str, photos: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, options = LAYOUTS[layout]
    make(photos, monkeypatch)
    document = yaml_documents.parse(BLOCKS[layout], layout)
    few = {"select_on": "last", "validation_fraction": 0.0}  # 2 training images for each of 100 classes
    training = {**SMALL["training"], **(few if layout == "cifar100.yaml" else {})}
    base = {**SMALL, "training": training, "data": {**document.pop("base")["data"], **options}}
    study = {"name": "layout", "base": base, "arms": ARMS, "seeds": 1, **document}
    session = run(study, tmp_path / "out", executor="inline")
    assert not session.failed
    assert not session.open
    runs = analysis.load(tmp_path / "out").runs
    assert (runs["status"] == "finished").all()
    assert (runs["epochs_run"] == 1).all()
    said = [caution.text for caution in cautions(analysis.examine(analysis.load(tmp_path / "out")))]
    assert any("tested on different folds" in text for text in said) == (layout == "folds.yaml")
    if layout == "own_validation.yaml":
        assert set(zip(runs["train_images"], runs["validation_images"], runs["test_images"], strict=True)) == {
            (36, 12, 12)
        }
    if layout == "excluded.yaml":
        assert (runs["train_images"] + runs["validation_images"]).unique().tolist() == [35]
    if layout == "folds.yaml":
        assert runs["data_fingerprint"].nunique() == 5


def test_folds_that_differ_are_reported() -> None:
    def arm(fold: int | None) -> dict[str, Any]:
        return {"data": {"split": None if fold is None else {"folds": 5, "fold": fold}}}

    assert sentence([{"model": {}}, arm(None)]) is None
    said = "Every arm is tested on fold 2 of 5 alone; results on the other folds may differ."
    assert sentence([arm(2), arm(2)]) == said
    said = sentence([arm(1), arm(0)])
    assert said is not None
    assert said.startswith(
        "Arms are tested on different folds (0 of 5 and 1 of 5). Folds are not independent repetitions"
    )
