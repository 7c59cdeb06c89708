"""`ablate data prepare --plan` estimates the time and space for packing, without writing anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ablations.commands import data as data_cli
from aimlib.datasets import pack_plan, pixel_files
from aimlib.datasets.pack_locks import held
from aimlib.datasets.pack_plan import plan_pack
from aimlib.datasets.packed import pack_folder
from aimlib.errors import DataError, UsageError


def run(dogs: Any, *options: str) -> str:
    command = ["prepare", "stanford_dogs", "--root", str(dogs.root), "--set", "classes=3", "--plan", *options]
    result = CliRunner().invoke(data_cli.app, command)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def interrupt(_what: str, done: int, _total: int) -> None:
    if done == 10:
        raise KeyboardInterrupt


def test_a_plan_reports_the_cost_of_a_pack_and_writes_nothing(dogs: Any, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = run(dogs, "--size", "100")
    assert "18 photos (12 train, 6 test)" in told
    assert f"in {pack_folder(dogs.plugin(size=100).listing(), dogs.plugin(size=100).recipe())}" in told
    assert "not packed yet" in told
    assert "for 18 photos: an estimate from 18 photos" in told
    assert sorted(tmp_path.rglob("*")) == before
    plan = data_cli.prepare("stanford_dogs", str(dogs.root), 100, {"classes": 3}, plan=True)
    assert f"free {plan.bytes_free / 1e9:.3g} GB there" in told or plan.bytes_free < 1e9
    pack = dogs.plugin(size=100).pack()
    whole = sum(path.stat().st_size for path in pack.folder.iterdir())
    assert plan.bytes == pytest.approx(whole, rel=0.01)
    assert plan.bytes_left == plan.bytes


@pytest.mark.parametrize("pixels", ["whole", "fine"])
def test_planned_bytes_follow_from_the_recipe(dogs: Any, pixels: str) -> None:
    plugin = dogs.plugin(size=64, antialias=False, pixels=pixels)
    plan = plan_pack(plugin)
    assert plan.bytes == pytest.approx(sum(path.stat().st_size for path in plugin.pack().folder.iterdir()), rel=0.02)


def test_the_sample_is_always_the_same_and_spread_over_the_photos(dogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_plan, "SAMPLE", 6)
    monkeypatch.setattr(pack_plan, "cores", lambda: 1)
    names: list[list[str]] = []
    original = pack_plan.decoded

    def noting(listing: Any, paths: Any, recipe: Any) -> Any:
        names.append(list(paths))
        return original(listing, paths, recipe)

    monkeypatch.setattr(pack_plan, "decoded", noting)
    plans = [plan_pack(dogs.plugin()) for _ in range(2)]
    chosen = [each for each in names if len(each) > 1]
    assert chosen[0] == chosen[1]
    paths = dogs.plugin().listing().paths()
    assert [paths.index(path) // 3 for path in chosen[0]] == list(range(6)), "one in every three"
    assert [plan.sampled for plan in plans] == [6, 6]
    assert all(plan.seconds > 0 and plan.photos_left == 18 for plan in plans)


def test_the_planned_time_is_extrapolated_from_the_sample(dogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_plan, "SAMPLE", 6)
    monkeypatch.setattr(pack_plan, "cores", lambda: 1)
    moments = iter([100.0, 102.0])
    monkeypatch.setattr(pack_plan.time, "perf_counter", lambda: next(moments))
    assert plan_pack(dogs.plugin()).seconds == pytest.approx(6.0)


def test_a_current_pack_is_recognized_and_an_outdated_one_is_not(dogs: Any, photo: Any) -> None:
    dogs.plugin().pack()
    told = run(dogs, "--size", "8")
    assert "already packed and up to date" in told
    assert "nothing to pack" in told
    dogs.write(dogs.splits["train"][0][0], photo(999))
    told = run(dogs, "--size", "8")
    assert "have since been changed or touched" in told
    assert "for 18 photos" in told


def test_an_interrupted_pack_is_recognized_and_only_the_remaining_photos_count(
    dogs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_files, "BLOCK_PHOTOS", 4)
    with pytest.raises(KeyboardInterrupt):
        dogs.plugin().pack(interrupt)
    told = run(dogs, "--size", "8")
    assert "interrupted: 8 of 18 photos are packed, and `ablate data prepare` continues from there" in told
    assert "for 10 photos" in told
    plan = plan_pack(dogs.plugin())
    assert plan.bytes - plan.bytes_left == pytest.approx(8 * (8 * 8 * 3 + 60), rel=0.2)


def test_undecodable_photos_in_the_sample_are_reported(dogs: Any) -> None:
    path = dogs.splits["train"][1][0]
    dogs.write(path, b"\xff\xd8\xff")
    told = run(dogs, "--size", "8")
    assert f"1 of these 18 cannot be decoded, such as {path}" in told
    assert "`ablate data verify stanford_dogs` checks all photos" in told


def test_a_disk_that_is_too_small_is_reported(dogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_plan.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1_000_000})())
    assert "free 1 MB there: 17 MB too little" in run(dogs, "--size", "578")


def test_another_process_that_is_packing_is_reported(dogs: Any) -> None:
    folder = pack_folder(dogs.plugin().listing(), dogs.plugin().recipe())
    with held(folder):
        assert f"are being packed by process {os.getpid()} on {socket.gethostname()}" in run(dogs, "--size", "8")
    assert "are being packed" not in run(dogs, "--size", "8")


def test_a_process_killed_while_packing_is_not_reported_as_packing(dogs: Any, tmp_path: Path) -> None:
    folder = pack_folder(dogs.plugin().listing(), dogs.plugin().recipe())
    folder.parent.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"host": socket.gethostname(), "pid": ended.pid, "since": 1.7e9}
    folder.with_name(f"{folder.name}.holder").write_text(json.dumps(holder))
    assert "are being packed" not in run(dogs, "--size", "8")
    holder["host"] = "another-machine"
    folder.with_name(f"{folder.name}.holder").write_text(json.dumps(holder))
    assert f"are being packed by process {ended.pid} on another-machine since 2023-11-1" in run(dogs, "--size", "8")
    folder.with_name(f"{folder.name}.holder").write_text("{")
    assert "are being packed" not in run(dogs, "--size", "8")


def test_data_that_are_not_packed_have_no_plan() -> None:
    with pytest.raises(UsageError, match=r"digits: the data set has no photo files.*omit --plan"):
        data_cli.prepare("digits", plan=True)


def test_missing_photos_are_reported_before_any_photo_is_decoded(dogs: Any) -> None:
    path = dogs.splits["test"][0][0]
    (dogs.root / "Images" / path).unlink()
    with pytest.raises(DataError, match=path):
        plan_pack(dogs.plugin())
