"""Checksums of Parquet files and sealed files: they do not depend on the encoding of values, and they reveal damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.records import write_groups
from aimlib.records.checksums import Damaged, SealedWriter, add_checksums, checksums, has_checksums, is_intact, verified

VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.text(max_size=5)),
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "number": (pa.float64(), st.floats()),
    "boolean": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("us", tz="UTC"), st.integers(0, 2**50)),
    "bytes": (pa.large_binary(), st.binary(max_size=5)),
    "numbers": (pa.list_(pa.float64()), st.lists(st.none() | st.floats(), max_size=4)),
    "texts": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
}
TABLES = st.integers(1, 12).flatmap(
    lambda rows: st.fixed_dictionaries(
        {name: st.lists(st.none() | each, min_size=rows, max_size=rows) for name, (_, each) in VALUES.items()}
    )
)


def table(values: dict[str, list[Any]]) -> pa.Table:
    return pa.table({name: pa.array(values[name], type=kind) for name, (kind, _) in VALUES.items()})


@given(TABLES, st.data())
def test_equal_values_have_equal_checksums_regardless_of_how_they_are_stored(
    values: dict[str, list[Any]], data: st.DataObject
) -> None:
    whole = table(values)
    expected = checksums(whole)
    cut = data.draw(st.integers(0, len(whole)))
    assert checksums(pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])) == expected
    padded = pa.concat_tables([whole, whole, whole]).combine_chunks()
    assert checksums(padded.slice(len(whole), len(whole))) == expected


@given(TABLES)
def test_checksums_stay_the_same_when_a_file_is_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, list[Any]]
) -> None:
    path, whole = tmp_path_factory.mktemp("files") / "a.parquet", table(values)
    write_groups([whole.slice(0, 3), whole.slice(3)], whole.schema, path)
    with pq.ParquetFile(path) as file:
        assert has_checksums(file)
        found = pa.concat_tables(verified(file, whole.column_names))
    assert checksums(found) == checksums(whole)


@given(TABLES, TABLES)
def test_different_values_have_different_checksums(one: dict[str, list[Any]], two: dict[str, list[Any]]) -> None:
    for name, (kind, _) in VALUES.items():
        first, second = (pa.table({name: pa.array(each[name], type=kind)}) for each in (one, two))
        bits = [repr(_bits(each.column(name).to_pylist())) for each in (first, second)]
        assert (checksums(first) == checksums(second)) == (bits[0] == bits[1])


def _bits(values: Any) -> Any:
    """Return the bits of numbers, so that NaN equals itself, and 0.0 differs from -0.0."""
    if isinstance(values, list):
        return [_bits(each) for each in values]
    return np.float64(values).tobytes() if isinstance(values, float) else values


def test_values_that_move_between_rows_or_columns_are_detected() -> None:
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], ["abc", None], [None, "abc"]]
    assert len({checksums(pa.table({"x": pa.array(each, pa.string())})) for each in texts}) == len(texts)
    lists = [[[1], [2, 3]], [[1, 2], [3]], [[1, 2, 3], []], [[1, 2, 3], None]]
    assert len({checksums(pa.table({"x": pa.array(each, pa.list_(pa.int64()))})) for each in lists}) == len(lists)
    assert checksums(pa.table({"x": [1]})) != checksums(pa.table({"y": [1]}))


def test_an_edited_value_and_a_missing_row_group_are_detected(tmp_path: Path) -> None:
    """The file has changed content but the old metadata, as if another Parquet tool had written it."""
    path, whole = tmp_path / "a.parquet", pa.table({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    write_groups([whole], whole.schema, path)
    with pq.ParquetFile(path) as file:
        kept = file.metadata.metadata
    edited = whole.set_column(0, "x", pa.array([1, 2, 4]))
    for content, columns, found in (
        (edited, ["x"], "the checksum of column x does not match its values"),
        (whole.slice(0, 0), ["x"], "it has 0 row groups instead of 1"),
        (whole.drop_columns(["y"]), ["x"], "its columns or row groups differ from its checksums"),
    ):
        with pq.ParquetWriter(path, content.schema) as writer:
            if len(content):
                writer.write_table(content)
            writer.add_key_value_metadata(kept)
        with pq.ParquetFile(path) as file, pytest.raises(Damaged, match=found):
            list(verified(file, columns))
    with pq.ParquetWriter(path, edited.schema) as writer:
        writer.write_table(edited)
        writer.add_key_value_metadata(kept)
    with pq.ParquetFile(path) as file:
        assert next(verified(file, ["y"])).column("y").to_pylist() == ["a", "b", "c"], "unread columns are not checked"


@pytest.mark.parametrize(
    "values",
    [pa.array([b"a", b"b"]), pa.array([{"n": 1}, {"n": 2}]), pa.array([[b"a"], []])],
    ids=["binary", "struct", "list of binary"],
)
def test_a_column_with_a_type_that_is_never_written_counts_as_damage(tmp_path: Path, values: pa.Array) -> None:
    """A column can get such a type through damage: a damaged schema can turn text into bytes."""
    path, found = tmp_path / "a.parquet", pa.table({"a": values})
    with pq.ParquetWriter(path, found.schema) as writer:
        writer.write_table(found)
        add_checksums(writer, [checksums(pa.table({"a": ["a", "b"]}))])
    with (
        pq.ParquetFile(path) as file,
        pytest.raises(Damaged, match=r"values of type .* never written"),
    ):
        list(verified(file, ["a"]))


def test_a_file_from_an_earlier_version_is_read_without_checksums(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert not has_checksums(file)
        assert pa.concat_tables(verified(file, ["x"])).column("x").to_pylist() == [1, 2]


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_a_seal_covers_every_byte(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("sealed") / "file"
    with path.open("wb") as file:
        writer = SealedWriter(file)
        for part in parts:
            writer.write(part)
        writer.seal()
    content = path.read_bytes()
    assert content.startswith(b"".join(parts))
    assert is_intact(path) is True
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert is_intact(path) is not True
    path.write_bytes(b"".join(parts))
    assert is_intact(path) is None
