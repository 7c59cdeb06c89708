"""The manifest of a packed store. The manifest is written last, so a store without one is incomplete."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash
from pydantic import ValidationError

from aimlib.component import Frozen
from aimlib.paths import read_file, share

FORMAT = 1
MANIFEST = "manifest.json"
INDEX = "index.json"
CHECKSUMS = "checksums.json"
BLOCK = 1 << 20
_MOST_BYTES = 1 << 26
"""Maximum size of a manifest in bytes; a manifest has one line per file."""


class PackedFile(Frozen):
    """One file of a store: its length in bytes and its SHA-256."""

    bytes: int
    sha256: str


class PackedSplit(Frozen):
    """One split: its number of photos, and its digest, which enters the data's fingerprint."""

    photos: int
    digest: str


class Manifest(Frozen):
    """The description of a store, which shows whether the store is the requested one and is complete."""

    format: int
    build: str
    """A random text that distinguishes builds in the same folder."""
    data: str
    recipe: dict[str, Any]
    root: str
    """Folder that contained the photos when they were packed; only for the user's information."""
    listing: str
    stamp: str
    """Hash of the photos' sizes and modification times when they were packed."""
    content: str
    """Hash of the photos' bytes."""
    classes: tuple[str, ...]
    splits: dict[str, PackedSplit]
    files: dict[str, PackedFile]
    fingerprint: str
    decoder: str
    """Versions of the libraries that decoded the photos; only for the user's information."""

    def whole(self, folder: Path) -> bool:
        """Return whether all files in `folder` have their original length."""
        try:
            return all((folder / name).stat().st_size == file.bytes for name, file in self.files.items())
        except OSError:
            return False

    def damages(self, folder: Path) -> list[str]:
        """Read all files in `folder` and return the problems found; an empty list if there are none."""
        found: list[str] = []
        for name, file in self.files.items():
            path = folder / name
            if not path.is_file():
                found.append(f"{path}: missing")
            elif path.stat().st_size != file.bytes:
                found.append(f"{path}: {path.stat().st_size:,} bytes instead of {file.bytes:,}")
            elif file_digest(path) != file.sha256:
                found.append(f"{path}: the content has changed since it was packed")
        return found


def write_checksums(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Write and return a fast checksum (XXH3) of every file in a store, so that processes can verify what they map.

    The checksums are stored in a file next to the manifest, because earlier versions refuse a manifest with additional
    fields. That file also contains the recipe; all other important parts of the manifest are checked in other ways.
    """
    files = {name: _fast_digest(folder / name) for name in sorted(manifest.files)}
    content = {"build": manifest.build, "files": files, "recipe": manifest.recipe}
    temporary = folder / f".{CHECKSUMS}.{os.getpid()}"
    temporary.write_text(json.dumps(content), encoding="ascii")
    share(temporary)
    temporary.replace(folder / CHECKSUMS)
    return files


def damaged_files(folder: Path, manifest: Manifest) -> list[str]:
    """Read all files, and return the names of the files whose content is not what was packed.

    If a store from an earlier version has no checksums, its files are compared with their SHA-256 hashes, and checksums
    are added.
    """
    known = _checksums(folder, manifest)
    if known is not None:
        found = [name for name in manifest.files if _fast_digest(folder / name) != known["files"].get(name)]
        return [*found, MANIFEST] if known.get("recipe", manifest.recipe) != manifest.recipe else found
    damaged = [name for name, file in manifest.files.items() if file_digest(folder / name) != file.sha256]
    if not damaged:
        with suppress(OSError):  # only other users may write to the cache
            write_checksums(folder, manifest)
    return damaged


def _checksums(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """Return the checksums, keyed by file, and the recipe; None if this build has no checksums."""
    try:
        content = json.loads(read_file(folder / CHECKSUMS, _MOST_BYTES))
        return {**content, "files": dict(content["files"])} if content["build"] == manifest.build else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _fast_digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in `folder`, or None if it is missing or this version cannot use it."""
    try:
        manifest = Manifest.model_validate_json(read_file(folder / MANIFEST, _MOST_BYTES))
    except (OSError, ValidationError):  # packing the photos again then reports what is wrong with the folder
        return None
    return manifest if manifest.format == FORMAT else None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into `folder` atomically."""
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    share(temporary)
    temporary.replace(folder / MANIFEST)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
