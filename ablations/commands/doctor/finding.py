"""`Finding`: the result of one check of `ablate doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    state : ``ok``, ``note`` (works, with a limitation) or ``problem`` (a study will not run).
    remedy : what to do; empty if nothing needs to be done.
    """

    subject: str
    state: State
    message: str
    remedy: str = ""
