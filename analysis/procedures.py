"""The procedures by which a verdict is reached; a study is read by the one that it froze, whatever is newest.

1. That of version 0.1.0, and of every plan that states none.
2. Harm has a margin (`statistics.verdict.RULES`). Chance is the best constant answer. In the scope of a claim an arm
   that has hardly trained decides nothing. Gates, failures and adjusted p-values are those of the look that decides; no
   adjusted p-value is below the unadjusted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST, SECOND = 1, 2
LATEST = SECOND
"""The procedure of new studies."""
KEY = "procedure"
"""Key of the procedure in a plan and in what is frozen."""


def procedure_of(document: Mapping[str, Any]) -> int:
    """Return the procedure that a stored plan, or a frozen one, states.

    Raises
    ------
    ValueError: this version does not have that procedure.
    """
    stated = document.get(KEY)
    if stated is None or isinstance(stated, Mapping):  # earlier plans froze the numbers of single rules there
        return FIRST
    if type(stated) is not int or not FIRST <= stated <= LATEST:
        raise ValueError(f"procedure must be {FIRST} to {LATEST}; got {stated!r}")
    return stated
