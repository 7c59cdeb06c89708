"""Two users in a group share a study directory and a cache. Other users have no access. The tests need root in order to
act as both users.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_study import changed, numbers, rows, write

from aimlib.paths import make_folder, share

ROOT = Path(__file__).resolve().parents[3]
GROUP, FIRST, SECOND, STRANGER = 30100, 30001, 30002, 30003


# Modes, tested as any user


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077])
def strict(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_created_in_the_group_folder_belong_to_the_group(tmp_path: Path, strict: int) -> None:
    top = tmp_path / "lab"
    top.mkdir()
    top.chmod(0o2770)
    make_folder(top / "results" / "study")
    for folder in (top / "results", top / "results" / "study"):
        assert mode(folder) & 0o2070 == 0o2070
    file = top / "results" / "study" / "row"
    file.touch()
    share(file)
    assert mode(file) & 0o060 == 0o060
    assert mode(file) & 0o007 == (0o666 & ~strict) & 0o007, "other users have no permissions"


@pytest.mark.parametrize("given", [0o755, 0o775, 0o2755, 0o700])
def test_permissions_outside_such_folders_are_not_changed(tmp_path: Path, given: int, strict: int) -> None:
    top = tmp_path / "own"
    top.mkdir()
    top.chmod(given)
    make_folder(top / "study")
    (top / "study" / "row").touch()
    share(top / "study" / "row")
    assert mode(top / "study") & 0o777 == 0o777 & ~strict
    assert mode(top / "study" / "row") == 0o666 & ~strict


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


# Two users


class Lab:
    """A group's folder, and a Python interpreter that every user on this machine can start."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python

    def run(self, user: int, script: str, *arguments: object, umask: int = 0o077) -> subprocess.CompletedProcess[str]:
        home = self.folder.parent / f"home-{user}"
        if not home.exists():
            home.mkdir()
            os.chown(home, user, user)
        packages = [path for path in sys.path if path.endswith("site-packages")]
        environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]),
            "LD_LIBRARY_PATH": str(self.python.parents[1] / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "AIM_CACHE_DIR": str(self.folder / "packed"),
        }
        return subprocess.run(
            [str(self.python), "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=home,
            env=environment,
            user=user,
            group=user,
            extra_groups=[] if user == STRANGER else [GROUP],
            umask=umask,
        )


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("only root can act as two other users")
    top = Path(tempfile.mkdtemp(prefix="aim-lab-"))  # pytest's own folders are closed to other users
    top.chmod(0o755)
    mounted = top / "python"
    mounted.mkdir()
    try:
        bound = subprocess.run(["mount", "--bind", sys.base_prefix, str(mounted)], capture_output=True, text=True)
        if bound.returncode:
            pytest.skip(f"other users may not see this Python, and it cannot be mounted: {bound.stderr.strip()}")
        folder = top / "lab"
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2770)
        (folder / "packed").mkdir()
        (folder / "packed").chmod(0o2770)
        lab = Lab(folder, mounted / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
        sees = lab.run(FIRST, "import torch, pyarrow.parquet, ablations")
        if sees.returncode:
            pytest.skip(f"other users may not read the packages: {sees.stderr.strip().splitlines()[-1]}")
        yield lab
    finally:
        subprocess.run(["umount", "-l", str(mounted)], capture_output=True)
        shutil.rmtree(top, ignore_errors=True)


HALF = """
import sys
from ablations.planning import plan as planning
from ablations.sessions import launch
from ablations.spec.study import read_study
plan = planning.plan(read_study(sys.argv[1]))
session = launch.run(sys.argv[1], sys.argv[2], executor="inline", until={plan.runs[-1].run_id: 1})
print(session.computed, len(session.paused), len(session.failed))
"""
WHOLE = """
import sys
import analysis
from ablations.sessions import launch
session = launch.run(sys.argv[1], sys.argv[2], sys.argv[3:], executor="inline")
analysis.report(session.directory)
print(session.settled_before, session.computed, len(session.failed), len(session.open))
"""


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o077])
def test_another_user_in_the_group_can_finish_a_study(lab: Lab, umask: int, tmp_path: Path) -> None:
    study, out = write(lab.folder, changed({"seeds": 2}), "study.yaml"), lab.folder / "results" / "tiny"
    study.chmod(0o644)
    half = lab.run(FIRST, HALF, study, out, umask=umask)
    assert half.stdout.split() == ["3", "1", "0"], half.stderr[-2000:]
    assert list((out / "checkpoints").iterdir()), "a run is half finished"
    whole = lab.run(SECOND, WHOLE, study, out, umask=umask)
    assert whole.stdout.split() == ["3", "1", "0", "0"], whole.stderr[-2000:]
    assert not list((out / "checkpoints").iterdir())
    more = lab.run(FIRST, WHOLE, study, out, "seeds=3", umask=umask)
    assert more.stdout.split() == ["4", "2", "0", "0"], more.stderr[-2000:]
    owners = {path.stat().st_uid for path in (out / "runs").iterdir()}
    assert owners == {FIRST, SECOND}
    for path in out.rglob("*"):
        assert path.stat().st_gid == GROUP, path
        assert mode(path) & 0o060 == 0o060, f"{path} {mode(path):o}"
    from ablations.sessions import launch

    alone = launch.run(write(tmp_path, changed({"seeds": 3})), tmp_path / "alone", executor="inline")
    assert alone.computed == 6
    ours, theirs = numbers(out), numbers(tmp_path / "alone")
    assert ours == theirs, "a run that one user started and another finished is bitwise identical"
    assert len(rows(out)) == 6
    stranger = lab.run(STRANGER, WHOLE, study, out, umask=umask)
    assert stranger.returncode != 0


PACK = """
import sys
from aimlib.registry import datasets
plugin = datasets.create(datasets.parse({"name": "image_folder", "root": sys.argv[1], "classes": 2, "size": 8}))
decoded = []
plugin.pack(lambda what, done, total: decoded.append(done))
print(len(decoded), plugin.load().fingerprint)
"""


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_photos_packed_by_one_user_are_used_and_replaced_by_another(lab: Lab, umask: int) -> None:
    photos = lab.folder / "photos"
    for number in range(8):
        path = photos / ("train" if number < 4 else "test") / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), number * 9, np.uint8)).save(path)
    for path in photos.rglob("*"):
        path.chmod(0o2775 if path.is_dir() else 0o664)
    photos.chmod(0o2775)
    packed = lab.run(FIRST, PACK, photos, umask=umask)
    assert packed.stdout.split()[0] == "8", packed.stderr[-2000:]
    used = lab.run(SECOND, PACK, photos, umask=umask)
    assert used.stdout.split() == ["0", packed.stdout.split()[1]], used.stderr[-2000:]
    Image.fromarray(np.full((9, 9, 3), 255, np.uint8)).save(path := photos / "train" / "class_0" / "0.png")
    replaced = lab.run(SECOND, PACK, photos, umask=umask)
    assert replaced.stdout.split()[0] == "8", replaced.stderr[-2000:]
    os.utime(path, (1, 1))
    touched = lab.run(FIRST, PACK, photos, umask=umask)
    assert touched.stdout.split() == ["0", replaced.stdout.split()[1]], touched.stderr[-2000:]
