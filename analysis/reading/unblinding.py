"""Records of when test measures were shown before the verdict: `unblinded/<nnn>.json` in the study directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aimlib import object_store
from aimlib.errors import StoreError, counted
from aimlib.paths import ObjectPath, Place, advice_on, make_folder, read_file, share
from aimlib.records import FILE_NAMES, UNBLINDED

_MOST = 1000
"""Maximum number of a study's records; further records would not add information."""


@dataclass(frozen=True)
class Unblinding:
    """An occasion on which test measures were shown before the verdict.

    Attributes
    ----------
    at : time in ISO 8601 (UTC).
    by : command that showed the measures.
    settled, planned : number of settled and of planned runs at that time.
    """

    at: str
    by: str
    settled: int
    planned: int

    def __str__(self) -> str:
        when = self.at[:16].replace("T", " ")
        runs = f"{self.settled:,} of {counted(self.planned, 'run')} settled"
        return f"on {when} UTC by {self.by}, with {runs}"


def read(directory: Place) -> tuple[Unblinding, ...]:
    """Return a study's records, oldest first.

    Raises
    ------
    StoreError: a record is broken.
    """
    folder = directory / UNBLINDED
    try:
        names = sorted(path.name for path in folder.iterdir() if FILE_NAMES[UNBLINDED].fullmatch(path.name))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed ({error.strerror or error}); restore the folder") from None
    return tuple(_record(folder / name) for name in names)


def _record(path: Place) -> Unblinding:
    try:
        found = json.loads(read_file(path).decode("utf-8"))
        record = Unblinding(str(found["at"]), str(found["by"]), int(found["settled"]), int(found["planned"]))
        datetime.fromisoformat(record.at)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        advice = advice_on(error, "restore the file")
        raise StoreError(f"{path}: not readable as an unblinding record ({error}); {advice}") from None
    return record


def add(directory: Place, by: str, settled: int, planned: int, at: datetime | None = None) -> Unblinding:
    """Store a record that test measures are shown before the verdict.

    Raises
    ------
    StoreError: the record cannot be written.
    """
    now = datetime.now(UTC) if at is None else at
    record = Unblinding(now.isoformat(timespec="seconds"), by, settled, planned)
    content = (json.dumps(asdict(record), indent=2) + "\n").encode()
    folder = directory / UNBLINDED
    try:
        if isinstance(folder, Path):
            _refuse_link(folder)
            make_folder(folder)
        for number in range(_MOST):
            if _create(folder / f"{number:03}.json", content):
                return record
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error}), and test measures are shown before the verdict only if the study "
            "records it; omit --unblind, or ask for write access"
        ) from None
    raise StoreError(f"{folder}: has {_MOST} records, the maximum; omit --unblind")


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise StoreError(f"{folder}: is a link, so the record would be written elsewhere; remove the link")


def _create(path: Place, content: bytes) -> bool:
    """Write a new file; return False if a file with this name exists."""
    if isinstance(path, ObjectPath):
        return object_store.put(path, content, create=True) is not None
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    share(path)
    return True
