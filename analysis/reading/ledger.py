"""Reading a study's ledger; see `aimlib.records.ledger`."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

from aimlib.errors import StoreError
from aimlib.paths import Place, advice_on, read_file
from aimlib.records.ledger import LEDGER, PAGE, Ledger, rows_of

_READINGS, _PAUSE_S = 3, 0.2


def read(directory: Place) -> Ledger:
    """Return a study's ledger; empty if it has none.

    Raises
    ------
    StoreError: a page cannot be read.
    """
    contents: dict[str, bytes] = {}
    path: Place = directory / LEDGER
    try:
        pages: list[Place] = sorted(path.iterdir())
        for path in pages:
            if PAGE.fullmatch(path.name):
                with suppress(FileNotFoundError):  # a session has set a damaged page aside in the meantime
                    contents[path.name] = read_file(path)
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}; {advice_on(error)}") from None
    return Ledger.of(contents)


def whole(directory: Place) -> Ledger:
    """Return a study's ledger after checking that all its pages exist and are intact; empty if it has none.

    Sessions may be writing to the ledger at the same time. If a chain is read before a second chain joins it, the
    ledger seems incomplete. The ledger is therefore read again before an error is reported.

    Raises
    ------
    StoreError: pages are damaged or missing; the message names them.
    """
    for _ in range(_READINGS):
        found = read(directory)
        if not (wrong := found.damaged | found.problems):
            return found
        time.sleep(_PAUSE_S)
    name, problem = next(iter(sorted(wrong.items())))
    raise StoreError(
        f"{directory / name}: {problem}; restore it from a copy, or run `ablate run`, which records that it is missing"
    )


def head(directory: Place, run_ids: Collection[str]) -> tuple[str, int]:
    """Return the head of a study's ledger, and how many of these runs the ledger covers; empty and 0 if none."""
    ledger = read(directory)
    if ledger.head is None:
        return "", 0
    return ledger.head, len(rows_of(ledger.before(ledger.head)).keys() & set(run_ids))
