"""Names, links and paths in a study directory never lead outside the directory, and never control the terminal."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from victims import Victim

from ablations.spec.study import StudySpec
from ablations.store.folder import folder_at
from ablations.store.leases import Terms
from ablations.store.ledger import SessionLedger
from aimlib.errors import ConfigError, StoreError
from aimlib.records import write_table

_HARMLESS = ("../../x", "<script>alert(1)</script>", "[bold]x[/bold]", "CON", "a'; drop table x", "{{7*7}}", "$(id)")
_UNPRINTABLE = ("\x1b]0;title\x07", "a\u202eb", "a\x00b", "a\nb", "\u200b", " ", "", "x" * 5000, "a\x9bb")


def rename_in_plan(victim: Victim, old: str, new: str) -> Path:
    document = victim.plan()
    for holder, key in [(document, "name"), *((arm, "name") for arm in document["arms"])]:
        holder[key] = new if holder[key] == old else holder[key]
    for run in document["runs"]:
        run["arm"] = new if run["arm"] == old else run["arm"]
    for path in (victim.directory / "plans").glob("*.json"):
        victim.plant_plan(document, f"plans/{path.name}")
    return victim.plant_plan(document)


def renamed(victim: Victim, old: str, new: str) -> None:
    """Rename an arm in the plans and in the tables, and write a new ledger for the changed rows."""
    rename_in_plan(victim, old, new)
    for path in (victim.directory / "models.parquet", *victim.runs):
        table = pq.ParquetFile(path).read()
        names = [new if name == old else name for name in table["arm"].to_pylist()]
        number = table.schema.get_field_index("arm")
        write_table(table.set_column(number, table.schema.field(number), pa.array(names)), path)
    (victim.directory / "analysis_plan.json").unlink()
    shutil.rmtree(victim.directory / "ledger")
    (victim.directory / "ledger").mkdir()
    SessionLedger(folder_at(victim.directory, Terms()), "0" * 12).end()


def test_printable_names_are_unchanged(victim: Victim) -> None:
    name = " ".join(_HARMLESS)[:100]
    renamed(victim, "aim", name)
    said = victim.read()
    assert set(said.values()) == {"ok"}, said
    victim.ablate("status", victim.directory)
    assert "[bold]x[/bold]" in victim.printed
    report = victim.directory / "report"
    page = (report / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(?<!\\)<script>alert", (report / "report.md").read_text())
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in report.rglob("*")), "no name became a file name"


@pytest.mark.parametrize("name", _UNPRINTABLE)
@pytest.mark.parametrize("of", ["arm", "study"])
def test_names_with_control_characters_are_refused(victim: Victim, name: str, of: str) -> None:
    path = rename_in_plan(victim, "aim" if of == "arm" else "planted", name)
    for message in victim.read(report=False).values():
        assert str(path) in message
        assert "name is not printable text" in message
    arms = {"baseline": {}, "aim" if of == "study" else name: {}}
    with pytest.raises(ConfigError, match="name"):
        StudySpec.parse({"name": name if of == "study" else "x", "base": {}, "arms": arms})


def test_text_in_a_row_is_shown_without_control_characters(victim: Victim) -> None:
    path = victim.runs[0]
    table = pq.ParquetFile(path).read()
    for column, text in (("reason", "red \x1b[31mX\x1b]0;title\x07 \u202e"), ("host", "[bold]h[/bold]\x9b2J")):
        number = table.schema.get_field_index(column)
        table = table.set_column(number, table.schema.field(number), pa.array([text]))
    write_table(table, path)
    victim.ablate("results", victim.directory, "--columns", "reason,host")
    assert "red" in victim.printed
    assert "[bold]h" in victim.printed
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", victim.printed)


@pytest.mark.parametrize("run_id", ["../../../etc/passwd", "", "a/b", "x" * 3000, "0" * 20 + "\n", "ABCDEF"])
def test_invalid_run_ids_never_become_paths(victim: Victim, run_id: str) -> None:
    from ablations.store import ResultStore

    document = victim.plan()
    document["runs"][0]["run_id"] = run_id
    victim.plant_plan(document)
    victim.read(report=False)
    store = ResultStore(victim.directory)
    for use in (store.lock_run, store.holder, store.checkpoint_directory, store.discard_checkpoint):
        with pytest.raises(StoreError, match="20 hexadecimal digits"):
            use(run_id)


# Links


def test_a_lock_file_is_not_written_through_a_link(victim: Victim) -> None:
    run_id = victim.runs[0].stem
    victim.runs[0].unlink()
    lock = victim.directory / "locks" / f"{run_id}.lock"
    lock.unlink()
    lock.symlink_to(victim.outside / "precious")
    victim.run()
    (row,) = [row for path in (victim.directory / "failures").iterdir() for row in pq.read_table(path).to_pylist()]
    assert str(lock) in row["reason"]
    assert "remove the link" in row["reason"]
    assert (victim.outside / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    "folder",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("segments", "failures", "images", "plans", "locks")),
        "runs",
        "checkpoints",
    ],
)
def test_a_linked_folder_is_not_written_to(victim: Victim, folder: str) -> None:
    moved = victim.outside / folder
    (victim.directory / folder).rename(moved)
    (victim.directory / folder).symlink_to(moved)
    said = victim.run()
    assert f"{victim.directory / folder}: is a link to another folder" in said["run"]


@pytest.mark.parametrize("link", ["report", "report/report.html"])
def test_a_report_is_not_written_through_a_link(victim: Victim, link: str) -> None:
    path = victim.directory / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim.outside / "precious" if path.suffix else victim.outside)
    said = victim.read()
    assert str(path) in said["report"]
    assert "is a link" in said["report"]
    assert said["status"] == "ok"


@pytest.mark.parametrize("name", ["study.json", "analysis_plan.json", "models.parquet", "run"])
def test_a_link_to_a_secret_does_not_reveal_the_secret(victim: Victim, name: str) -> None:
    secret = victim.outside / "key"
    secret.write_text("SECRET-OF-ANOTHER-FILE\n" * 100)
    path = victim.runs[0] if name == "run" else victim.directory / name
    path.unlink()
    path.symlink_to(secret)
    said = victim.read(report=False)
    if name != "models.parquet":
        said |= victim.run()
    assert any(message != "ok" for message in said.values())
    assert not any("SECRET-OF" in message for message in said.values())
    assert secret.read_text().startswith("SECRET")


@pytest.mark.slow
def test_a_hard_link_to_a_file_outside_is_replaced_and_not_written_to(victim: Victim) -> None:
    other = victim.outside / "study.json"
    for name in ("study.json", "models.parquet"):
        os.link(victim.directory / name, victim.outside / name)
    before = other.read_bytes()
    victim.ablate("run", victim.study, "--out", victim.directory, "--executor", "inline", "--set", "delta_pp=0.5")
    assert victim.plan()["delta_pp"] == 0.5
    assert other.read_bytes() == before


def test_a_study_directory_may_be_a_link(victim: Victim, tmp_path: Path) -> None:
    link = victim.folder / "link"
    link.symlink_to(victim.directory)
    victim.directory, before = link, victim.directory
    assert set(victim.read(report=False).values()) == {"ok"}
    assert before.is_dir()
