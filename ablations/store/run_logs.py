"""Reading run logs: the output that workers kept, and what the rows say about attempts. No files are changed."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from aimlib.errors import StoreError, UsageError, counted, did_you_mean
from aimlib.paths import Place, advice_on, read_file
from aimlib.records import FAILURES, LIVE, LOGS, RUNS, SEGMENTS, STUDY_FILE
from analysis.reading.files import listed, read_table

_ROW = [
    *("run_id", "status", "reason", "traceback", "epochs_planned", "epochs_run", "seconds", "attempts"),
    *("device_name", "host", "started_at", "finished_at"),
]
_SHOWN = 12
"""Maximum number of choices that a message lists."""
_SILENT_S = 60.0
"""Seconds without a stored state after which a session counts as ended."""


@dataclass(frozen=True)
class Run:
    """A run in the plan."""

    run_id: str
    arm: str
    seed: int


@dataclass(frozen=True)
class LogEntry:
    """An entry in a log.

    Attributes
    ----------
    at : UTC time at which the entry was written.
    kind : stdout, stderr, note (from this package) or row (from a stored row).
    text : one or more lines, as they were written. Remove escape sequences before printing the lines.
    """

    at: datetime
    kind: str
    text: str

    def lines(self, safe: Callable[[str], str] = str) -> Iterator[str]:
        """Yield the lines as human-readable text."""
        stamp = f"{self.at:%Y-%m-%d %H:%M:%S}"
        mark = {"stdout": "|", "stderr": "!"}.get(self.kind, "-")
        for line in self.text.splitlines() or [""]:
            yield f"{stamp} {mark} {safe(line)}"


@dataclass(frozen=True)
class RunLog:
    """The log of a run.

    Attributes
    ----------
    run : the run.
    state : the run's status in words.
    settled : whether the run has a result.
    entries : the log entries, from first to last.
    """

    run: Run
    state: str
    settled: bool
    entries: tuple[LogEntry, ...]

    def __str__(self) -> str:
        return "\n".join(line for each in self.entries for line in each.lines())


def find(directory: Place, wanted: str) -> Run:
    """Return the run identified by a run id, the beginning of a run id, or ``ARM/SEED``.

    Raises
    ------
    UsageError: the text does not match any run, or matches more than one.
    StoreError: this is not a study directory.
    """
    runs = _planned(directory)
    arm, slash, seed = wanted.rpartition("/")
    if slash:
        found = [run for run in runs if run.arm == arm and str(run.seed) == seed]
        if not found:
            raise UsageError(f"{directory}: {_no_such(runs, arm, seed)}")
        return found[0]
    found = [run for run in runs if wanted and run.run_id.startswith(wanted.lower())]
    if not found:
        found = [run for run in runs if run.arm == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        listing = "".join(f"\n  {run.run_id}  {run.arm}/{run.seed}" for run in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(f"{wanted!r} can mean {counted(len(found), 'run')}; use one of these:{listing}{more}")
    raise UsageError(
        f"{directory}: no run {wanted!r}; use a run id or its beginning, or ARM/SEED such as "
        f"{runs[0].arm}/{runs[0].seed}; arms: {', '.join(dict.fromkeys(run.arm for run in runs))}"
    )


def _no_such(runs: list[Run], arm: str, seed: str) -> str:
    arms = dict.fromkeys(run.arm for run in runs)
    if arm not in arms:
        return f"no arm {arm!r}; {did_you_mean(arm, arms)}arms: {', '.join(arms)}"
    return f"arm {arm} has no seed {seed!r}; seeds: {', '.join(str(run.seed) for run in runs if run.arm == arm)}"


def _planned(directory: Place) -> list[Run]:
    try:
        content = read_file(directory / STUDY_FILE)
    except (FileNotFoundError, NotADirectoryError):
        inner = [name for name in ("confirmation", "screening") if (directory / name / STUDY_FILE).exists()]
        wanted = str(directory / inner[0]) if inner else "the directory that `ablate run` wrote"
        raise StoreError(f"{directory}: {STUDY_FILE} is missing; give {wanted}") from None
    except OSError as error:
        raise _unreadable(directory / STUDY_FILE, error) from None
    try:
        runs = [Run(str(run["run_id"]), str(run["arm"]), int(run["seed"])) for run in json.loads(content)["runs"]]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise StoreError(
            f"{directory / STUDY_FILE}: is not the plan of a study ({error}); run `ablate verify {directory}`"
        ) from None
    if not runs:
        raise StoreError(f"{directory / STUDY_FILE}: has no runs; run `ablate run` again to write it")
    return runs


def _unreadable(path: Place, error: OSError) -> StoreError:
    return StoreError(f"{path}: cannot be read ({error.strerror or error}); {advice_on(error)}")


def read(directory: Place, run: Run) -> RunLog:
    """Return the current log of a run."""
    settled, failed = _settled_row(directory, run.run_id), _failed_rows(directory, run.run_id)
    entries = [each for row in failed for each in _of_row(row)]
    if settled is not None:
        entries += _of_row(settled)
    entries += [each for path in _log_files(directory, run.run_id) for each in _parsed(path)]
    state = "not settled yet"
    if settled is not None:
        state = str(settled["status"])
    elif failed:
        state = f"failed {counted(len(failed), 'time')}; the same `ablate run` command retries it"
    return RunLog(run, state, settled is not None, tuple(sorted(entries, key=lambda each: each.at)))


def outputs(directory: Place, run_ids: Iterable[str]) -> dict[str, list[LogEntry]]:
    """Return the kept output of runs, by run id; runs without output are omitted."""
    wanted = set(run_ids)
    found: dict[str, list[LogEntry]] = defaultdict(list)
    for path in _files(directory / LOGS, ".jsonl"):
        run_id = path.name.split(".")[0]
        if run_id in wanted:
            found[run_id] += _parsed(path)
    return dict(found)


class Activity:
    """Whether sessions are computing a study, for repeated queries.

    A dead session whose clock was ahead must not count as running. Therefore, states count only if they are at most a
    minute old by this machine's clock, and if some state has changed within the last minute.

    Parameters
    ----------
    directory : the study directory.
    """

    def __init__(self, directory: Place) -> None:
        self._directory = directory
        self._states: dict[str, str] = {}
        self._changed = time.monotonic()

    def goes_on(self) -> bool:
        """Return whether a session has stored a state within the last minute and has not ended."""
        states = dict(_young_states(self._directory))
        if states != self._states:
            self._states, self._changed = states, time.monotonic()
        return bool(states) and time.monotonic() - self._changed < _SILENT_S


def _young_states(directory: Place) -> Iterator[tuple[str, str]]:
    """Yield the names and times of running sessions' states that are at most a minute old."""
    now = datetime.now(UTC)
    for path in _files(directory / LIVE, ".json"):
        try:
            state = json.loads(read_file(path))
            recent = (now - datetime.fromisoformat(state["at"])).total_seconds() < _SILENT_S
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if recent and state.get("state") == "running":
            yield path.name, state["at"]


def _of_row(row: Mapping[str, Any]) -> Iterator[LogEntry]:
    host = row["host"] or "an unknown machine"
    if row["started_at"] is not None:
        yield LogEntry(row["started_at"], "row", "the first attempt starts")
    text = f"{row['status']} on {host} ({row['device_name'] or 'device unknown'})"
    if row["epochs_run"] is not None:
        text += f" after {row['epochs_run']} of {counted(row['epochs_planned'], 'epoch')}"
    if row["seconds"] is not None:
        text += f" and {row['seconds']:.1f} s"
    if row["attempts"] is not None:
        text += f", {counted(row['attempts'], 'attempt')}"
    if row["reason"]:
        text += f": {row['reason']}"
    if row["traceback"]:
        text += f"\n{row['traceback']}"
    yield LogEntry(row["finished_at"], "row", text)


def _settled_row(directory: Place, run_id: str) -> dict[str, Any] | None:
    own = directory / RUNS / f"{run_id}.parquet"
    with suppress(FileNotFoundError):  # not settled, or already in a segment
        return dict(read_table(own, _ROW).to_pylist()[0])
    for path in listed(directory / SEGMENTS):
        table = read_table(path, _ROW)
        if rows := table.filter(pc.equal(table["run_id"], run_id)).to_pylist():
            return dict(rows[0])
    return None


def _failed_rows(directory: Place, run_id: str) -> list[dict[str, Any]]:
    files = [path for path in listed(directory / FAILURES) if path.name.startswith(f"{run_id}.")]
    return [row for path in files for row in read_table(path, _ROW).to_pylist()]


def _log_files(directory: Place, run_id: str) -> list[Place]:
    return [path for path in _files(directory / LOGS, ".jsonl") if path.name.startswith(f"{run_id}.")]


def _files(folder: Place, suffix: str) -> list[Place]:
    try:
        paths: list[Place] = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be listed ({error.strerror or error}); grant access, or move the file that is in its "
            "place"
        ) from None
    return [path for path in paths if path.suffix == suffix and not path.name.startswith(".")]


def _parsed(path: Place) -> Iterator[LogEntry]:
    """Yield the entries in a file; other content is shown unchanged."""
    try:
        content = read_file(path).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(path, error) from None
    at = datetime.min.replace(tzinfo=UTC)
    for line in content.split("\n"):
        if not line:
            continue
        try:
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["at"])
            yield LogEntry(at if at.tzinfo else at.replace(tzinfo=UTC), str(entry["kind"]), str(entry["text"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            yield LogEntry(at if at.tzinfo else at.replace(tzinfo=UTC), "note", f"not readable: {line[:200]}")
