"""The procedures that lead to a verdict; a study is always evaluated with the procedure that its plan froze.

1. The procedure of version 0.1.0, and of every plan that does not state a procedure. 2. Harm has a margin
(`statistics.verdict.rules_of`). The chance level is the accuracy of the best constant answer. Within a claim's scope,
there is no verdict on an arm that has hardly trained. Gates, failures and adjusted p-values are those of the deciding
look; an adjusted p-value is never smaller than the unadjusted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST, SECOND = 1, 2
LATEST = SECOND
"""The procedure used for new studies."""
KEY = "procedure"
"""Key of the procedure in a plan and in a frozen plan."""


def procedure_of(document: Mapping[str, Any]) -> int:
    """Return the procedure of a stored or frozen plan.

    Raises
    ------
    ValueError: this version does not know the procedure.
    """
    stated = document.get(KEY)
    if stated is None or isinstance(stated, Mapping):  # earlier plans stored the numbers of single rules here
        return FIRST
    if type(stated) is not int or not FIRST <= stated <= LATEST:
        raise ValueError(f"procedure must be {FIRST} to {LATEST}; got {stated!r}")
    return stated
