"""The store is compared with a model: a mapping from run ids to first rows, and a count of failures."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ablations.store import ResultStore, files

from .sample import identity, make_record, rows_in, temporary_files

numbers = st.integers(0, 7)


class Killed(BaseException):
    """Raised to simulate kill -9."""


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.waiting = mock.patch.object(files, "synchronise")  # slow, and has no effect here
        self.waiting.start()
        self.store = ResultStore(self.directory)
        self.kept: dict[str, str] = {}
        self.failed: dict[str, int] = {}
        self.written = 0

    def teardown(self) -> None:
        self.waiting.stop()
        shutil.rmtree(self.directory)

    @rule(number=numbers, status=st.sampled_from(["finished", "diverged", "pruned"]))
    def commit(self, number: int, status: str) -> None:
        self.written += 1
        run_id, mark = identity(number), f"row {self.written}"
        first = self.store.commit(make_record(run_id, status=status, host=mark, epochs=1, images=2))
        assert first == (run_id not in self.kept)
        self.kept.setdefault(run_id, mark)

    @rule(number=numbers)
    def fail(self, number: int) -> None:
        run_id = identity(number)
        self.store.record_failure(make_record(run_id, status="failed", epochs=1, images=2))
        self.failed[run_id] = self.failed.get(run_id, 0) + 1

    @rule(at_least=st.integers(0, 6))
    def compact(self, at_least: int) -> None:
        self.store.compact(at_least)

    @rule(after=st.integers(0, 3))
    def compact_killed(self, after: int) -> None:
        """Die after removing `after` run files."""
        remove, removed = files.remove, 0

        def fragile(path: Path) -> None:
            nonlocal removed
            if removed == after:
                raise Killed
            removed += 1
            remove(path)

        with mock.patch.object(files, "remove", fragile), suppress(Killed):
            self.store.compact(1)
        self.store = ResultStore(self.directory)

    @rule(number=numbers)
    def commit_killed(self, number: int) -> None:
        """Die before the link is made, leaving a dead process's temporary file."""
        name = f".{number:032x}.{files.host_name()}.{2**22 + 1}.tmp"  # above the highest process id
        (self.directory / "runs" / name).write_bytes(b"half a file")

    @rule()
    def reopen(self) -> None:
        self.store = ResultStore(self.directory)

    @rule()
    def clean(self) -> None:
        self.store.clean()
        assert temporary_files(self.directory) == []

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.store.settled() == set(self.kept)
        assert rows_in(self.directory) == self.kept
        assert self.store.failures() == self.failed


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


@pytest.mark.slow
class TestStoreOften(StoreMachine.TestCase):
    """The same property with more examples."""

    settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
