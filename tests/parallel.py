"""Tests in several processes: the tests' groups, each process's folders, and the settings for all processes.

`make test` starts two processes. A file's tests share a process and therefore their fixtures. Tests that start Ray are
marked with ``pytest.mark.xdist_group("ray")`` and share one process, because two clusters at the same time are too much
for two CPUs. The longest files run first, so that all processes finish at about the same time.
"""

from __future__ import annotations

import gc
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
_HERE = Path(__file__).parent
_DEAREST = (
    "ablations/search/test_search_rounds.py",
    "security/test_planted_files.py",
    "ablations/store/test_save_slots.py",
    "ablations/execution/test_inline_runs.py",
    "aimlib/training/test_checkpoint_manager.py",
    "aimlib/training/test_graph_steps.py",
    "analysis/figures/test_report_figures.py",
    "analysis/report/test_report_page.py",
    "security/test_planted_names.py",
    "ablations/sessions/test_killed_drivers.py",
    "ablations/search/test_search_storage.py",
    "ablations/search/test_search_space.py",
    "analysis/figures/test_sweep_figures.py",
    "analysis/report/test_many_arms.py",
    "ablations/commands/test_command_line.py",
    "ablations/execution/test_signals.py",
    "test_surface.py",
)
"""Files that take more than 15 seconds of CPU time, longest first."""
_LONGEST_FOLDER = 24
"""Maximum length of a folder's path: Ray's socket paths have 83 more characters, and the system allows 107."""
_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 * 2**30
"""Required free space in bytes: a session leaves less than half a gigabyte."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Tests use one thread, because reference results were recorded with one thread, and because several processes share the
# CPUs. The variables must be set before torch is imported.
os.environ.update(dict.fromkeys(_THREADS, "1"))


def _in_memory(folder: Path) -> bool:
    """Return whether a folder is writable and has space for a session's temporary files."""
    return os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= _ENOUGH_BYTES


# A test writes dozens of small files, and a busy disk takes milliseconds for each file. The variable must be set before
# pytest reads it.
if "TMPDIR" not in os.environ and _in_memory(_MEMORY):
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None

hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes for ``-n auto``: at most the number that the tests support."""
    return min(_MOST_WORKERS, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Make ``--dist loadgroup`` keep a file's tests together, unless they have a group."""
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
    """Return the groups to which a test belongs."""
    return {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups, which take longest, and the slow files, so that processes finish at the same time."""
    if missing := [name for name in _DEAREST if not (_HERE / name).is_file()]:
        raise pytest.UsageError(f"{__file__}: _DEAREST names files that do not exist: {', '.join(missing)}")
    places = {str(_HERE / name): place for place, name in enumerate(_DEAREST)}
    items.sort(key=lambda item: (not groups(item), places.get(str(item.path), len(places))))


@pytest.fixture(scope="module", autouse=True)
def no_old_objects() -> None:
    """Restrict the garbage collector to this module's objects.

    The garbage collector is called after every run, and would take half a second with the objects from all modules,
    such as torch.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give this process its own folder for temporary files, separate from the Ray sessions of other processes."""
    tmp_path_factory.getbasetemp()  # stays in pytest's folder for inspection
    common = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="t-", dir=common if len(common) + 11 <= _LONGEST_FOLDER else "/tmp")
    Path(folder).chmod(0o711)  # tests that act as other users need access
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "RAY_TMPDIR"):
            patch.setenv(name, folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Make `os.fsync` return immediately, because the suite writes tens of thousands of files, and no test simulates a
    power failure. Tests of synchronization replace `os.fsync` themselves. Child processes do synchronize.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: os.fstat(handle) and None)  # a closed file is still an error
        yield


@pytest.fixture(autouse=True)
def ray_in_its_group(request: pytest.FixtureRequest, own_temporary_folder: Path) -> Iterator[None]:
    """Fail a test that has started Ray but is not in Ray's group."""
    before = _sessions(own_temporary_folder)
    yield
    if _sessions(own_temporary_folder) - before and "ray" not in groups(request.node):
        pytest.fail('this test starts Ray: mark it with `@pytest.mark.xdist_group("ray")`', pytrace=False)


def _sessions(folder: Path) -> set[Path]:
    return {path for path in (folder / "ray").glob("session_*") if path.name != "session_latest"}


assert "torch" not in sys.modules, "the number of threads is set too late"
