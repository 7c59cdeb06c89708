"""Random schedules: a few processes that compute one study, and faults, all determined by a seed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

from store.sample import identity

from ablations.store import Terms

from .actors import Actor
from .checker import Violation, check
from .events import History, Recorder, parsed
from .records import record
from .storage import LATE_S, Bucket, Conditions, Directory, Network, sequential_reading
from .world import Process, World, installed

Storage = Literal["bucket", "directory"]
_TERM_S = 60.0
_HORIZON_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """The result of a schedule.

    Attributes
    ----------
    lines : the recorded history.
    problems : violations of the model, and exceptions that are not store errors, as text.
    """

    seed: int
    lines: list[str]
    history: History
    violations: list[Violation]
    problems: list[str]


def play(storage: Storage, seed: int) -> Outcome:
    """Execute a seed's schedule with the store's real code, and check the resulting history."""
    lines: list[str] = []
    recorder = Recorder(lines.append)
    world = World(f"{storage} {seed}")
    with _simulated(world, storage, recorder) as (where, network):
        schedule = _Schedule(world, recorder, where, network)
        schedule.play()
    lines = [line.replace(where, "STUDY") for line in lines]  # a temporary folder has a different name every time
    history = parsed(lines)
    violations = check(history, schedule.runs)
    repairs = [each for each in history.operations if each.name == "repair" and each.outcome == "ok" and each.result]
    problems = [*map(str, violations), *world.errors, *(f"an intact file was set aside: {each}" for each in repairs)]
    return Outcome(seed, lines, history, violations, problems)


@contextmanager
def _simulated(world: World, storage: Storage, recorder: Recorder) -> Iterator[tuple[str, Network]]:
    chance = world.chance
    conditions = Conditions(
        latency=chance.choice([0.0, 0.02, 0.5]),
        slow=chance.choice([0.0, 0.0, 0.02]),
        lost=chance.choice([0.0, 0.0, 0.02]),
        late=chance.choice([0.0, 0.03, 0.1]),
    )
    network = Network(world, conditions, recorder)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="schedule-", dir=_fast())))
        copies = folder / "copies"
        copies.mkdir()
        stack.enter_context(mock.patch.object(tempfile, "tempdir", str(copies)))
        stack.enter_context(installed(world))
        stack.enter_context(sequential_reading())
        if storage == "bucket":
            stack.enter_context(Bucket(world, network).installed())
            yield "s3://a-bucket/study", network
        else:
            (folder / "study").mkdir()
            stack.enter_context(Directory(folder / "study", world, network).installed())
            yield str(folder / "study"), network


def _fast() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class _Schedule:
    """The processes in a schedule, and their faults."""

    def __init__(self, world: World, recorder: Recorder, where: str, network: Network) -> None:
        self._world, self._recorder, self._where, self._network = world, recorder, where, network
        self.runs = [identity(number) for number in range(world.chance.randint(6, 10))]
        self._processes: dict[Process, Callable[[], None]] = {}
        self._terms = Terms(_TERM_S, world.clock, world.switch)
        self._started = 0
        self._complete = False
        self._end = _HORIZON_S + LATE_S
        self._rate = world.chance.choice([0.0, 0.003, 0.01])
        self._duel = world.chance.random() < 1 / 3
        """Whether processes are stopped one at a time, each until other processes have taken over its runs."""
        if self._duel:
            self._rate = 0.0
        network.meet = self._meet

    def play(self) -> None:
        """Run all processes."""
        chance = self._world.chance
        for role, number in (("worker", chance.randint(2, 3)), ("driver", chance.randint(1, 2)), ("reader", 1)):
            for _ in range(number):
                self._start(role, chance.uniform(0.0, 5.0))
        self._world.start(self._world.process("faults"), self._disturb)
        self._world.go()

    def _working(self) -> bool:
        return self._world.now < _HORIZON_S and not self._complete

    def _watching(self) -> bool:
        return self._world.now < self._end

    def _start(self, role: str, after: float) -> None:
        self._started += 1
        process = self._world.process(f"{role} {self._started}")
        actor = self._actor(process.name)
        acts = {"worker": actor.work, "driver": actor.drive, "reader": actor.watch}

        def act() -> None:
            acts[role](self._working if role == "worker" else self._watching)
            self._complete = True  # a worker has found no open run

        self._world.start(process, act, after=after)
        self._processes[process] = lambda: self._start(role, self._world.chance.uniform(0.0, 20.0))

    def _actor(self, name: str) -> Actor:
        seed = self._world.chance.random()
        return Actor(
            name, self._where, self.runs, self._recorder, random.Random(seed), record, self._world.switch, self._terms
        )

    def _disturb(self) -> None:
        """Inject faults, let everything recover, and finish the study."""
        world, chance = self._world, self._world.chance
        faults = chance.sample([self._kill, self._stop, self._cut_off, self._jump], chance.randint(1, 4))
        mean = chance.choice([8.0, 25.0, 80.0])
        if self._duel:
            faults, mean = [self._stop], 40.0
        while self._working():
            world.switch(chance.expovariate(1.0) * mean)
            living = [process for process in self._processes if process.alive and self._is_hit(process)]
            if living and self._working():
                chance.choice(faults)(chance.choice(living))
        world.switch(LATE_S)  # late requests arrive, and readers may see their effects
        self._network.reliable = True
        self._end = world.now
        for process in self._processes:
            process.stopped_until = process.cut_off_until = 0.0
        last = self._actor("last driver")
        world.switch(5.0)
        last.finish()

    def _is_hit(self, process: Process) -> bool:
        if not self._duel:
            return True
        return process.name.startswith("worker") and all(
            each.stopped_until <= self._world.now for each in self._processes
        )

    def _meet(self, process: Process) -> None:
        """Kill or stop a process in the middle of a request."""
        if self._working() and process in self._processes and self._world.chance.random() < self._rate:
            self._world.chance.choice([self._kill, self._stop])(process)

    def _kill(self, process: Process) -> None:
        self._recorder.fault("process killed", process.name)
        self._world.kill(process)
        self._processes[process]()

    def _stop(self, process: Process) -> None:
        self._recorder.fault("process stopped", process.name)
        seconds = self._world.chance.uniform(80.0, 200.0) if self._duel else self._world.chance.uniform(5.0, 120.0)
        process.stopped_until = self._world.now + seconds

    def _cut_off(self, process: Process) -> None:
        process.hangs = self._world.chance.random() < 0.5
        self._recorder.fault("storage hangs" if process.hangs else "storage does not answer", process.name)
        process.cut_off_until = self._world.now + self._world.chance.choice([5.0, 50.0, 120.0])

    def _jump(self, process: Process) -> None:
        self._recorder.fault("clock jumps", process.name)
        process.wall += self._world.chance.choice([-86_400.0, -3600.0, 3600.0, 2 * 86_400.0])
