"""The report of an acceptance step, written as lines of JSON while the step runs, so nothing is lost in a crash."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness import Goal, Row, row

if TYPE_CHECKING:
    import torch


class Skipped(Exception):  # noqa: N818 -- an outcome rather than an error
    """The step cannot be run on this machine; the message states why."""


class Report:
    """The report of a step, written as it runs.

    Parameters
    ----------
    path : the file to which a line of JSON is written for every report.
    device : ``cuda``, or ``cpu`` for a rehearsal, which tests the logic with small networks and whose figures are
        meaningless.
    limit_s : seconds after which the step is ended.
    scratch : an empty folder for the step's files.
    """

    def __init__(self, path: Path, device: str, limit_s: float, scratch: Path) -> None:
        self._path, self._kind, self._ends = path, device, time.monotonic() + limit_s
        self.scratch = scratch

    @property
    def rehearsal(self) -> bool:
        """Whether this is a rehearsal without a GPU."""
        return self._kind == "cpu"

    @property
    def device(self) -> torch.device:
        """The device, with an index if it is a card."""
        import torch

        return torch.device("cpu") if self.rehearsal else torch.device("cuda", torch.cuda.current_device())

    def choose(self, card: Any, rehearsal: Any) -> Any:
        """Return the first value on a card, and the second value in a rehearsal."""
        return rehearsal if self.rehearsal else card

    def left(self) -> float:
        """Return the seconds until the step is terminated."""
        return self._ends - time.monotonic()

    def say(self, kind: str, **content: Any) -> None:
        """Write a line and flush it to disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **content}) + "\n")

    def row(self, case: str, subject: str, values: Sequence[float], unit: str) -> float:
        """Record a measurement with its rounds; return the median."""
        self.say("row", **asdict(row(case, subject, values, unit)))
        return statistics.median(values)

    def goal(self, goal: Goal) -> None:
        """Record a goal; a goal that is missed does not fail the step."""
        self.say("goal", **asdict(goal), met=goal.met)

    def expect(self, holds: bool, text: str, found: str = "") -> bool:
        """Record a requirement, and what was found if it is not met; the step then counts as failed, but continues."""
        self.say("expected", text=text, holds=bool(holds), found="" if holds else found)
        return bool(holds)

    def note(self, text: str) -> None:
        """Record a note."""
        self.say("note", text=text)

    def given_up_without_time(self, what: str) -> None:
        """Start the last part of the step. This part may run out of time without failing the step."""
        self.say("last_part", what=what)

    def unmeasured(self, what: str, why: str) -> None:
        """Record what was left out, with the reason."""
        self.note(f"not measured: {what}: {why}")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    Attributes
    ----------
    status : PASS, FAIL or SKIPPED.
    reason : reason for FAIL or SKIPPED.
    card : card on which the figures were measured: name, uuid, driver, ...; empty for a rehearsal.
    rows, goals, expected, notes : content of the step's report.
    log : the end of the step's output if the step failed.
    """

    number: int
    name: str
    title: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    device: str = "cuda"
    card: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    goals: list[dict[str, Any]] = field(default_factory=list)
    expected: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    log: str = ""


def read(path: Path) -> list[dict[str, Any]]:
    """Return what a step reported, without an incomplete last line."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def as_row(said: dict[str, Any]) -> Row:
    """Return the row that was recorded."""
    return Row(**{name: said[name] for name in Row.__dataclass_fields__})


def as_goal(said: dict[str, Any]) -> Goal:
    """Return the goal that was recorded."""
    return Goal(**{name: said[name] for name in Goal.__dataclass_fields__})
