"""The result of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aimlib.paths import Place


@dataclass(frozen=True)
class Session:
    """The result of one call of `run`.

    Attributes
    ----------
    directory : the study directory.
    planned, settled_before, computed : numbers of runs.
    failed : ids of runs that failed in this session, each with its reason.
    open : ids of runs that are not settled and have neither failed nor paused: the session was interrupted, or no more
        runs of their arm were started.
    paused : ids of runs that wait at the requested epoch, each with its last validation accuracy.
    withheld : ids of runs that were not started because their arm fails with the same error every time.
    interrupted : what ended the session early; empty if nothing did.
    code : exit code of the command line if it was interrupted.
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

    @property
    def cut_off(self) -> bool:
        """Whether the session ended early, or has left runs that it would have started."""
        return bool(self.interrupted) or not self.withheld.keys() >= set(self.open)

    @property
    def given_up(self) -> dict[str, str]:
        """Ids of the runs that have no result and would get none by continuing, each with its reason."""
        return {**self.failed, **self.withheld}
