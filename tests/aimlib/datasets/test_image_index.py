"""Photos listed in a table: CSV and Parquet, groups, and messages that give the line of every mistake."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from aimlib.datasets.index_files import write_index
from aimlib.datasets.verify import verify
from aimlib.errors import ConfigError, DataError, UsageError
from aimlib.registry import datasets

ROWS = [
    ("a.png", "cat", "train", "ann"),
    ("b.png", "dog", "train", "bob"),
    ("sub/c.png", "cat", "val", "cid"),
    ("sub/d.png", "dog", "val", "cid"),
    ("e.png", "cat", "test", "eve"),
    ("f.png", "dog", "test", "eve"),
    ("g.png", "cat", "train", "ann"),
]
HEAD = "path,label,split,group"


@pytest.fixture
def root(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    top = tmp_path / "set"
    for seed, (path, *_) in enumerate(ROWS):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(photo(seed))
    table(top)
    return top


def table(top: Path, head: str = HEAD, rows: Any = ROWS, sign: str = ",") -> None:
    lines = [head.replace(",", sign), *(sign.join(row) for row in rows)]
    (top / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def plugin(root: Path | None, **options: Any) -> Any:
    place = {} if root is None else {"root": str(root)}
    return datasets.create(datasets.parse({"name": "image_index", "classes": 2, "size": 8, **place, **options}))


def test_photos_are_read_from_a_table(root: Path) -> None:
    data = plugin(root).load()
    assert data.classes == ("cat", "dog")
    assert data.train.names == ("a.png", "b.png", "g.png")
    assert data.train.labels.tolist() == [0, 1, 0]
    assert data.validation is not None
    assert data.validation.names == ("sub/c.png", "sub/d.png")
    assert data.test.names == ("e.png", "f.png")
    assert plugin(root).load_known(data.fingerprint).fingerprint == data.fingerprint
    assert verify(plugin(root)) == []


def test_all_ways_of_writing_the_table_yield_the_same_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = plugin(root).load().fingerprint
    table(root, rows=ROWS[::-1])
    assert plugin(root).load().fingerprint == wanted
    table(root, sign=";")
    assert plugin(root, delimiter=";").load().fingerprint == wanted
    (root / "index.csv").rename(root / "index.tsv")
    (root / "index.tsv").write_bytes(b"\xef\xbb\xbf" + (root / "index.tsv").read_bytes().replace(b";", b"\t"))
    assert plugin(root, file="index.tsv").load().fingerprint == wanted
    frame = pd.DataFrame(ROWS, columns=HEAD.split(",")).assign(extra=1)
    frame["split"] = frame["split"].replace({"val": "Validation", "train": "TRAIN"})
    frame.to_parquet(root / "i.parquet")
    assert plugin(root, file="i.parquet").load().fingerprint == wanted
    renamed = frame.rename(columns={"path": "file", "label": "breed"})
    renamed["file"] = [f"./{root.name}//{path}" for path in renamed["file"]]
    renamed["file"] = [path.replace(f"{root.name}//", "") for path in renamed["file"]]
    renamed.to_parquet(root / "other.parquet")
    columns = {"path": "file", "label": "breed"}
    assert plugin(root, file="other.parquet", columns=columns).load().fingerprint == wanted
    monkeypatch.chdir(root)
    assert plugin(None, file="i.parquet").load().fingerprint == wanted, "paths are relative to the table's folder"


def test_the_table_may_be_in_a_different_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = plugin(root).load().fingerprint
    (root / "index.csv").rename(tmp_path / "mine.csv")
    monkeypatch.chdir(tmp_path)
    assert plugin(root, file="mine.csv").load().fingerprint == wanted
    assert plugin(root, file=str(tmp_path / "mine.csv")).load().fingerprint == wanted
    frame = pd.read_csv("mine.csv")
    frame["path"] = [str(root / path) for path in frame["path"]]
    frame.to_csv("absolute.csv", index=False)
    assert plugin(root, file="absolute.csv").load().fingerprint == wanted


def test_a_changed_split_is_noticed(root: Path) -> None:
    before = plugin(root).load()
    table(root, rows=[*ROWS[:6], ("g.png", "cat", "val", "gil")])
    after = plugin(root).load()
    assert after.fingerprint != before.fingerprint
    assert "g.png" not in after.train.names


def test_a_split_keeps_groups_together(root: Path, photo: Callable[..., bytes]) -> None:
    rows = [(f"{n}.png", "cat" if n % 2 else "dog", f"g{n // 3}") for n in range(30)]
    for name, *_ in rows:
        (root / name).write_bytes(photo(int(name.removesuffix(".png"))))
    table(root, "path,label,group", rows)
    group_of = {name: group for name, _, group in rows}
    data = plugin(root, split={"test_fraction": 0.3}).load()
    assert len(data.test.names) == 9
    assert not {group_of[name] for name in data.train.names} & {group_of[name] for name in data.test.names}
    ignored = plugin(root, split={"test_fraction": 0.3}, columns={"group": None}).load()
    assert {group_of[name] for name in ignored.train.names} & {group_of[name] for name in ignored.test.names}


def replaced(line: int, text: str) -> Callable[[Path], None]:
    """Return a function that makes a mistake: it changes the text of one line of the table."""

    def change(root: Path) -> None:
        lines = (root / "index.csv").read_text().split("\n")
        lines[line - 1] = text
        (root / "index.csv").write_text("\n".join(lines))

    return change


def rewritten(text: bytes) -> Callable[[Path], None]:
    return lambda root: (root / "index.csv").write_bytes(text) and None


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no table": (lambda root: (root / "index.csv").unlink(), r"index\.csv: cannot be read.*data\.file"),
    "empty": (rewritten(b""), "lacks the column 'path'; its columns: none"),
    "no rows": (rewritten(HEAD.encode()), "has no rows"),
    "no labels": (replaced(1, "path,breed,split,group"), r"lacks the column 'label'.*breed.*data\.columns\.label"),
    "upper case": (replaced(1, "Path,label,split,group"), r"lacks the column 'path'.*set data\.columns\.path: Path"),
    "group in upper case": (replaced(1, "path,label,split,Group"), r"set data\.columns\.group: Group"),
    "semicolons": (
        rewritten(b"path;label;split\na.png;cat;train\n"),
        r"separated by a semicolon.*data\.delimiter: ';'",
    ),
    "column twice": (replaced(1, "path,label,split,label"), "line 1: has the column 'label' twice"),
    "no split": (replaced(1, "path,label,fold,group"), r"no column split.*data\.split: \{test_fraction: 0\.2\}"),
    "unknown split": (replaced(3, "b.png,dog,tests,bob"), r"line 3: unknown split 'tests'; did you mean 'test'"),
    "empty split": (replaced(3, "b.png,dog,,bob"), "line 3: split is empty"),
    "empty label": (replaced(4, "sub/c.png, ,val,cid"), "line 4: label is empty"),
    "empty group": (replaced(4, "sub/c.png,cat,val,"), "line 4: group is empty"),
    "missing file": (
        replaced(2, "nowhere.png,cat,train,ann"),
        r"1 of 7 listed photos are missing.*nowhere\.png \(line 2\)",
    ),
    "twice": (replaced(8, "./a.png,cat,train,ann"), r"'a\.png' is in line 2 and in line 8; remove one"),
    "two labels": (
        replaced(8, "a.png,dog,train,ann"),
        r"line 2 and in line 8, with the labels 'cat' and 'dog'.*one class",
    ),
    "group divided": (
        replaced(8, "g.png,cat,test,ann"),
        r"1 group in more than one split: 'ann' \(line 2: train, line 8: test\)",
    ),
    "outside": (replaced(2, "../a.png,cat,train,ann"), r"line 2: '\.\./a\.png' is not below"),
    "absolute": (replaced(2, "/etc/passwd,cat,train,ann"), r"line 2: '/etc/passwd' is not below"),
    "windows": (replaced(2, "sub\\c.png,cat,train,ann"), "line 2: .* separate the parts of a path with /"),
    "drive": (replaced(2, "C:/a.png,cat,train,ann"), "line 2: 'C:/a.png' is not a path on this machine"),
    "url": (replaced(2, "https://x/a.png,cat,train,ann"), "line 2: .* is not a path on this machine"),
    "too many fields": (replaced(4, "c,d.png,cat,val,cid"), "line 4: has 5 fields instead of 4.*double quotes"),
    "too few fields": (replaced(4, "c.png,cat"), "line 4: has 2 fields instead of 4"),
    "latin1": (rewritten(HEAD.encode() + b"\na.png,caf\xe9,train,x\n"), "line 2: byte 0xe9 is not UTF-8.*iconv"),
    "utf16": (rewritten(HEAD.encode("utf-16")), "is UTF-16 or not text"),
    "open quote": (replaced(5, '"sub/d.png,dog,val,cid'), "line 5: is not CSV"),
    "no test": (rewritten(b"path,label,split\na.png,cat,train\nb.png,dog,train\n"), "no row belongs to split test"),
    "lists": (
        rewritten(b"path,label,split\na.png,cat;wet,train\nb.png,dog;wet,test\n"),
        "'cat;wet' contains several classes",
    ),
    "json": (rewritten(b'path,label,split\na.png,"[1, 0]",train\nb.png,"[0, 1]",test\n'), "contains several classes"),
    "regression": (rewritten(b"path,label,split\na.png,1.5,train\nb.png,2,test\n"), "regression targets"),
    "boxes": (rewritten(b"path,xmin,xmax\na.png,1,2\n"), r"boxes \(detection\) in xmin"),
    "masks": (rewritten(b"path,mask\na.png,b.png\n"), r"masks \(segmentation\) in mask"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_mistakes_are_reported_with_their_line(root: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    change(root)
    with pytest.raises(DataError, match=said):
        plugin(root).load()


def test_mistakes_in_parquet_tables_are_reported(root: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=HEAD.split(","))
    frame.assign(label=[["cat"]] * 7).to_parquet(root / "list.parquet")
    with pytest.raises(DataError, match=r"row 1: label has several values.*one class per image"):
        plugin(root, file="list.parquet").load()
    frame.assign(label=["cat", None, *["dog"] * 5]).to_parquet(root / "null.parquet")
    with pytest.raises(DataError, match="row 2: label is empty"):
        plugin(root, file="null.parquet").load()
    (root / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        plugin(root, file="broken.parquet").load()


def test_a_split_in_both_the_table_and_the_options_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"has the column 'split', but data\.split defines a different split"):
        plugin(root, split={"test_fraction": 0.5}).load()
    made = plugin(root, split={"test_fraction": 0.5}, columns={"split": None, "group": None}).load()
    assert len(made.test.names) == 4
    with pytest.raises(DataError, match=r"lacks the column 'part'.*data\.columns\.split"):
        plugin(root, columns={"split": "part"}).load()
    with pytest.raises(ConfigError, match="unknown key"):
        plugin(root, columns={"labels": "label"})


def test_class_names_may_contain_separators(root: Path) -> None:
    names = {"cat": "cat, domestic", "dog": "dog, bobtail|old"}
    table(root, rows=[(path, f'"{names[label]}"', split, group) for path, label, split, group in ROWS])
    assert plugin(root).load().classes == ("cat, domestic", "dog, bobtail|old")


def test_the_split_matches_the_literature(dogs: Any, tmp_path: Path) -> None:
    """Of a breed's 100 training photos, 90 are for training and 10 for validation; the test photos are the official
    ones."""
    out = tmp_path / "split.csv"
    counts = write_index(dogs.plugin(), out, validation_fraction=0.25)
    assert counts == [("train", 9), ("val", 3), ("test", 6)]
    official = dogs.plugin().load()
    made = datasets.create(
        datasets.parse(
            {"name": "image_index", "classes": 3, "size": 8, "root": str(dogs.root / "Images"), "file": str(out)}
        )
    ).load()
    assert made.classes == official.classes
    assert made.test.names == official.test.names
    assert (made.test.pixels == official.test.pixels).all()
    assert made.validation is not None
    assert sorted([*made.train.names, *made.validation.names]) == sorted(official.train.names)
    assert [int((made.validation.labels == label).sum()) for label in range(3)] == [1, 1, 1]
    write_index(dogs.plugin(), tmp_path / "split.parquet", validation_fraction=0.25)
    assert pd.read_parquet(tmp_path / "split.parquet").equals(pd.read_csv(out))
    with pytest.raises(UsageError, match="already exists"):
        write_index(dogs.plugin(), out)
    with pytest.raises(UsageError, match=r"--validation-fraction.*less than 1"):
        write_index(dogs.plugin(), tmp_path / "no.csv", validation_fraction=1.5)
    with pytest.raises(UsageError, match="no photo files"):
        write_index(datasets.create(datasets.parse("digits")), tmp_path / "no.csv")


def test_the_numbers_of_photos_match_the_literature(stanford_dogs_root: Path, dogs: Any, tmp_path: Path) -> None:
    """Only the official lists are needed: 10,800 photos are for training, 1,200 for validation and 8,580 for
    testing."""
    names = stanford_dogs_root.parent / "stanford-dogs-names.csv.gz"
    if not names.is_file():
        pytest.skip(f"no names of all 120 breeds: {names} does not exist")
    table = pd.read_csv(names)
    table["label"] = table["path"].str.split("/").str[0].rank(method="dense").astype(int)
    for split, rows in table.groupby("split"):
        dogs.splits[split] = list(zip(rows["path"], rows["label"].tolist(), strict=True))
    dogs.write_lists()
    out = tmp_path / "dogs.csv"
    counts = write_index(dogs.plugin(classes=120), out, validation_fraction=0.1, seed=0)
    assert counts == [("train", 10_800), ("val", 1_200), ("test", 8_580)]
    found = pd.read_csv(out).groupby(["split", "label"]).size()
    assert set(found["train"]) == {90}
    assert set(found["val"]) == {10}


def test_groups_that_a_reader_would_take_for_the_same_are_reported(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for other, what in (("Ann", "differ only in case or spaces"), ("e\u0301ve", "in different code points")):
        rows = [row if row[0] not in ("e.png", "f.png") else (*row[:3], other) for row in ROWS]
        if other != "Ann":
            rows = [row if row[3] != "ann" else (*row[:3], "\u00e9ve") for row in rows]
        table(root, rows=rows)
        caplog.clear()
        plugin(root).load()
        assert f"2 groups {'have the same name ' if other != 'Ann' else ''}{what}" in caplog.text
        (found,) = verify(plugin(root))
        assert found.is_error
        assert "so they may be in different splits; if they are the same group, use one spelling" in found.message
    table(root)
    caplog.clear()
    plugin(root).load()
    assert "group" not in caplog.text
    assert verify(plugin(root)) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_written_table_lists_names_with_line_breaks(root: Path, photo: Callable[..., bytes], tmp_path: Path) -> None:
    names = ["cat/a\rb.png", "cat/a\nb.png", 'dog/a"b.png', "dog/a,b.png"]
    for number, name in enumerate(names):
        (tmp_path / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / name).write_bytes(photo(number))
    options = {"root": str(tmp_path / "classes"), "classes": 2, "size": 8}
    folder = datasets.create(datasets.parse({"name": "image_folder", "split": {"test_fraction": 0.5}, **options}))
    write_index(folder, tmp_path / "written.csv")
    written = plugin(tmp_path / "classes", file=str(tmp_path / "written.csv")).listing()
    assert sorted(written.paths()) == sorted(names)
