"""The result of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ablations.sessions.budget import Spent
from aimlib.errors import counted, warn_renamed
from aimlib.paths import Place

if TYPE_CHECKING:
    from ablations.search.trials import Trial
    from analysis.findings.study import Findings
    from analysis.results import Results


@dataclass(frozen=True, repr=False)
class SessionResult:
    """The result of one call to `ablations.run`.

    Attributes
    ----------
    directory : the study directory; for a study with a search, the directory of the confirmation or, if the search was
        interrupted, of the screening.
    planned, settled_before, computed : numbers of runs.
    reused : number of runs whose results were copied from other studies.
    completed : ids of the planned runs that have a result, in plan order.
    failed : ids of runs that failed in this session, each with its reason.
    open : ids of runs that are not settled and have neither failed nor paused, because the session was interrupted or
        no more runs of their arm were started.
    paused : ids of runs that are waiting at the requested epoch, each with its last validation accuracy.
    withheld : ids of runs that were not started because their arm fails with the same error every time.
    interrupted : reason why the session ended early; empty if it did not end early.
    code : exit code of the command line if it was interrupted.
    budget : the runs that were not started because of the budget; None if there were none.
    ledger_head : hash that covers all settled runs, see `aimlib.records.ledger`; empty if it could not be written.
    trials : all trials of a search, arm by arm in order; empty if there was no search.
    confirmed : whether the best trials of the search were confirmed; None if there was no search.
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
    completed: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    confirmed: bool | None = None

    @cached_property
    def results(self) -> Results:
        """The results in the study directory, loaded on first use; see `analysis.load`."""
        from analysis.load import load  # noqa: PLC0415 -- pandas, only needed for results

        return load(self.directory)

    @cached_property
    def findings(self) -> Findings:
        """The findings, including the verdict, computed on first use; see `analysis.examine`."""
        from analysis.findings.study import examine  # noqa: PLC0415

        return examine(self.results)

    @property
    def cut_off(self) -> bool:
        """Whether the session ended early, with runs that it would have started."""
        not_begun = self.withheld.keys() | (self.budget.open if self.budget is not None else frozenset())
        return bool(self.interrupted) or not not_begun >= set(self.open)

    @property
    def given_up(self) -> dict[str, str]:
        """Ids of the runs that have no result and would not get one by continuing the study, each with its reason."""
        return {**self.failed, **self.withheld}

    def __repr__(self) -> str:
        """Return the outcome in one line."""
        return f"<SessionResult {self.directory}: {self.outcome}>"

    @property
    def outcome(self) -> str:
        """The numbers of runs in words, and the reason why the session ended early, if it did."""
        counts = {"completed": len(self.completed), "failed": len(self.failed), "open": len(self.open)}
        counts |= {"paused": len(self.paused)} if self.paused else {}
        text = f"{counted(self.planned, 'run')}: {', '.join(f'{number} {state}' for state, number in counts.items())}"
        return f"{text}; interrupted by {self.interrupted}" if self.interrupted else text

    def _repr_html_(self) -> str:
        from ablations.sessions.result_html import html  # noqa: PLC0415

        return html(self)


def __getattr__(name: str) -> Any:
    if name == "Session":
        warn_renamed("ablations.sessions.result.Session", "SessionResult")
        return SessionResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
