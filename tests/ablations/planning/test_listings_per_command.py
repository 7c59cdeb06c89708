"""A tree of photos is listed once per command, and workers do not list it if the pack is on their machine."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tiny_study import changed

import ablations
from aimlib.registry import datasets


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with two classes, each with 16 training photos and 4 test photos."""
    root = tmp_path / "photos"
    draw = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for label in range(2):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (10, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def listings(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the class folders that are listed, and the photos that are examined."""
    found: list[str] = []

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and photos in (place := Path(os.fspath(path))).parents:
                found.append(f"{call.__name__} {place.relative_to(photos)}")
            return call(path, *arguments, **options)

        return counted_call

    with monkeypatch.context() as patch:
        for name in ("scandir", "stat"):
            patch.setattr(os, name, counting(getattr(os, name)))
        yield found


def study(photos: Path, **changes: Any) -> dict[str, Any]:
    data = {"name": "image_folder", "root": str(photos), "classes": 2, "size": 8}
    return changed({"base.data": data, **changes})


CLASSES = [f"scandir {split}/class_{label}" for split in ("train", "test") for label in range(2)]


def listed(listings: list[str]) -> list[str]:
    return [call for call in listings if call in CLASSES]


@pytest.mark.parametrize(
    "arms", [{}, {"arms.larger": {"data": {"size": 12}}, "arms.cropped": {"data": {"resize": "center_crop"}}}]
)
def test_check_and_run_list_a_tree_once_for_any_number_of_sizes(
    photos: Path, listings: list[str], arms: dict[str, Any]
) -> None:
    ablations.check(study(photos, **arms))
    assert sorted(listed(listings)) == sorted(CLASSES)
    listings.clear()
    ablations.check(study(photos, **arms))
    assert sorted(listed(listings)) == sorted(CLASSES)
    assert listings.count("stat train/class_0/0.png") == 1, "compared once with all packs"
    listings.clear()
    session = ablations.run(study(photos, **arms), executor="inline", console=Console(quiet=True))
    assert not session.failed
    assert sorted(listed(listings)) == sorted(CLASSES)
    assert listings.count("stat train/class_0/0.png") == 1


def test_a_search_lists_a_tree_once(photos: Path, listings: list[str]) -> None:
    search = {
        "vary": ["baseline", "aim"],
        "over": ["training.optimizer.learning_rate"],
        "trials": 2,
        "seeds": [1000],
        "top": 1,
        "training": {"epochs": 1},
    }
    session = ablations.run(study(photos, search=search, seeds=1), executor="inline", console=Console(quiet=True))
    assert session.confirmed
    assert sorted(listed(listings)) == sorted(CLASSES)


def test_preparing_data_lists_a_tree_once_including_the_summary(photos: Path, listings: list[str]) -> None:
    for _ in range(2):
        listings.clear()
        ablations.data.prepare("image_folder", str(photos), 8, {"classes": 2})
        assert sorted(listed(listings)) == sorted(CLASSES)


def test_photos_that_changed_between_two_commands_are_detected(photos: Path) -> None:
    first = {data.fingerprint for data in ablations.check(study(photos)).plan.data.values()}
    (photos / "train" / "class_0" / "0.png").write_bytes((photos / "test" / "class_1" / "1.png").read_bytes())
    second = {data.fingerprint for data in ablations.check(study(photos)).plan.data.values()}
    assert len(first) == len(second) == 1
    assert first != second


WORKER = """
import json, os, sys
from pathlib import Path
calls = []
def counting(name):
    call = getattr(os, name)
    def counted_call(path=".", *arguments, **options):
        if not isinstance(path, int) and Path(os.fspath(path)).name in ("class_0", "0.png"):
            calls.append(name)
        return call(path, *arguments, **options)
    setattr(os, name, counted_call)
for name in ("scandir", "stat"):
    counting(name)
from aimlib.datasets.archives import is_archive, unpacked
from aimlib.registry import datasets
plugin = datasets.create(datasets.parse(json.loads(sys.argv[1])))
sys.stdin.readline()
if is_archive(plugin.config.root):
    unpacked(Path(plugin.config.root))  # by one of the processes, which need not be the one that packs
    calls.clear()
data = plugin.load_known(sys.argv[2])
print(json.dumps({"fingerprint": data.fingerprint, "calls": len(calls)}))
"""


def workers(count: int, options: dict[str, Any], fingerprint: str, cache: Path) -> list[dict[str, Any]]:
    """Let processes load the data at the same time; return what each process got, and how often it listed photos."""
    import json

    command = [sys.executable, "-c", WORKER, json.dumps(options), fingerprint]
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"AIM_CACHE_DIR": str(cache)},
        )
        for _ in range(count)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=100)[0]) for process in started]


def folder(photos: Path) -> dict[str, Any]:
    return {"name": "image_folder", "root": str(photos)}


def table(photos: Path) -> dict[str, Any]:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["path", "label", "split"])
    for path in sorted(photos.glob("*/*/*.png")):
        rows.writerow([path.relative_to(photos), path.parent.name, path.parent.parent.name])
    (photos / "index.csv").write_text(text.getvalue())
    return {"name": "image_index", "root": str(photos)}


def archive(photos: Path) -> dict[str, Any]:
    file = photos.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as out:
        for path in sorted(photos.glob("*/*/*.png")):
            out.write(path, path.relative_to(photos))
    return {"name": "image_folder", "root": str(file)}


@pytest.mark.parametrize("layout", [folder, table, archive])
def test_workers_do_not_list_photos_and_without_the_pack_only_one_worker_does(
    photos: Path, tmp_path: Path, layout: Callable[[Path], dict[str, Any]]
) -> None:
    options = {**layout(photos), "classes": 2, "size": 8}
    planned = datasets.create(datasets.parse(options)).load().fingerprint
    here = workers(2, options, planned, tmp_path / "cache")
    assert here == [{"fingerprint": planned, "calls": 0}] * 2
    elsewhere = workers(3, options, planned, tmp_path / "cache of another machine")
    assert [each["fingerprint"] for each in elsewhere] == [planned] * 3
    assert sorted(each["calls"] > 0 for each in elsewhere) == [False, False, True]
