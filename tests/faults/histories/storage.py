"""Simulated storage: an in-memory bucket and a directory, both slow and unreliable.

Requests and answers take time to arrive, and either may be lost. A request may also arrive long after its client has
given up or was killed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest import mock

from ablations.store import file_locks, inspection, parquet_files, run_locks
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.object_store import Address, Entry, Version
from analysis.reading import files as reading

from .events import Recorder
from .world import Process, World

_TIMEOUT_S = 60.0
LATE_S = 200.0
"""Maximum duration of a request, in seconds."""


@dataclass(frozen=True)
class Conditions:
    """How unreliable the storage is.

    Attributes
    ----------
    latency : mean travel time of a request or an answer, in seconds.
    slow : probability that a request or an answer takes a hundred times as long.
    lost : probability that a request, or its answer, is lost.
    late : probability that a request that makes a change arrives up to 200 s later.
    """

    latency: float = 0.02
    slow: float = 0.0
    lost: float = 0.0
    late: float = 0.0


class Network:
    """The connection between all processes and the storage."""

    def __init__(self, world: World, conditions: Conditions, recorder: Recorder) -> None:
        self._world, self._conditions, self._recorder = world, conditions, recorder
        self._carrier = world.process("network")
        self.reliable = False
        self.meet: Callable[[Process], None] = lambda process: None
        """Called in the middle of every request, when a fault may hit the process."""

    def ask(self, apply: Callable[[], Any], failed: Callable[[], Exception], *, changes: bool = False) -> Any:
        """Return the answer to a request; raise the result of `failed` if the process gets no answer."""
        world, here = self._world, self._world.here
        self._travel()
        self._met()
        while world.now < here.cut_off_until:
            if not here.hangs:
                raise failed()
            world.switch(min(_TIMEOUT_S, here.cut_off_until - world.now))
        fate = world.chance.random()
        if not self.reliable and fate < self._conditions.lost:
            self._recorder.fault("request or answer lost", here.name)
            if world.chance.random() < 0.5:
                apply()
            world.switch(_TIMEOUT_S)
            raise failed()
        if not self.reliable and changes and fate < self._conditions.lost + self._conditions.late:
            return self._late(apply, failed)
        answer = apply()
        self._met()
        self._travel()
        return answer

    def _met(self) -> None:
        if not self.reliable:
            self.meet(self._world.here)
            self._world.switch()  # returns when the process is continued; never if it was killed

    def _travel(self) -> None:
        seconds = self._world.chance.expovariate(1.0) * self._conditions.latency
        if not self.reliable and self._world.chance.random() < self._conditions.slow:
            seconds *= 100
        self._world.switch(seconds if self._world.chance.random() < 0.7 else 0.0)

    def _late(self, apply: Callable[[], Any], failed: Callable[[], Exception]) -> Any:
        self._recorder.fault("request arrives late", self._world.here.name)
        answers: list[Any] = []

        def arrive() -> None:
            try:
                answers.append(apply())
            except Exception as error:  # the error is the storage's answer
                answers.append(error)

        self._world.start(self._carrier, arrive, daemon=True, after=self._world.chance.uniform(0.0, LATE_S))
        self._world.switch(_TIMEOUT_S, lambda: bool(answers))
        if not answers:
            raise failed()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]


@dataclass
class _Object:
    content: bytes
    tag: str
    written: float
    writer: str


class Bucket:
    """The functions of `aimlib.object_store`, implemented with a mapping."""

    NAMES = ("get", "get_start", "head", "listing", "put", "delete", "opened")

    def __init__(self, world: World, network: Network) -> None:
        self._world, self._network = world, network
        self._objects: dict[str, _Object] = {}

    def get(self, address: Address) -> tuple[bytes, str]:
        found = self._ask(address, lambda: self._objects.get(str(address)))
        if found is None:
            raise FileNotFoundError(f"{address}: does not exist")
        return found.content, found.tag

    def get_start(self, address: Address, size: int) -> tuple[bytes, bool]:
        content, _ = self.get(address)
        return content[:size], len(content) <= size

    def opened(self, address: Address) -> io.BytesIO:
        return io.BytesIO(self.get(address)[0])

    def head(self, address: Address) -> Version | None:
        def look() -> Version | None:
            found = self._objects.get(str(address))
            return found and Version(found.tag, self._world.now - found.written, found.writer)

        return self._ask(address, look)

    def listing(self, address: Address) -> list[Entry]:
        def look() -> list[Entry]:
            prefix, names = f"{address}/", dict[str, Entry]()
            for key, found in sorted(self._objects.items()):
                if key.startswith(prefix):
                    name, below, _ = key.removeprefix(prefix).partition("/")
                    age = 0.0 if below else self._world.now - found.written
                    names[name] = Entry(name, age, bool(below))
            return list(names.values())

        return self._ask(address, look)

    def put(self, address: Address, content: bytes, *, create: bool = False, match: str | None = None) -> str | None:
        mark = uuid.uuid4().hex

        def write() -> str | None:
            there = self._objects.get(str(address))
            if (create and there is not None) or (match is not None and (there is None or there.tag != match)):
                return None
            tag = hashlib.md5(content).hexdigest()
            self._objects[str(address)] = _Object(content, tag, self._world.now, mark)
            return tag

        return self._ask(address, write, changes=True)

    def delete(self, address: Address) -> None:
        self._ask(address, lambda: self._objects.pop(str(address), None), changes=True)

    def _ask(self, address: Address, apply: Callable[[], Any], *, changes: bool = False) -> Any:
        return self._network.ask(apply, lambda: StoreError(f"{address}: the storage does not answer"), changes=changes)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the store use this bucket."""
        with ExitStack() as stack:
            for name in self.NAMES:
                stack.enter_context(mock.patch.object(object_store, name, getattr(self, name)))
            yield


class Directory:
    """Operating system calls on files below a folder, each of which becomes a request to unreliable storage."""

    _CALLS = ("link", "unlink", "replace", "rename", "mkdir", "rmdir", "listdir")

    def __init__(self, root: Path, world: World, network: Network) -> None:
        self._root, self._world, self._network = str(root), world, network
        self._locks: dict[Process, list[file_locks.FileLock]] = {}
        world.at_death.append(self._release)

    def _release(self, process: Process) -> None:
        for lock in self._locks.pop(process, []):
            lock.abandon()

    def _is_mine(self, path: Any) -> bool:
        if self._world.current is None or not isinstance(path, (str, os.PathLike)):
            return False
        return os.fspath(path).startswith(self._root)

    def _request(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def requested(path: Any, *arguments: Any, **options: Any) -> Any:
            if not self._is_mine(path):
                return call(path, *arguments, **options)
            found = self._ask(path, lambda: call(path, *arguments, **options))
            return sorted(found) if isinstance(found, list) else found

        return requested

    def _ask(self, path: Any, call: Callable[[], Any]) -> Any:
        """Make a call; its error, if any, is part of the answer, which may be lost like any other answer."""

        def answer() -> Any:
            try:
                return call()
            except OSError as error:
                return error

        found = self._network.ask(answer, lambda: OSError(errno.EIO, os.strerror(errno.EIO), str(path)))
        if isinstance(found, OSError):
            raise found
        return found

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Send the calls on files below the folder through the network."""
        directory, world = self, self._world

        class Lock(file_locks.FileLock):
            def __init__(self, path: Path) -> None:
                super().__init__(path)
                if world.current is not None:
                    directory._locks.setdefault(world.here, []).append(self)

        flock = fcntl.flock

        def slow_flock(handle: int, mode: int) -> None:
            if world.current is not None:
                world.switch()
            flock(handle, mode)

        def no_sync(handle: int) -> None:
            if world.current is not None:
                world.switch()

        def for_arrow(path: Path) -> Path:
            if world.current is not None:
                self._ask(path, path.stat)
            return path

        replaced: list[tuple[Any, str, Any]] = [(os, name, self._request(getattr(os, name))) for name in self._CALLS]
        replaced += [(os, "fsync", no_sync), (fcntl, "flock", slow_flock)]
        replaced += [(module, "FileLock", Lock) for module in (file_locks, run_locks)]
        replaced += [(module, "for_arrow", for_arrow) for module in (parquet_files, reading, inspection)]
        with ExitStack() as stack:
            for where, name, replacement in replaced:
                stack.enter_context(mock.patch.object(where, name, replacement))
            yield


class Sequential:
    """A replacement for a thread pool that calls functions immediately, in the current task."""

    def __init__(self, threads: int = 1) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, function: Callable[[Any], Any], values: Any) -> Iterator[Any]:
        return iter([function(value) for value in values])


@contextmanager
def sequential_reading() -> Iterator[None]:
    """Make functions read files one after another, in the same order each time that a schedule is repeated."""
    with ExitStack() as stack:
        for module in (reading, inspection):
            stack.enter_context(mock.patch.object(module, "ThreadPoolExecutor", Sequential))
        yield
