"""The results that were reported to a search, written once; with them, a new process proposes the same trials.

``rounds/<arm>.<nnn>.json`` contains a batch of an arm's trials with their outcomes, and ``rounds/<arm>.<nnn>.<r>.json``
contains the decision at one of the batch's rungs. ``rounds/<arm>.<nnn>.proposed.json`` contains a sampler's proposals
for a batch if the sampler might not repeat them. Each file is created exclusively, so if two processes search at the
same time, the first one decides for both. If a later session repairs a failed run, the recorded outcome does not
change.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from ablations.search.trials import Outcome, State, Trial
from ablations.store import files
from aimlib.errors import StoreError
from aimlib.paths import advice_on, make_folder, read_file
from aimlib.records.checksums import Damaged, document_is_intact, with_checksum

ROUNDS_FOLDER = "rounds"  # a name used in stored searches
_SHORT = 40


@dataclass(frozen=True)
class Told:
    """A recorded trial."""

    number: int
    drawn: Mapping[str, Any]
    run_ids: tuple[str, ...]
    outcome: Outcome


@dataclass(frozen=True)
class Rung:
    """The decision at a rung of a batch.

    Attributes
    ----------
    epochs : number of epochs after which the rung ended.
    values : mean validation accuracy after these epochs, by trial number.
    failed : reasons why runs failed, by trial number.
    stopped : numbers of the trials that a pruner stopped; None if halving decides from the values alone.
    """

    epochs: int
    values: Mapping[int, float]
    failed: Mapping[int, str]
    stopped: tuple[int, ...] | None = None


class Journal:
    """The records of a search.

    Parameters
    ----------
    directory : directory of the screening.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / ROUNDS_FOLDER
        with files.explained(self.folder, "created"):
            make_folder(self.folder)

    def round(self, arm: str, number: int) -> tuple[Told, ...] | None:
        """Return the reported outcomes of a batch, or None if there are none."""
        path = self._path(arm, number)
        content = _read(path, _place(arm, number))
        if content is None:
            return None
        try:
            return tuple(_told(item) for item in content["trials"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _broken(path, error) from None

    def write_round(self, arm: str, number: int, trials: Sequence[Trial]) -> None:
        """Record a batch unless it is already recorded."""
        items = [
            {
                "number": trial.number,
                "drawn": dict(trial.drawn),
                "run_ids": list(trial.run_ids),
                "outcome": asdict(trial.outcome),
            }
            for trial in trials
        ]
        _create(self._path(arm, number), {**_place(arm, number), "trials": items})

    def rung(self, arm: str, number: int, rung: int) -> Rung | None:
        """Return the decision at a rung of a batch; None if there is no decision."""
        path = self._path(arm, number, rung)
        content = _read(path, _place(arm, number, rung))
        if content is None:
            return None
        try:
            values, failed = (
                {int(key): value for key, value in content[name].items()} for name in ("values", "failed")
            )
            stopped = content.get("stopped")
            _refuse_no_numbers(content["epochs"], *values.values(), *(stopped or ()))
            return Rung(content["epochs"], values, failed, None if stopped is None else tuple(stopped))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _broken(path, error) from None

    def write_rung(self, arm: str, number: int, rung: int, decided: Rung) -> None:
        """Record a rung unless it is already recorded."""
        content = {
            **_place(arm, number, rung),
            "epochs": decided.epochs,
            "values": {str(key): value for key, value in sorted(decided.values.items())},
            "failed": {str(key): reason for key, reason in sorted(decided.failed.items())},
            **({} if decided.stopped is None else {"stopped": sorted(decided.stopped)}),
        }
        _create(self._path(arm, number, rung), content)

    def proposed(self, arm: str, number: int, search: str) -> tuple[Mapping[str, Any], ...] | None:
        """Return the recorded proposals for a batch, as drawn values; None if there are no proposals.

        Parameters
        ----------
        search : text that identifies the sampler and the space.

        Raises
        ------
        StoreError: the trials were proposed in a different search.
        """
        path = self._path(arm, number, "proposed")
        content = _read(path, _place(arm, number))
        if content is None:
            return None
        try:
            drawn, asked = tuple(dict(item) for item in content["drawn"]), content["search"]
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(path, error) from None
        if asked != search:
            raise StoreError(
                f"{path}: contains the proposals of a different search: the sampler, its seed, search.over, ranges, "
                "when or constraints were changed; change them back, or set a different --out"
            )
        return drawn

    def write_proposed(self, arm: str, number: int, search: str, drawn: Sequence[Mapping[str, Any]]) -> None:
        """Record the proposals for a batch unless they are already recorded."""
        content = {**_place(arm, number), "search": search, "drawn": [dict(each) for each in drawn]}
        _create(self._path(arm, number, "proposed"), content)

    def _path(self, arm: str, number: int, rung: int | str | None = None) -> Path:
        suffix = "" if rung is None else f".{rung}"
        return self.folder / f"{_stem(arm)}.{number:03d}{suffix}.json"


def _stem(arm: str) -> str:
    """Return an arm's name in a form that file names can contain; different arms get different names."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", arm)[:_SHORT]
    return plain if plain == arm else f"{plain}-{hashlib.sha256(arm.encode()).hexdigest()[:8]}"


def _told(item: Mapping[str, Any]) -> Told:
    outcome = item["outcome"]
    rungs = tuple((epochs, value) for epochs, value in outcome["rungs"])
    found = Outcome(**{**outcome, "rungs": rungs})
    _refuse_no_numbers(item["number"], found.epochs, found.seconds, *(part for rung in rungs for part in rung))
    if found.state not in get_args(State):
        raise ValueError(f"{found.state!r} is not a state of a trial")
    if found.state == "complete":
        _refuse_no_numbers(found.value)
    return Told(item["number"], dict(item["drawn"]), tuple(item["run_ids"]), found)


def _refuse_no_numbers(*values: object) -> None:
    """Raise TypeError if a value is not a finite number, because trials are compared by their values."""
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise TypeError(f"{value!r} is not a number")


def _create(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(with_checksum(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files.create(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _place(arm: str, number: int, rung: int | None = None) -> dict[str, Any]:
    """Return the keys of a record that identify where it belongs.

    Records from earlier versions contain only the arm.
    """
    return {"arm": arm, "batch": number} | ({} if rung is None else {"rung": rung})


def _read(path: Path, place: Mapping[str, Any]) -> Any:
    """Return a record, or None; raise an error if the record belongs elsewhere, because it was copied or renamed."""
    try:
        content = json.loads(read_file(path).decode("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, error) from None
    if isinstance(content, dict) and document_is_intact(content) is False:
        raise _broken(path, Damaged("its checksum does not match its content"))
    if isinstance(content, dict):
        for key, value in place.items():
            if content.get(key, value) != value:
                raise _broken(path, Damaged(f"it is the record of {key} {content[key]!r}, not of {value!r}"))
    return content


def _broken(path: Path, error: Exception) -> StoreError:
    advice = advice_on(
        error, "restore it from a copy, or remove it and all later records of this arm: completed runs are not repeated"
    )
    return StoreError(f"{path}: not a record of a search ({error!r}); {advice}")
