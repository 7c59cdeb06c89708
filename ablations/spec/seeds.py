"""Seeds as in studies: a list, or their number."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_MOST_SEEDS = 10_000


def _seeds(value: Any) -> Any:
    """Read a number of seeds as 0, 1, 2, ...; leave the items of a list to the type check."""
    if isinstance(value, (list, tuple)) and 1 <= len(value) <= _MOST_SEEDS:
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    raise ValueError(f"give how many (1 to {_MOST_SEEDS}: 0, 1, 2, ...) or a list of them, e.g. [0, 1, 2]")


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_seeds)]
