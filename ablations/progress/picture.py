"""A picture of a study at one moment: all that a view shows, as plain values; `snapshot` writes it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from aimlib.records import RunState

SCHEMA_VERSION = 1


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ArmPicture(_Shown):
    """One arm: numbers of runs by state, epochs, and what is known of accuracy and pace.

    `settled` are finished, diverged and pruned together. `accuracy` is the mean after `equal_epoch` over
    `accuracy_runs` runs, `curve` the mean after every epoch, `pace` seconds per epoch.
    """

    name: str
    runs: int
    settled: int = 0
    diverged: int = 0
    pruned: int = 0
    running: int = 0
    waiting: int = 0
    held: int = 0
    failed: int = 0
    paused: int = 0
    stopped: int = 0
    epochs: int = 0
    epochs_done: int = 0
    accuracy: float | None = None
    accuracy_runs: int = 0
    pace: float | None = None
    curve: tuple[float | None, ...] = ()


class RunPicture(_Shown):
    """One running run. `began` and `heard`: seconds since its attempt's start and since its last sign of life."""

    run_id: str
    arm: str
    seed: int
    state: RunState = "running"
    epochs: int
    epochs_done: int
    accuracy: float | None = None
    attempts: int = 1
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    left: float | None = None
    reason: str = ""
    curve: tuple[float | None, ...] = ()


class FailurePicture(_Shown):
    """One failed run: `at` in seconds since the epoch; the traceback where the store was asked."""

    run_id: str
    arm: str
    seed: int
    reason: str = ""
    at: float = 0.0
    traceback: str = ""


class MessagePicture(_Shown):
    """A message for people, and when it came, in seconds since the epoch."""

    at: float
    text: str


class UsePicture(_Shown):
    """How much of a resource is used, of how much there is; 0 where that is not known."""

    used: float
    total: float = 0.0


class Picture(_Shown):
    """A study at one moment; the module's docstring explains every field."""

    schema_version: int = SCHEMA_VERSION
    study: str
    session: str = ""
    host: str = ""
    process: int = 0
    began_at: str = ""
    at: str = ""
    beat: int = 0
    every: float = 5.0
    state: str = "running"
    elapsed: float = 0.0
    quiet: float | None = None
    left: float | None = None
    parallel: int = 1
    resources: Mapping[str, UsePicture] = {}
    repeated: int = 0
    equal_epoch: int = 0
    arms: tuple[ArmPicture, ...] = ()
    running: tuple[RunPicture, ...] = ()
    failures: tuple[FailurePicture, ...] = ()
    messages: tuple[MessagePicture, ...] = ()
    alerts: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return the number of runs in a state: runs, settled, running, waiting, failed, ... over all arms."""
        return sum(getattr(arm, state) for arm in self.arms)

    @property
    def share(self) -> float:
        """Share of all planned epochs that are done, those of settled runs being done."""
        epochs = self.count("epochs")
        return self.count("epochs_done") / epochs if epochs else 1.0

    @property
    def complete(self) -> bool:
        """Whether every run is settled."""
        return self.count("settled") == self.count("runs")
