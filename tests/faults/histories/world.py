"""Simulated processes that take turns under one clock, in an order drawn from a seed.

Every task is a thread, of which exactly one runs at a time. A task runs until it calls `World.switch`, as the
replacement functions for time, locks and storage do. No other functions are replaced, so the store's real code runs. A
killed process never runs again until the schedule has ended; not even its ``finally`` blocks run.
"""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ablations.store import files, leases

_SWITCHES = 400_000
"""Number of switches after which a schedule counts as endless."""


_LONGEST_S = 300.0
"""Seconds of real time after which a schedule counts as hanging; a schedule takes about a second."""


class Killed(BaseException):
    """The process of a task was killed, or the schedule has ended."""


@dataclass(eq=False)
class Process:
    """A simulated process.

    Attributes
    ----------
    number : id of the process, greater than all real process ids.
    rate : seconds on the process's monotonic clock per second of the world's time.
    wall : seconds by which the process's wall clock is ahead.
    stopped_until, cut_off_until : the world's time until which the process is stopped, or cannot reach the storage.
    hangs : whether requests hang, instead of failing immediately, while the process is cut off.
    """

    name: str
    number: int
    rate: float = 1.0
    wall: float = 0.0
    alive: bool = True
    stopped_until: float = 0.0
    cut_off_until: float = 0.0
    hangs: bool = False


@dataclass(eq=False)
class _Task:
    process: Process
    daemon: bool
    wake: float
    ready: Callable[[], bool] | None = None
    baton: Any = field(default_factory=threading.Semaphore)
    thread: threading.Thread | None = None


class World:
    """All processes in one schedule.

    Parameters
    ----------
    seed : seed for all random choices.
    """

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.errors: list[str] = []
        self.at_death: list[Callable[[Process], None]] = []
        self.current: _Task | None = None
        self._began = time.time()
        self._processes: list[Process] = []
        self._tasks: list[_Task] = []
        self._dead: list[_Task] = []
        self._over = False
        self._done = threading.Semaphore(0)
        self._switches = 0

    def process(self, name: str) -> Process:
        """Return a new process, whose monotonic clock is slightly faster or slower than the world's clock."""
        found = Process(name, 2**22 + 1 + len(self._processes), self.chance.uniform(0.99, 1.01))
        self._processes.append(found)
        return found

    def start(
        self, process: Process, function: Callable[[], object], *, daemon: bool = False, after: float = 0.0
    ) -> None:
        """Start a task in a process; unless it is a daemon, the process ends when the task ends."""
        task = _Task(process, daemon, self.now + after, baton=threading.Semaphore(0))
        task.thread = threading.Thread(target=self._run, args=(task, function), daemon=True)
        self._tasks.append(task)
        task.thread.start()

    def kill(self, process: Process) -> None:
        """Kill a process as `kill -9` does."""
        process.alive = False
        self._dead += [task for task in self._tasks if task.process is process]
        self._tasks = [task for task in self._tasks if task.process is not process]
        for act in self.at_death:
            act(process)

    def go(self) -> None:
        """Run until every task that is not a daemon has ended; then end the daemons."""
        if self._tasks:
            self._pass_on(self._next())
            if not self._done.acquire(timeout=_LONGEST_S):
                raise TimeoutError(f"the schedule hangs at {self.now:.0f} s")
        self._over = True
        for task in [*self._tasks, *self._dead]:
            assert task.thread is not None
            self.current = task
            task.baton.release()
            task.thread.join()
        self.current = None

    def switch(self, seconds: float = 0.0, ready: Callable[[], bool] | None = None) -> None:
        """Let other tasks run for a number of seconds, or until a condition is true."""
        task = self.current
        assert task is not None, "only tasks wait"
        if self._over:
            raise Killed
        task.wake, task.ready = self.now + seconds, ready
        following = self._next()
        if following is not task:  # as after a task has killed its own process
            self._pass_on(following)
            task.baton.acquire()
        if self._over:
            raise Killed

    def clock(self) -> float:
        """Return the current process's monotonic clock, in seconds."""
        return self.now * self.here.rate + 1000.0

    @property
    def here(self) -> Process:
        """The process to which the current task belongs."""
        assert self.current is not None
        return self.current.process

    def is_alive(self, number: int) -> bool:
        """Return whether a process with this id is running."""
        return any(process.number == number and process.alive for process in self._processes)

    def _run(self, task: _Task, function: Callable[[], object]) -> None:
        task.baton.acquire()
        try:
            if not self._over:
                function()
        except Killed:
            pass
        except BaseException:
            self.errors.append(f"{task.process.name}: {traceback.format_exc()}")
        if self._over:
            return
        self._tasks.remove(task)
        if not task.daemon:
            self.kill(task.process)
        self._pass_on(self._next())

    def _pass_on(self, following: _Task | None) -> None:
        self.current = following
        (self._done if following is None else following.baton).release()

    def _next(self) -> _Task | None:
        """Return the task that runs next; None if only daemons are left."""
        self._switches += 1
        if self._switches > _SWITCHES:
            self.errors.append(f"the schedule does not end: {self._switches} switches in {self.now:.0f} s")
            return None
        if all(task.daemon for task in self._tasks):
            return None
        times = [(self._time_of(task), task) for task in self._tasks]
        self.now = max(self.now, min(at for at, _ in times))
        if self.now == inf:
            self.errors.append("every task waits for another")
            return None
        return self.chance.choice([task for at, task in times if at <= self.now])

    def _time_of(self, task: _Task) -> float:
        at = self.now if task.ready is not None and task.ready() else task.wake
        return max(at, task.process.stopped_until)


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Replace clocks, waiting, process ids and lease threads with simulated versions, in tasks only."""
    real = SimpleNamespace(sleep=time.sleep, time=time.time, monotonic=time.monotonic, getpid=os.getpid)

    def sleep(seconds: float) -> None:
        real.sleep(seconds) if world.current is None else world.switch(seconds)

    def wall() -> float:
        return real.time() if world.current is None else world._began + world.now + world.here.wall

    def monotonic() -> float:
        return real.monotonic() if world.current is None else world.clock()

    def getpid() -> int:
        return real.getpid() if world.current is None else world.here.number

    identifiers = random.Random(world.chance.random())
    replaced: Iterable[tuple[Any, str, Any]] = [
        (time, "sleep", sleep),
        (time, "time", wall),
        (time, "monotonic", monotonic),
        (os, "getpid", getpid),
        (uuid, "uuid4", lambda: uuid.UUID(int=identifiers.getrandbits(128), version=4)),
        (files, "is_alive", world.is_alive),
        (leases, "threading", _threading(world)),
    ]
    random.seed(world.chance.random())
    with ExitStack() as stack:
        for where, name, replacement in replaced:
            stack.enter_context(mock.patch.object(where, name, replacement))
        yield


def _threading(world: World) -> Any:
    """Return replacements, for tasks, of the parts of `threading` that leases use."""

    class Thread:
        def __init__(self, target: Callable[[], object], name: str, daemon: bool) -> None:
            self._target = target

        def start(self) -> None:
            world.start(world.here, self._target, daemon=True)

    return SimpleNamespace(Event=lambda: _Event(world), Lock=lambda: _Lock(world), Thread=Thread)


class _Event:
    def __init__(self, world: World) -> None:
        self._world, self._set = world, False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float = inf) -> bool:
        self._world.switch(timeout, self.is_set)
        return self._set


class _Lock:
    def __init__(self, world: World) -> None:
        self._world, self._held = world, False

    def __enter__(self) -> None:
        while self._held:
            self._world.switch(inf, lambda: not self._held)
        self._held = True

    def __exit__(self, *error: object) -> None:
        self._held = False
