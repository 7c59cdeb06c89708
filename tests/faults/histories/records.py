"""Rows whose numbers follow from their digests, so that a reader can distinguish wrong numbers from correct ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from store.sample import make_record

from aimlib.paths import place
from aimlib.records import RunRecord
from analysis.reading.files import read_settled

_COLUMNS = ["run_id", "host", "test_accuracy", "epochs.test_loss", "predictions.epochs"]


Record = Callable[[str, str], RunRecord]


def record(run: str, digest: str) -> RunRecord:
    """Return a run's row."""
    found = make_record(run, host=digest, epochs=2, images=16)
    found.run["test_accuracy"] = _number(digest)
    for epoch in found.epochs:
        epoch["test_loss"] = _number(f"{digest} {epoch['epoch']}")
    return found


def rows(where: str) -> dict[str, str]:
    """Read the digests of all settled runs, as the analysis does; a row with a wrong number has no digest."""
    found = {}
    for row in read_settled(place(where), _COLUMNS).to_pylist():
        digest = row["host"]
        losses = [_number(f"{digest} {epoch}") for epoch in (1, 2)]
        whole = (row["test_accuracy"], row["epochs.test_loss"], row["predictions.epochs"]) == (
            _number(digest),
            losses,
            2,
        )
        found[row["run_id"]] = digest if whole else f"wrong number: {row}"
    return found


def _number(text: str) -> Any:
    return zlib.crc32(text.encode()) / 2**32
