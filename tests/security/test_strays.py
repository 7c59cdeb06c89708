"""Files in a study's folders that no version of this package wrote are reported but never read as rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from victims import Victim

import ablations
import analysis
from aimlib.errors import StoreError

NAMES = (
    "runs/~${run}.parquet",
    "runs/{run} (conflicted copy).parquet",
    "runs/{run}.parquet.part",
    "runs/._{run}.parquet",
    "segments/x.parquet",
    "failures/x.parquet",
    "failures/{run}.000 (1).parquet",
    "images/x.parquet",
    "plans/000 (copy).json",
    "unblinded/._000.json",
)
SILENT = ("runs/desktop.ini", "segments/.DS_Store", "images/Thumbs.db")


def put(victim: Victim, name: str, content: bytes = b"no row") -> Path:
    return victim.plant(name.replace("{run}", victim.runs[0].stem), content)


@pytest.mark.parametrize("name", NAMES)
def test_a_stray_file_is_reported_and_ignored(victim: Victim, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = put(victim, name)
    assert set(victim.read().values()) == {"ok"}
    assert (
        f"1 file is not read, because the study does not use such names: {path.parent.name}/{path.name}" in caplog.text
    )
    assert path.name in victim.ablate("verify", victim.directory)
    verified = ablations.verify(victim.directory)
    assert verified.is_intact
    assert verified.inspection.strays == [f"{path.parent.name}/{path.name}"]
    assert "4 runs settled" not in victim.ablate("watch", victim.directory, "--once")
    assert ablations.archive(victim.directory, victim.folder / "packed.tar.gz").rows == 2


@pytest.mark.parametrize("name", SILENT)
def test_desktop_files_are_only_listed_by_verify(victim: Victim, name: str, caplog: pytest.LogCaptureFixture) -> None:
    put(victim, name)
    assert set(victim.read(report=False).values()) == {"ok"}
    assert caplog.text == ""
    assert f"does not use such file names: {name}; " in victim.ablate("verify", victim.directory)


def test_a_changed_copy_next_to_a_row_never_counts(victim: Victim) -> None:
    """The copy's name sorts before the row's name."""
    path = victim.runs[0]
    table = pq.read_table(path)
    position = table.schema.get_field_index("test_accuracy")
    changed = table.set_column(position, table.schema.field(position), [[1.0]])
    expected = analysis.load(victim.directory).runs["test_accuracy"].to_list()
    pq.write_table(changed, path.with_name(f"{path.stem} (conflicted copy).parquet"))
    assert analysis.load(victim.directory).runs["test_accuracy"].to_list() == expected


def test_a_row_under_a_different_name_counts_as_missing_and_the_ledger_reveals_it(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    path = victim.runs[0]
    path.rename(path.with_name(f"~{path.name}"))
    results = analysis.load(victim.directory)
    assert list(results.missing["run_id"]) == [path.stem]
    assert f"runs/~{path.name}" in caplog.text
    with pytest.raises(StoreError, match="the ledger contains its row, but no file does"):
        analysis.examine(results)
    assert not ablations.verify(victim.directory).is_intact


def test_a_broken_file_with_a_valid_name_is_still_an_error(victim: Victim) -> None:
    put(victim, f"runs/{'0' * 20}.parquet")
    with pytest.raises(StoreError, match="not a readable Parquet file"):
        analysis.load(victim.directory)
    (victim.directory / "runs" / f"{'0' * 20}.parquet").unlink()
    put(victim, "unblinded/000.json")
    with pytest.raises(StoreError, match="not readable as an unblinding record"):
        _ = analysis.load(victim.directory).unblinded
