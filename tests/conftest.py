"""What tests of several packages need."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_server

pytest_plugins = ["parallel"]
PHOTOS = "AIM_STANFORD_DOGS"


@pytest.fixture(scope="session")
def stanford_dogs_root() -> Path:
    """Return a tree with real photos of Stanford Dogs, or skip."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "stanford-dogs-20"
    root = Path(os.environ.get(PHOTOS) or beside)
    if not (root / "Images").is_dir():
        pytest.skip(f"no photos of Stanford Dogs: {PHOTOS} names no tree with Images, and there is none at {beside}")
    return root


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Return the URL of a bucket on a server of this machine, which this process and its children are set up for."""
    if (reason := s3_server.missing()) is not None:
        pytest.skip(reason)
    with s3_server.running() as environment, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).call_s3("create_bucket", Bucket=s3_server.BUCKET)
        yield f"s3://{s3_server.BUCKET}"


@pytest.fixture
def remote(bucket: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a folder in which nothing is; copies of its checkpoints stay in the test's own folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("copies")))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return f"{bucket}/{uuid.uuid4().hex}/study"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that makes a file system of a size, such as 1m; it skips where mounting is not allowed."""
    mounted: list[str] = []

    def make(size: str) -> Path:
        disk = tmp_path / f"disk-{len(mounted)}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system: {done.stderr.decode().strip()}")
        mounted.append(str(disk))
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "-l", disk], check=True)
