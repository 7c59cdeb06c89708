"""Damaged stored files: the original values are read, or the error names the damaged file."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from aimlib.errors import UsageError

BLOCK = 512
Damage = Callable[[bytearray, random.Random], object]


def flip(content: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random) -> None:
    del content[draw.randrange(len(content)) :]


def zero(content: bytearray, draw: random.Random) -> None:
    at = BLOCK * draw.randrange(len(content) // BLOCK)
    content[at : at + BLOCK] = bytes(BLOCK)


def exchange(content: bytearray, draw: random.Random) -> None:
    one, two = (BLOCK * at for at in draw.sample(range(len(content) // BLOCK), 2))
    content[one : one + BLOCK], content[two : two + BLOCK] = content[two : two + BLOCK], content[one : one + BLOCK]


KINDS: dict[str, Damage] = {"flipped bits": flip, "cut off": cut, "zeroed": zero, "exchanged": exchange}


def everything(directory: Path) -> dict[str, pd.DataFrame]:
    results = analysis.load(directory)
    tables = {name: getattr(results, name) for name in ("runs", "epochs", "models", "images", "missing", "stale")}
    return tables | {"predictions": results.predictions_at("all")}


@pytest.fixture(scope="module", params=[True, False], ids=["segments", "run files"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = [FakeArm("baseline", "baseline"), FakeArm("aim", "treatment", 0.2)]
    fake = FakeStudy(arms, [0, 1, 2], status={("aim", 2): "failed"}, epochs=3, images=120, compacted=request.param)
    return write_study(tmp_path_factory.mktemp("damage") / "study", fake, np.random.default_rng(0))


@pytest.mark.parametrize("tries", [12, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_never_changes_values_without_being_noticed(study: Path, kind: str, tries: int, tmp_path: Path) -> None:
    sound, draw, noticed = everything(study), random.Random(f"{kind} {tries}"), 0
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    files = sorted(path.relative_to(study) for path in study.rglob("*.parquet"))
    for _ in range(tries):
        name = draw.choice(files)
        content = bytearray((study / name).read_bytes())
        KINDS[kind](content, draw)
        (copy / name).write_bytes(content)
        try:
            found = everything(copy)
        except UsageError as error:
            assert str(copy / name) in str(error)  # noqa: PT017 -- an error is one of the two correct outcomes
            noticed += 1
        else:
            for table, frame in sound.items():
                pd.testing.assert_frame_equal(found[table], frame)
        shutil.copyfile(study / name, copy / name)
    assert noticed > tries // 4


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = FakeStudy(arms=[FakeArm("baseline", "baseline", 0.3)], seeds=[0, 1])
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    listdir = os.listdir

    def failing(path: object) -> list[str]:
        if str(path).endswith("runs"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(
        UsageError, match=r"runs: cannot be listed \(Input/output error\); check the disk, and read again"
    ):
        analysis.load(directory)
