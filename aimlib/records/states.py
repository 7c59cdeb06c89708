"""Words used in stored rows and states: outcomes and states of runs, and roles of arms."""

from __future__ import annotations

from typing import Literal, get_args

Status = Literal["finished", "failed", "diverged", "pruned"]
SETTLED: tuple[Status, ...] = ("finished", "diverged", "pruned")
"""Outcomes that are results of the experiment; runs with these outcomes are never repeated. A failed run is tried again
when the study is run again."""

RunState = Literal[
    "waiting", "running", "retrying", "held", "paused", "stopped", "finished", "diverged", "pruned", "failed"
]
RUN_STATES: tuple[RunState, ...] = get_args(RunState)
"""States of a run in a session; the `Status` of a row is one of them. retrying: an attempt ended through no fault of
the run, which will soon continue. held: another process is computing the run. paused: the run stopped on request and
saved its state. stopped: the run was not started, because its arm fails with the same error every time."""
ENDED: tuple[RunState, ...] = (*SETTLED, "failed", "stopped")
"""States after which nothing more happens to a run in a session."""

Role = Literal["baseline", "treatment", "matched", "frozen", "permuted", "control", "other"]
ROLES: tuple[Role, ...] = get_args(Role)
"""treatment: the arm that the study is about. control: a control other than matched, frozen and permuted; the study
states its question. other: an arm that is compared but is not part of the argument.
"""
_ROLES: dict[str, Role] = {**{role: role for role in ROLES}, "aim": "treatment"}
"""Roles, keyed by the stored word. Stored documents contain ``aim``, which every version reads."""


def role(stored: str) -> Role | None:
    """Return the role that a stored word stands for; None for an unknown word."""
    return _ROLES.get(stored)
