"""What became of the configurations that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "unbuildable"]
"""complete: every run reached its own end; pruned: stopped at a rung, so that its accuracy is censored; failed: a run
of it failed; unbuildable: there is no such network, or a control of the arm could not follow it."""


@dataclass(frozen=True)
class Outcome:
    """What came of a configuration.

    Attributes
    ----------
    state : see `State`.
    value : mean validation accuracy of the runs' selected epochs, a fraction; None unless complete.
    reason : why there is no value.
    rungs : epochs after which each rung ended that it was in, and its mean validation accuracy after as many.
    epochs, seconds : trained in all of its runs; wall time over the runs.
    """

    state: State
    value: float | None = None
    reason: str = ""
    rungs: tuple[tuple[int, float], ...] = ()
    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Attributes
    ----------
    arm : the arm that is searched.
    number : from 0, within the arm.
    drawn : what the search chose, by the parameters' names.
    document : what it says of the arm: keys model, data and training.
    identity : text that is equal for equal configurations; empty where it cannot be built.
    run_ids : its runs in the screening, seed by seed.
    repeats : name of the earlier trial that has the same configuration, and whose outcome this one has; or empty.
    outcome : what came of it.
    """

    arm: str
    number: int
    drawn: Mapping[str, Any]
    document: Mapping[str, Any]
    identity: str
    run_ids: tuple[str, ...]
    repeats: str
    outcome: Outcome = field(default_factory=lambda: Outcome("unbuildable"))

    @property
    def name(self) -> str:
        """Name of its arm in the screening."""
        return trial_name(self.arm, self.number)

    @property
    def value(self) -> float | None:
        """Mean validation accuracy over its seeds; None where it has none that can be compared."""
        return self.outcome.value

    @property
    def reason(self) -> str:
        """Why there is no value."""
        return self.outcome.reason

    @property
    def buildable(self) -> bool:
        """Whether such a network exists; what cannot be built is passed over and does not count as a trial."""
        return self.outcome.state != "unbuildable"

    @property
    def censored(self) -> bool:
        """Whether it was stopped before its end."""
        return self.outcome.state == "pruned"


def trial_name(arm: str, number: int) -> str:
    """Return the name of a trial: that of its arm, and its number."""
    return f"{arm}_{number:04d}"
