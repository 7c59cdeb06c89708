"""Kinds of damaged and malicious files in a study. `ablate status` reads them unless a kind sets another command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input_kinds import Arrange, Kind
from victims import Victim


def planted(name: str, content: bytes | str) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    return lambda victim, patch: victim.plant(name, content)


def plan(**changes: object) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    """Change keys of the plan; None removes a key."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        document = victim.plan() | changes
        document = {key: value for key, value in document.items() if value is not None}
        victim.plant_plan(document)

    return arrange


def part(holder: str, key: str, value: object) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    """Change a key of the first arm or run in the plan."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        document = victim.plan()
        document[holder][0][key] = value
        victim.plant_plan(document)

    return arrange


def row(content: bytes) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    return lambda victim, patch: victim.runs[0].write_bytes(content)


RESTORE = "(?i)restore|run `ablate run` again|another directory|update"
STATUS = "status DONE"

RUN = "run STUDY --out DONE --executor inline"


def special(name: str, make: Callable[[Path], object]) -> Arrange:
    """Replace a file with the result of a function."""

    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        path = victim.directory / name
        path.unlink(missing_ok=True)
        make(path)

    return arrange


def in_place_of_a_row(make: Callable[[Path], object]) -> Arrange:
    return lambda victim, patch: special(f"runs/{victim.runs[0].name}", make)(victim, patch)


def looped(path: Path) -> None:
    path.symlink_to(path.name)


def linked(folder: str) -> Arrange:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        path = victim.directory / folder
        if path.exists():
            path.rename(victim.outside / folder)
        path.symlink_to(victim.outside / folder)
        (victim.outside / folder).mkdir(exist_ok=True)

    return arrange


def edited(name: str, old: str, new: str) -> Arrange:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        text = (victim.directory / name).read_text()
        assert old in text
        victim.plant(name, text.replace(old, new))

    return arrange


def halved(name: str) -> Arrange:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        content = (victim.directory / name).read_bytes()
        victim.plant(name, content[: len(content) // 2])

    return arrange


def flipped(victim: Victim, patch: pytest.MonkeyPatch) -> None:
    content = bytearray(victim.runs[0].read_bytes())
    for place in range(200, len(content) // 2, 50):
        content[place] ^= 0xFF
    victim.runs[0].write_bytes(content)


KINDS = [
    Kind(
        "an empty document",
        STATUS,
        "study.json",
        "not readable as JSON (Expecting value",
        RESTORE,
        planted("study.json", b""),
    ),
    Kind(
        "a document that is not text",
        STATUS,
        "study.json",
        "codec can't decode byte 0xff",
        RESTORE,
        planted("study.json", b"\xff\xfe\x00"),
    ),
    Kind(
        "a document with the wrong structure",
        STATUS,
        "study.json",
        "the document must be an object",
        RESTORE,
        planted("study.json", "[]"),
    ),
    Kind(
        "a store from an older version",
        STATUS,
        "study.json",
        "schema version 1",
        "read it with aim-ablations",
        plan(schema_version=1),
    ),
    Kind(
        "a store from a newer version",
        STATUS,
        "study.json",
        "schema version 99",
        "update|install",
        plan(schema_version=99),
    ),
    Kind("a value of the wrong type in a plan", STATUS, "study.json", "name", RESTORE, plan(name=5)),
    Kind(
        "escapes in a study's name",
        STATUS,
        "study.json",
        "its name is not printable text",
        RESTORE,
        plan(name="\x1b[2J"),
    ),
    Kind("a plan without arms", STATUS, "study.json", "arms", RESTORE, plan(arms=None)),
    Kind("a value in a plan that should be a list", STATUS, "study.json", "runs", RESTORE, plan(runs={})),
    Kind(
        "a number out of range in a plan",
        STATUS,
        "study.json",
        "delta_pp must be positive",
        RESTORE,
        plan(delta_pp=-1.0),
    ),
    Kind(
        "a role that does not exist in a plan",
        STATUS,
        "study.json",
        "arms[0].role must be one of",
        RESTORE,
        part("arms", "role", "king"),
    ),
    Kind(
        "a line break in an arm's name",
        STATUS,
        "study.json",
        "an arm's name is not printable text",
        RESTORE,
        part("arms", "name", "a\nb"),
    ),
    Kind(
        "two arms with one name",
        STATUS,
        "study.json",
        "two arms have the same name",
        RESTORE,
        part("arms", "name", "aim"),
    ),
    Kind(
        "a run whose arm is not listed",
        STATUS,
        "study.json",
        "a run belongs to an arm that is not listed",
        RESTORE,
        part("runs", "arm", "nobody"),
    ),
    Kind(
        "a number too large for a table",
        STATUS,
        "study.json",
        "runs[0].seed",
        "smaller seeds",
        part("runs", "seed", 2**70),
    ),
    Kind("a run id that is not text", STATUS, "study.json", "runs[0].run_id", RESTORE, part("runs", "run_id", 5)),
    Kind("an empty row file", STATUS, "runs/", "file size is 0 bytes", "delete it and run `ablate run`", row(b"")),
    Kind(
        "a damaged row file",
        STATUS,
        "runs/",
        "smaller than the size reported",
        "delete it and run `ablate run`",
        row(b"PAR1 is the beginning of a table PAR1"),
    ),
    Kind(
        "a file that is not an analysis plan",
        "report DONE",
        "analysis_plan.json",
        "not a frozen analysis plan",
        RESTORE,
        planted("analysis_plan.json", b"{}"),
    ),
    Kind(
        "a damaged table of models",
        "results DONE --table models",
        "models.parquet",
        "not a readable table",
        "delete it and run",
        planted("models.parquet", b"PAR1"),
    ),
    Kind(
        "a pipe in place of a document",
        STATUS,
        "study.json",
        "is a pipe or a device",
        RESTORE,
        special("study.json", os.mkfifo),
    ),
    Kind(
        "a folder in place of a document",
        STATUS,
        "study.json",
        "it is a folder, not a file",
        RESTORE,
        special("study.json", os.mkdir),
    ),
    Kind(
        "a pipe in place of a row",
        STATUS,
        "runs/",
        "is a pipe or a device",
        "delete it and run",
        in_place_of_a_row(os.mkfifo),
    ),
    Kind(
        "a folder in place of a row",
        STATUS,
        "runs/",
        "it is a folder",
        "delete it and run",
        in_place_of_a_row(os.mkdir),
    ),
    Kind(
        "a dangling link in place of a row",
        STATUS,
        "runs/",
        "it is a link to a file that does not exist",
        "delete it and run",
        in_place_of_a_row(lambda path: path.symlink_to("nowhere")),
    ),
    Kind(
        "a link to itself in place of a mark",
        RUN,
        "mark",
        "levels of symbolic links",
        "remove it",
        special("mark", looped),
    ),
    Kind("a folder that is a link", RUN, "runs", "is a link to another folder", "remove|replace|give", linked("runs")),
    Kind(
        "a report folder that is a link", "report DONE", "report", "is a link", "remove|another|give", linked("report")
    ),
    Kind(
        "a plan that was changed",
        STATUS,
        "study.json",
        "its checksum does not match",
        "restore the newest",
        edited("study.json", '"delta_pp": 1.0', '"delta_pp": 0.1'),
    ),
    Kind(
        "an analysis plan that was changed",
        "report DONE",
        "analysis_plan.json",
        "was changed after it was frozen",
        "restore it",
        edited("analysis_plan.json", '"runs_before": 0', '"runs_before": 1'),
    ),
    Kind(
        "an excessively nested document",
        STATUS,
        "study.json",
        "recursion",
        RESTORE,
        planted("study.json", "[" * 200_000),
    ),
    Kind("a truncated document", STATUS, "study.json", "not readable as JSON", RESTORE, halved("study.json")),
    Kind(
        "a pickle in place of a row",
        STATUS,
        "runs/",
        "not a readable Parquet file",
        "delete it and run",
        lambda victim, patch: victim.runs[0].write_bytes(victim.bomb),
    ),
    Kind(
        "a row without its columns",
        STATUS,
        "runs/",
        "lacks the columns",
        "delete it and run",
        lambda victim, patch: pq.write_table(
            pa.table({"run_id": ["x"]}).replace_schema_metadata({"schema_version": "3"}), victim.runs[0]
        ),
    ),
    Kind(
        "a row from a newer version",
        STATUS,
        "runs/",
        "99",
        "read it with the release",
        lambda victim, patch: pq.write_table(
            pa.table({"run_id": ["x"]}).replace_schema_metadata({"schema_version": "99"}), victim.runs[0]
        ),
    ),
    Kind("a row with flipped bits", STATUS, "runs/", "damaged|not a readable", "delete it and run", flipped),
    Kind(
        "a damaged segment",
        STATUS,
        "segments/",
        "not a readable Parquet file",
        "restore it from a copy",
        planted(f"segments/{'0' * 20}.parquet", b"PAR1"),
    ),
    Kind(
        "a damaged failure record",
        STATUS,
        "failures/",
        "not a readable Parquet file",
        "delete it",
        planted(f"failures/{'0' * 20}.000.parquet", b"PAR1"),
    ),
    Kind(
        "a file that is not an unblinding record",
        "report DONE",
        "unblinded/",
        "not readable as an unblinding record",
        "restore the file",
        planted("unblinded/001.json", b"{}"),
    ),
]
