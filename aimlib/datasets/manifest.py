"""The manifest of a packed store. It is written last, so a store without a manifest is unfinished."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aimlib.component import Frozen
from aimlib.paths import share

FORMAT = 1
MANIFEST = "manifest.json"
INDEX = "index.json"
BLOCK = 1 << 20


class PackedFile(Frozen):
    """One file of a store: its length in bytes and its SHA-256."""

    bytes: int
    sha256: str


class PackedSplit(Frozen):
    """One split: its number of photos, and its digest, from which the data's fingerprint is computed."""

    photos: int
    digest: str


class Manifest(Frozen):
    """The description by which a store is recognized as the requested one, and as complete."""

    format: int
    build: str
    """Random; distinguishes two builds in the same place."""
    data: str
    recipe: dict[str, Any]
    root: str
    """Where the photos were; information for users only."""
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
    """Versions of the libraries that decoded the photos; information for users only."""

    def whole(self, folder: Path) -> bool:
        """Return whether every file in `folder` has its original length."""
        try:
            return all((folder / name).stat().st_size == file.bytes for name, file in self.files.items())
        except OSError:
            return False

    def damages(self, folder: Path) -> list[str]:
        """Return the problems of the files in `folder`, reading all of them; an empty list if there are none."""
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


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in `folder`, or None if it is missing or this version cannot use it."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
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
