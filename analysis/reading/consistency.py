"""Consistency of stored rows with themselves and with each other, without the plugins used in the runs.

Every genuine row passes all these checks. A row that fails was changed or damaged, or was written by a faulty run. Its
numbers are useless, so a verdict that needs the run is withheld. Clocks on different machines differ, so times are
compared with a tolerance of `CLOCK_TOLERANCE`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aimlib.errors import counted
from aimlib.paths import Place, read_file
from aimlib.records import LIVE, SETTLED, predictions_from
from aimlib.records.row_digests import row_digests
from aimlib.training.early_stopping import stopping_epoch
from aimlib.training.selections.base import first_best
from analysis.reading.frames import parsed_json
from analysis.reading.proofs import lists_of

CLOCK_TOLERANCE = timedelta(minutes=10)
"""Clock difference that does not count as a contradiction."""
INFORMATIVE = 10
"""Minimum number of predictions of other classes than the most frequently predicted class, and of wrong predictions.
With fewer, predictions are not compared.
"""
_ALMOST_PERFECT = 0.99
"""With this accuracy or more, networks may agree on every image."""
_ROUNDING_S = 1.0
_RULES = {"best_test": "test_accuracy", "best_validation": "validation_accuracy", "last_epoch": ""}
"""This package's rules that choose an epoch, each with the accuracy whose first maximum it chooses."""
_PLAIN = (
    "run_id",
    "status",
    "reason",
    "seed",
    "epochs_planned",
    "epochs_run",
    "selected_epoch",
    "selection",
    "test_accuracy",
    "seconds",
    "attempts",
    "host",
    "started_at",
    "finished_at",
    "config",
    "identity",
    "predictions.bits",
    "predictions.epochs",
)
_CURVE = ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
_LISTS = (*_CURVE, "seconds")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contradiction:
    """A contradiction that genuine rows cannot contain.

    Attributes
    ----------
    run_ids : the affected runs; `text` is about the first run.
    text : what is wrong, without the id of the first run.
    by_own_code : whether the user's own training code, which may ignore the seed, computed all these runs.
    """

    run_ids: tuple[str, ...]
    text: str
    by_own_code: bool = False

    def __str__(self) -> str:
        """The text, preceded by the run id."""
        return f"run {self.run_ids[0]}: {self.text}"


@dataclass(frozen=True)
class Alone:
    """A session that computed its runs one after another in its own process.

    Attributes
    ----------
    host : the session's machine.
    begin, end : the period in which no other session of the study was active on that machine.
    """

    host: str
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class _Alike:
    """A run whose results are compared with those of other runs: what is compared, and the seeds that the run uses."""

    seed: int
    what: str
    drawn: tuple[int, ...]
    by_own_code: bool


@dataclass
class Consistency:
    """Collects contradictions in rows, file by file; `add` may be called from several threads.

    Attributes
    ----------
    selections : whether to apply the rules that choose an epoch; callers that have the plugins apply all rules
        themselves.
    found : contradictions found in single rows so far.
    """

    selections: bool = True
    found: list[Contradiction] = field(default_factory=list)
    _contents: dict[str, str] = field(default_factory=dict)
    _alike: dict[bytes, dict[str, _Alike]] = field(default_factory=lambda: defaultdict(dict))
    _spans: dict[str, tuple[str, datetime, datetime]] = field(default_factory=dict)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: pa.Table, digests: Sequence[str] | None = None) -> None:
        """Check each row of a file individually, and remember what is compared between rows.

        Parameters
        ----------
        digests : the result of `row_digests`, if already known.
        """
        plain = list(_plain(rows))
        digests = row_digests(rows) if digests is None else digests
        curves = {name: lists_of(rows.column(f"epochs.{name}")) for name in _LISTS}
        with self._one_at_a_time:
            for run_id, digest in zip(rows.column("run_id").to_pylist(), digests, strict=True):
                self._note_content(run_id, digest)
            for number, row in enumerate(plain):
                if row["status"] in SETTLED:
                    self._add(row, {name: values[number] for name, values in curves.items()}, rows, number)

    def _note_content(self, run_id: str, digest: str) -> None:
        if self._contents.setdefault(run_id, digest) != digest:
            self._note(run_id, "its row is stored twice, with different content")

    def _note(self, run_id: str, text: str) -> None:
        if (one := Contradiction((run_id,), text)) not in self.found:
            self.found.append(one)

    def _add(self, row: Mapping[str, Any], curve: Mapping[str, Floats], rows: pa.Table, number: int) -> None:
        config = parsed_json(row["config"], {})
        config = config if isinstance(config, dict) else {}
        problems = [*_configuration(row, config), *_times(row, curve["seconds"])]
        if row["status"] != "pruned":
            problems += [*_length(row, config, curve), *(_selection(row, curve) if self.selections else ())]
        for problem in problems:
            self._note(row["run_id"], problem)
        own = "train" in config
        for what, key in _fingerprints(row, curve, rows.column("predictions")[number], own_code=own):
            self._alike[key][row["run_id"]] = _Alike(row["seed"], what, _drawn(row["seed"], config), own)
        if row["attempts"] == 1 and row["host"] and row["started_at"] and row["finished_at"]:
            self._spans[row["run_id"]] = (row["host"], row["started_at"], row["finished_at"])

    def contradictions(self, alone: Sequence[Alone] = ()) -> list[Contradiction]:
        """Return all contradictions, including contradictions between rows.

        Parameters
        ----------
        alone : sessions whose runs cannot overlap; see `sessions_alone`.
        """
        return [*self.found, *self._identical(), *self._overlapping(alone)]

    def _identical(self) -> Iterator[Contradiction]:
        """Yield runs with the same results as a run with a different seed."""
        said: set[frozenset[str]] = set()
        for runs in self._alike.values():
            for (one, first), (other, second) in pairwise(sorted(runs.items())):
                if first.seed == second.seed or first.drawn == second.drawn or frozenset((one, other)) in said:
                    continue
                said.add(frozenset((one, other)))
                text = (
                    f"its {first.what} equal those of run {other} to the last bit, although the runs have the seeds "
                    f"{first.seed} and {second.seed}"
                )
                yield Contradiction((one, other), text, first.by_own_code and second.by_own_code)

    def _overlapping(self, alone: Sequence[Alone]) -> Iterator[Contradiction]:
        for session in alone:
            within = [
                (begin, end, run_id)
                for run_id, (host, begin, end) in self._spans.items()
                if host == session.host and begin >= session.begin and end <= session.end
            ]
            for (_, end, one), (begin, _, other) in pairwise(sorted(within)):
                if end - begin > CLOCK_TOLERANCE:
                    text = (
                        f"it overlaps in time with run {other}, by {_minutes(end - begin)}, although the session that "
                        f"computed both on {session.host} computed one run at a time"
                    )
                    yield Contradiction((one, other), text)


_DECIDING_STREAMS = ("split", "init", "order", "augmentation")


def _drawn(seed: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the seeds of the streams on which every run depends; two runs that fix all streams may be identical."""
    training = config.get("training")
    streams = training.get("streams") if isinstance(training, dict) else None
    fixed = streams if isinstance(streams, dict) else {}
    return tuple(seed if fixed.get(name) is None else fixed[name] for name in _DECIDING_STREAMS)


def _plain(rows: pa.Table) -> Iterator[dict[str, Any]]:
    names = [name for name in _PLAIN if name in rows.column_names]
    absent = dict.fromkeys(set(_PLAIN) - set(names))
    return ({**absent, **row} for row in rows.select(names).to_pylist())


def _configuration(row: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the configuration in a row contradicts its other columns, or the text that its run id hashes."""
    training = config.get("training")
    training = training if isinstance(training, dict) else {}
    rule = training.get("selection")
    stated = {
        "seed": config.get("seed", row["seed"]),
        "epochs_planned": training.get("epochs", row["epochs_planned"]),
        "selection": rule.get("name") if isinstance(rule, dict) else row["selection"],
    }
    for name, value in stated.items():
        if value != row[name]:
            yield f"{name} is {row[name]}, but {value} in its configuration"
    hashed = parsed_json(row["identity"], {})
    run = hashed.get("run") if isinstance(hashed, dict) else None
    if isinstance(run, dict) and config and (option := other_option(run, config)):
        yield f"{option} in its configuration differs from the text that its run id hashes"


def other_option(hashed: Any, config: Any, path: str = "") -> str:
    """Return the key path of the first option that both contain with different values; empty if there is none."""
    if isinstance(hashed, list) and isinstance(config, list) and len(hashed) == len(config):
        parts = (
            other_option(*pair, f"{path}.{number}") for number, pair in enumerate(zip(hashed, config, strict=True))
        )
        return next((each for each in parts if each), "")
    if not isinstance(hashed, dict):
        return "" if hashed == config else path
    if not isinstance(config, dict):
        return path
    found = (
        other_option(value, config[key], f"{path}.{key}".lstrip(".")) for key, value in hashed.items() if key in config
    )
    return next((each for each in found if each), "")


def _times(row: Mapping[str, Any], seconds: Floats) -> Iterator[str]:
    """Yield a text for each impossible time."""
    begin, end, epochs = row["started_at"], row["finished_at"], float(np.nansum(seconds))
    latest = max((each for each in (begin, end) if each is not None), default=None)
    if latest is not None and latest - datetime.now(UTC) > CLOCK_TOLERANCE:
        yield f"its time, {latest:%Y-%m-%d %H:%M} UTC, is in the future according to this machine's clock"
    if begin is not None and end is not None:
        lasted = end - begin
        if lasted < -CLOCK_TOLERANCE:
            yield f"it ended {_minutes(-lasted)} before it began"
        elif lasted + CLOCK_TOLERANCE < timedelta(seconds=epochs):
            yield f"it ended {_minutes(lasted)} after it began, but its epochs took {epochs:.0f} s"
    if row["seconds"] is not None and epochs > 1.01 * row["seconds"] + _ROUNDING_S:
        yield f"it took {row['seconds']:.1f} s, but its epochs took {epochs:.1f} s in total"


def _minutes(time: timedelta) -> str:
    return f"{time.total_seconds() / 60:.1f} minutes"


def _length(row: Mapping[str, Any], config: Mapping[str, Any], curve: Mapping[str, Floats]) -> Iterator[str]:
    """Yield a text if a finished run has more epochs than planned, or fewer without an explanation."""
    training, count, planned = config.get("training"), row["epochs_run"], row["epochs_planned"]
    if not isinstance(training, dict) or row["status"] != "finished" or count is None or planned is None:
        return
    if count > planned:
        yield f"it has {count} of {counted(planned, 'planned epoch')}"
    if count < planned and not ("train" in config or row["reason"] or _stopped(training, curve)):
        yield f"it ended after {count} of {planned} epochs, and neither early stopping nor a callback explains it"


def _stopped(training: Mapping[str, Any], curve: Mapping[str, Floats]) -> bool:
    """Return whether early stopping ends a run at the end of this curve."""
    rule = training.get("early_stopping")
    if not isinstance(rule, dict):
        return False
    monitored = curve["test_accuracy" if training.get("monitor") == "test" else "validation_accuracy"]
    ended = stopping_epoch(monitored.tolist(), int(rule.get("patience", 1)), float(rule.get("min_delta", 0)))
    return ended == len(monitored)


def _selection(row: Mapping[str, Any], curve: Mapping[str, Floats]) -> Iterator[str]:
    """Yield a text if a rule in this package chooses a different epoch; rules in plugins are not checked."""
    column = _RULES.get(row["selection"])
    count = len(curve["test_accuracy"])
    if column is None or not count:
        return
    values = curve[column].tolist() if column else []
    if np.isnan(values).any():
        return
    chosen = first_best([{column: value} for value in values], column) if column else count
    if row["selected_epoch"] != chosen:
        yield f"selected_epoch is {row['selected_epoch']}, but {row['selection']} chooses {chosen} from its curve"


def _fingerprints(
    row: Mapping[str, Any], curve: Mapping[str, Floats], buffer: pa.Scalar, *, own_code: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield the parts of a run's results that runs with different seeds cannot share, each with a hash.

    The user's own training code may converge to the same solution from every seed. For such code, the predictions in
    all epochs are compared, not only those in the selected epoch.
    """
    accuracy, predicted = row["test_accuracy"], _predicted(row, buffer)
    if predicted is None or accuracy is None or accuracy >= _ALMOST_PERFECT:
        return
    selected = predicted[max(row["selected_epoch"] - 1, 0)]
    others = len(selected) - int(np.bincount(selected).max(initial=0))
    if not others:
        return
    if min(others, round((1 - accuracy) * len(selected))) >= INFORMATIVE:
        compared = predicted if own_code else selected
        yield "predictions", hashlib.sha256(b"predictions" + compared.tobytes()).digest()
    losses = np.concatenate([curve["train_loss"], curve["test_loss"]])
    if len(losses) and not np.isnan(losses).all():
        yield "accuracies and losses", hashlib.sha256(b"".join(curve[name].tobytes() for name in _CURVE)).digest()


def _predicted(row: Mapping[str, Any], buffer: pa.Scalar) -> npt.NDArray[Any] | None:
    """Return a run's predictions, [epochs, images]; None if it has none, or if its proof already reports a problem."""
    epochs, chosen = row["predictions.epochs"], row["selected_epoch"]
    if not epochs or chosen is None or chosen > epochs:
        return None
    try:
        return predictions_from(buffer.as_buffer(), row["predictions.bits"], epochs)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def sessions_alone(directory: Place) -> list[Alone]:
    """Return the sessions in this study's stored states that computed one run at a time, alone on their machine.

    These are the sessions that computed in their own process. A state that cannot be read is ignored.
    """
    states = [state for state in map(_state, _documents(directory / LIVE)) if state is not None]
    spans = [(state["host"], *_span(state)) for state in states]
    return [
        Alone(host, begin, end)
        for state, (host, begin, end) in zip(states, spans, strict=True)
        if _computes_one_at_a_time(state)
        and not any(host == h and begin < e and b < end and (b, e) != (begin, end) for h, b, e in spans)
    ]


def _documents(folder: Place) -> list[Place]:
    try:
        paths: list[Place] = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]


def _state(path: Place) -> dict[str, Any] | None:
    try:
        state = json.loads(read_file(path))
        _span(state)
        return state if isinstance(state["host"], str) and state["host"] else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _span(state: Mapping[str, Any]) -> tuple[datetime, datetime]:
    begin, end = (datetime.fromisoformat(state[name]) for name in ("began_at", "at"))
    return begin.astimezone(UTC), end.astimezone(UTC)


def _computes_one_at_a_time(state: Mapping[str, Any]) -> bool:
    """Return whether a session computed its runs one at a time in its own process.

    The stored state of such a session contains one parallel run, and one CPU as the only resource.
    """
    resources = state.get("resources")
    cpu = resources.get("CPU") if isinstance(resources, dict) and len(resources) == 1 else None
    return state.get("parallel") == 1 and isinstance(cpu, dict) and cpu.get("total") == 1
