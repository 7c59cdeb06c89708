"""What `ablate doctor` says of one thing that it checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes
    ----------
    state : ``ok``, ``note`` (works, with a limit), or ``problem`` (a study will not run).
    remedy : what to do; empty where nothing is to be done.
    """

    subject: str
    state: State
    message: str
    remedy: str = ""
