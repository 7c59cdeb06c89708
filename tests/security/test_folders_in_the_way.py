"""If a file or a link is in place of a study's folder, every command that needs the folder reports it."""

from __future__ import annotations

import shutil

import pytest
from victims import Victim

FOLDERS = (
    "runs",
    "segments",
    "failures",
    "images",
    "plans",
    "live",
    "logs",
    "ledger",
    "networks",
    "locks",
    "checkpoints",
)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("thing", ["file", "link"])
def test_a_session_reports_a_file_in_the_place_of_a_folder(victim: Victim, folder: str, thing: str) -> None:
    from ablations.store.local_folder import LocalFolder
    from aimlib.errors import StoreError

    path = victim.directory / folder
    shutil.rmtree(path, ignore_errors=True)
    if thing == "file":
        path.write_text("x")
    else:
        path.symlink_to(victim.folder / "nowhere")
    with pytest.raises(StoreError, match=rf"results/{folder}: is a {thing}.*(move|replace)"):
        LocalFolder(victim.directory).prepare()


def test_readers_report_a_file_in_the_place_of_a_folder_or_manage_without_the_folder(victim: Victim) -> None:
    for name in ("live", "logs", "unblinded"):
        shutil.rmtree(victim.directory / name, ignore_errors=True)
        (victim.directory / name).write_text("x")
    said = victim.read()
    assert "unblinded: cannot be listed" in said["report"]
    assert {text for entry, text in said.items() if entry != "report"} == {"ok"}, said
    (logs,) = victim._said({"logs": lambda: victim.ablate("logs", victim.directory, "aim/0")}).values()
    assert "logs: cannot be listed" in logs
    (browsed,) = victim._said(
        {"browse": lambda: victim.ablate("browse", victim.directory, "--out", victim.directory / "b.html")}
    ).values()
    assert "logs: cannot be listed" in browsed or "unblinded: cannot be listed" in browsed


def test_a_state_with_an_impossible_time_zone_is_ignored(victim: Victim) -> None:
    victim.plant(
        f"live/{'a' * 12}.json",
        '{"host": "x", "began_at": "0001-01-01T00:00:00+14:00", "at": "0001-01-01T00:00:00+14:00"}',
    )
    assert set(victim.read(report=False).values()) == {"ok"}
