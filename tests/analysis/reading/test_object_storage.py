"""A study in object storage is loaded like a study in a directory (with SeaweedFS; see `s3_server`)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from synthetic_study import ARMS, FINGERPRINT
from typer.testing import CliRunner

import analysis
from ablations.commands.app import app
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.paths import place
from analysis.report import rendering


def copy(directory: Path, url: str) -> None:
    """Copy every file in a study to the URL, as any copying tool would."""
    for path in directory.rglob("*"):
        if path.is_file():
            object_store.put(place(url) / str(path.relative_to(directory)), path.read_bytes())


@pytest.mark.parametrize("compacted", [True, False])
def test_a_bucket_and_a_directory_give_the_same_frames(make_study, remote: str, compacted: bool) -> None:
    directory = make_study(
        seeds=5, compacted=compacted, status={("aim", 1): "failed", ("aim", 2): "missing", ("baseline", 3): "diverged"}
    )
    copy(directory, remote)
    here, there = analysis.load(directory), analysis.load(remote)
    for name in ("runs", "epochs", "predictions", "models", "images", "missing", "stale"):
        pd.testing.assert_frame_equal(getattr(there, name), getattr(here, name))
        assert name in {"stale"} or len(getattr(there, name)), name
    assert there.frozen == here.frozen
    assert there.frozen is not None
    assert str(there.directory) == remote
    assert analysis.examine(there).headline == analysis.examine(here).headline
    several = analysis.load([remote, directory, remote + "-that-is-not-there"])
    assert set(several.results) == {remote, str(directory)}
    assert set(several.runs["also_in"].dropna()) == {str(directory)}


def test_the_report_is_written_to_a_local_folder(make_study, remote: str, tmp_path: Path, monkeypatch) -> None:
    copy(make_study(seeds=5, arms=ARMS[:2]), remote)
    monkeypatch.setattr(rendering, "write", lambda findings, out: (findings.headline, out))
    headline, out = analysis.report(remote)
    assert out == Path("report-study")
    assert analysis.report(remote, tmp_path / "given") == (headline, tmp_path / "given")


def test_the_command_line_accepts_a_url(make_study, remote: str, tmp_path: Path) -> None:
    copy(make_study(seeds=5, arms=ARMS[:2]), remote)
    table = tmp_path / "runs.csv"
    for arguments in (["status", remote], ["results", remote, "--csv", str(table)]):
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 0, ended.output
    assert len(table.read_text().splitlines()) == 1 + 2 * 5


def test_large_objects_are_read_in_ranges(make_study, remote: str, monkeypatch) -> None:
    from aimlib import paths

    directory = make_study(seeds=5)
    copy(directory, remote)
    monkeypatch.setattr(paths, "_WHOLE", 1000)
    pd.testing.assert_frame_equal(analysis.load(remote).runs, analysis.load(directory).runs)


def test_unexpected_names_in_a_listing_are_ignored(make_study, remote: str, monkeypatch) -> None:
    """SeaweedFS refuses to store such names, but other servers may accept them."""
    directory = make_study(seeds=5)
    copy(directory, remote)
    call = object_store._call

    def odd(address: object_store.Address, request: str, **options: object) -> object:
        answer = call(address, request, **options)
        if request == "list_objects_v2":
            item = {"LastModified": datetime.now(UTC), "Size": 1}
            names = ("../x.parquet", "..", "", "a\\..\\x.parquet", "/etc/x.parquet", "\n.parquet")
            more = [item | {"Key": f"{options['Prefix']}{name}"} for name in names]
            answer = {**answer, "Contents": [*answer.get("Contents", []), *more]}
        return answer

    monkeypatch.setattr(object_store, "_call", odd)
    assert {path.name for path in (place(remote) / "images").iterdir()} == {f"{FINGERPRINT}.parquet"}
    assert len(analysis.load(remote).runs) == len(analysis.load(directory).runs)


def test_errors_state_the_url(make_study, remote: str) -> None:
    with pytest.raises(
        StoreError, match=f"{remote}: study.json is missing; give the directory that `ablate run` wrote"
    ):
        analysis.load(remote)
    directory = make_study(seeds=5)
    copy(directory, remote)
    broken = next((place(remote) / "segments").iterdir())
    object_store.put(broken, b"PAR1")
    with pytest.raises(StoreError, match=f"{broken}: not a readable Parquet file"):
        analysis.load(remote)
