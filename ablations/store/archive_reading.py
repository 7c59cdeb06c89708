"""Reading archives from other people: archives are unpacked safely and compared with their manifests."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.store.archive import FORMAT, MANIFEST, STUDY, digests
from aimlib.errors import StoreError, UsageError

_MOST_BYTES = 64 * 2**30
"""Maximum size of an unpacked archive in bytes."""
_MOST_FILES = 200_000


@dataclass(frozen=True)
class Unpacked:
    """An unpacked archive.

    Attributes
    ----------
    study : the study directory in the archive.
    manifest : the content of the archive's `archive.json`.
    problems : files that are missing, added or changed.
    """

    study: Path
    manifest: Mapping[str, Any]
    problems: tuple[str, ...]


def unpack(path: Path, folder: Path) -> Unpacked:
    """Unpack an archive into an empty folder, and compare its files with its manifest.

    Raises
    ------
    UsageError: the file does not exist.
    StoreError: the file is not an archive of a study, is truncated, or is unreasonably large when unpacked.
    """
    _extract(path, folder)
    roots = [each for each in folder.iterdir() if each.is_dir()]
    try:
        (root,) = roots
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        files, number = {**manifest["files"]}, manifest["format"]
        "".join((*files, manifest["verdict"], manifest["study"]))  # raises a TypeError unless all are strings
    except (ValueError, OSError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path}: contains no readable {MANIFEST}; pass a file written by `ablate archive`") from None
    if number != FORMAT:
        raise StoreError(
            f"{path}: archive format {number!r}; this package can read format {FORMAT}: update aim-ablations"
        )
    return Unpacked(root / STUDY, manifest, tuple(_differences(files, root)))


def _extract(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path, "r:gz") as archive:
            size, count = 0, 0
            for entry in archive:
                size, count = size + entry.size, count + 1
                if size > _MOST_BYTES or count > _MOST_FILES:
                    raise StoreError(f"{path}: unpacks to more than 64 GiB or {_MOST_FILES:,} files; refused")
                if not entry.isfile():
                    raise StoreError(f"{path}: contains {entry.name!r}, which is not a plain file; refused")
                archive.extract(entry, folder, filter="data")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file or study directory") from None
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable archive ({error}); obtain it again") from None


def _differences(files: Mapping[str, str], root: Path) -> Iterator[str]:
    there = {name: digest for name, digest, _ in digests(root)}
    for name in sorted(files.keys() | there.keys()):
        if name not in there:
            yield f"{name} is missing"
        elif name not in files:
            yield f"{name} was added"
        elif files[name] != there[name]:
            yield f"{name} was changed"
