"""The trials of a search and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "unbuildable", "infeasible"]
"""complete: every run reached its own end. pruned: the trial was stopped at a rung, so its accuracy is censored.
failed: one of its runs failed. unbuildable: the network, or a control derived from the arm, cannot be built.
infeasible: the trial violates a constraint, so it was not trained."""


SKIPPED: frozenset[State] = frozenset({"unbuildable", "infeasible"})
"""States of configurations that are not trained."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a configuration.

    Attributes
    ----------
    state : see `State`.
    value : mean validation accuracy in the runs' selected epochs, as a fraction; None unless complete.
    reason : why the outcome has no value.
    rungs : number of epochs after which each of its rungs ended, and the mean validation accuracy after these epochs.
    epochs, seconds : total number of epochs and total wall time of the runs.
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
    number : number within the arm, starting from 0.
    drawn : values that the search chose, by parameter name.
    document : the trial's part of the arm's document: the keys model, data and training.
    identity : text that is equal for equal configurations; empty if the network cannot be built.
    run_ids : ids of its runs in the screening, seed by seed.
    violations : amount by which the trial violates each constraint, as a fraction of the bound; negative if it does not
        violate the constraint.
    repeats : name of the earlier trial with the same configuration, whose outcome this trial has; otherwise empty.
    outcome : its outcome.
    """

    arm: str
    number: int
    drawn: Mapping[str, Any]
    document: Mapping[str, Any]
    identity: str
    run_ids: tuple[str, ...]
    repeats: str
    outcome: Outcome = field(default_factory=lambda: Outcome("unbuildable"))
    violations: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the trial's arm in the screening."""
        return trial_name(self.arm, self.number)

    @property
    def value(self) -> float | None:
        """Mean validation accuracy over the trial's seeds; None if there is no comparable accuracy."""
        return self.outcome.value

    @property
    def reason(self) -> str:
        """Reason why the trial has no value."""
        return self.outcome.reason

    @property
    def buildable(self) -> bool:
        """Whether the trial can be trained.

        A configuration that cannot be built or violates a constraint is skipped and does not count as a trial.
        """
        return self.outcome.state not in SKIPPED

    @property
    def censored(self) -> bool:
        """Whether the trial was stopped early."""
        return self.outcome.state == "pruned"


def trial_name(arm: str, number: int) -> str:
    """Return the name of a trial: its arm's name and its number."""
    return f"{arm}_{number:04d}"
