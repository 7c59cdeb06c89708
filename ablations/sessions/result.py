"""The result of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ablations.sessions.budget import Spent
from aimlib.paths import Place


@dataclass(frozen=True)
class Session:
    """The result of one call of `run`.

    Attributes
    ----------
    directory : the study directory.
    planned, settled_before, computed : numbers of runs.
    reused : number of runs whose results were copied from other studies.
    failed : ids of runs that failed in this session, each with its reason.
    open : ids of runs that are not settled and have neither failed nor paused: the session was interrupted, or no more
        runs of their arm were started.
    paused : ids of runs that wait at the requested epoch, each with its last validation accuracy.
    withheld : ids of runs that were not started because their arm fails with the same error every time.
    interrupted : what ended the session early; empty if nothing did.
    code : exit code of the command line if it was interrupted.
    budget : the runs that were not begun because of the budget; None if there were none.
    ledger_head : hash that stands for all settled runs, see `aimlib.records.ledger`; empty if it could not be written.
    """

    directory: Place
    planned: int
    settled_before: int
    computed: int
    failed: Mapping[str, str]
    open: tuple[str, ...]
    paused: Mapping[str, float | None] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    interrupted: str = ""
    code: int = 0
    reused: int = 0
    budget: Spent | None = None
    ledger_head: str = ""

    @property
    def cut_off(self) -> bool:
        """Whether the session ended early, or has left runs that it would have started."""
        not_begun = self.withheld.keys() | (self.budget.open if self.budget is not None else frozenset())
        return bool(self.interrupted) or not not_begun >= set(self.open)

    @property
    def given_up(self) -> dict[str, str]:
        """Ids of the runs that have no result and would get none by continuing, each with its reason."""
        return {**self.failed, **self.withheld}
