"""Tests in several processes: which go together, what each process has for itself, and what is the same in all.

`make test` starts two. A file's tests share a process, and with it their fixtures. Tests that start Ray bear
``pytest.mark.xdist_group("ray")`` and share one process among them: two clusters at a time are too much for two CPUs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

_MOST_WORKERS = 2
_LONGEST_FOLDER = 24
"""Characters: the paths of Ray's sockets have 83 more, and the system allows 107."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Recorded bits are those of one thread, and processes of several would take each other's CPU. Before torch is imported.
os.environ.update(dict.fromkeys(_THREADS, "1"))

hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes of ``-n auto``: no more than the tests are written for."""
    return min(_MOST_WORKERS, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let ``--dist loadgroup`` keep the tests of a file together, unless they bear a group."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class GroupsAndFiles(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = str(super()._split_scope(nodeid))
            return scope.partition("::")[0]

    config.option.loadscopereorder = False
    return GroupsAndFiles(config, log)


def groups(item: pytest.Item) -> set[str]:
    """Return the groups that a test bears."""
    return {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups, the largest pieces of work; files are small and fill up what is left."""
    items.sort(key=lambda item: not groups(item))


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give this process a folder for temporary files, in which no other process' Ray is found."""
    tmp_path_factory.getbasetemp()  # stays where pytest puts it, to be looked at afterwards
    common = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="t-", dir=common if len(common) + 11 <= _LONGEST_FOLDER else "/tmp")
    Path(folder).chmod(0o711)  # tests that are other users pass through
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "RAY_TMPDIR"):
            patch.setenv(name, folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def ray_in_its_group(request: pytest.FixtureRequest, own_temporary_folder: Path) -> Iterator[None]:
    """Fail a test that has started Ray and does not bear the group."""
    before = _sessions(own_temporary_folder)
    yield
    if _sessions(own_temporary_folder) - before and "ray" not in groups(request.node):
        pytest.fail('it starts Ray: give it `@pytest.mark.xdist_group("ray")`', pytrace=False)


def _sessions(folder: Path) -> set[Path]:
    return {path for path in (folder / "ray").glob("session_*") if path.name != "session_latest"}


assert "torch" not in sys.modules, "the number of threads is set too late"
