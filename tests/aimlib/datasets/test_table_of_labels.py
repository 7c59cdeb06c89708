"""A table of examples has the same fingerprint as CSV and as Parquet; errors in a table name the row and the remedy."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aimlib.errors import DataError
from aimlib.registry import datasets

GOOD = "name,label,split,more\na,cat,train,1\nb,dog,train,2\nb,dog,test,3\nc,cat,test,4\n"


def load(path: Path, content: str | bytes = GOOD, classes: int = 2) -> object:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return datasets.create(datasets.parse({"name": "labels", "file": str(path), "classes": classes})).load()


def test_examples_keep_their_order_and_classes_are_sorted(tmp_path: Path) -> None:
    data = datasets.create(datasets.parse({"name": "labels", "file": str(tmp_path / "x.csv"), "classes": 2}))
    (tmp_path / "x.csv").write_text(GOOD)
    found = data.load()
    assert found.classes == ("cat", "dog")
    assert found.train.names == ("a", "b")
    assert found.test.names == ("b", "c")
    assert found.test.labels.tolist() == [1, 0]
    assert found.train.pixels.shape == (2, 1, 1, 1)


def test_csv_and_parquet_yield_the_same_data_and_an_edited_label_yields_different_data(tmp_path: Path) -> None:
    csv = load(tmp_path / "x.csv")
    pd.read_csv(tmp_path / "x.csv").to_parquet(tmp_path / "x.parquet")
    config = datasets.parse({"name": "labels", "file": str(tmp_path / "x.parquet"), "classes": 2})
    assert datasets.create(config).load().fingerprint == csv.fingerprint  # type: ignore[attr-defined]
    assert config.identity() == {"name": "labels", "version": 1, "classes": 2}, "the path is not part of any id"
    other = load(tmp_path / "x.csv", GOOD.replace("c,cat", "c,dog"))
    assert other.fingerprint != csv.fingerprint  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\na,b\n", "lacks the column split; its columns: name, label"),
        ("", "lacks the column name, label, split; its columns: none"),
        (GOOD.replace("a,cat,train", "a,cat,trian"), "row 2: split 'trian'; did you mean 'train'?"),
        (
            GOOD.replace("a,cat,train", "a,cat,validation"),
            "to hold out validation examples from train, set training.validation_fraction",
        ),
        (GOOD.replace("b,dog,train", ",dog,train"), "row 3: name or label is empty"),
        (GOOD.replace("a,cat,train", "b,cat,train"), "split 'train' contains the name 'b' twice"),
        (GOOD.replace("c,cat,test,4\n", ""), "1 example of split 'test'; list at least two"),
        (GOOD.replace("a,cat", "a,bird").replace("c,cat", "c,cow"), "has 3 different labels (bird, cow, dog)"),
        (b"name,label,split\n\xff,a,train\n", "is not UTF-8"),
    ],
)
def test_a_wrong_table_is_refused_with_a_message_that_gives_the_place(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path / "x.csv", content)
    assert message in str(error.value)
    assert str(tmp_path / "x.csv") in str(error.value)


def test_a_missing_table_and_a_broken_parquet_file_are_refused(tmp_path: Path) -> None:
    config = datasets.parse({"name": "labels", "file": str(tmp_path / "no.csv"), "classes": 2})
    with pytest.raises(DataError, match=r"set data\.file to the table of examples"):
        datasets.create(config).load()
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        load(tmp_path / "x.parquet", b"PAR1nothing")


def test_names_in_both_splits_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path / "x.csv")
    assert "1 name is both in train and in test, such as 'b'; if they are the same examples, keep each" in caplog.text
    caplog.clear()
    load(tmp_path / "x.csv", GOOD.replace("b,dog,test", "d,dog,test"))
    assert caplog.text == ""
