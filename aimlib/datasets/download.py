"""Download Stanford Dogs: three archives from its home page or a mirror are fetched, checked and unpacked."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aimlib.datasets.dogs_lists import LISTS
from aimlib.datasets.extraction import Limits, unpack
from aimlib.datasets.pixel_files import Progress
from aimlib.datasets.transfer import RemoteFile, RetryPolicy, fetch, mismatch
from aimlib.errors import DataError, renamed

BASE_URL = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
UNPACKING = ".unpacking-"


@dataclass(frozen=True)
class Archive:
    """One archive of a data set.

    Attributes
    ----------
    file : the archive's address, size and hash.
    folder : the folder below the data's root into which the archive is unpacked.
    inside : the folder in the archive that becomes `folder`; empty if the entire archive becomes `folder`.
    extra : True if nothing in this package needs the archive; it is then fetched only together with other archives.
    """

    file: RemoteFile
    folder: str
    inside: str = ""
    extra: bool = False


def stanford_dogs_archives(base_url: str = BASE_URL) -> tuple[Archive, ...]:
    """Return the three archives of Stanford Dogs as they are at `base_url`."""
    base = base_url.rstrip("/") + "/"

    def file(name: str, size: int, sha256: str) -> RemoteFile:
        return RemoteFile(name, size, sha256, base + name)

    return (
        Archive(
            file("lists.tar", 481_280, "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c"),
            "lists",
        ),
        Archive(
            file(
                "annotation.tar",
                21_852_160,
                "662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd",
            ),
            "Annotation",
            "Annotation",
            extra=True,
        ),
        Archive(
            file("images.tar", 793_579_520, "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"),
            "Images",
            "Images",
        ),
    )


@renamed(patience="retry_policy")
def download_stanford_dogs(
    root: str | Path,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    archives: Sequence[Archive] | None = None,
    retry_policy: RetryPolicy | None = None,
    limits: Limits | None = None,
) -> Path:
    """Download Stanford Dogs into `root` and return that folder; parts that exist are not fetched again.

    Archives that are already in `root` are checked, used and kept; fetched archives are removed after unpacking. A
    folder gets its final name only when it is complete. If a call is interrupted, the next call continues the download.

    Parameters
    ----------
    root : folder for the data; created if it does not exist.
    base_url : address of the folder with the archives, http or https.
    progress : called as progress("downloading images.tar", bytes done, total bytes), and similarly for unpacking.
    archives : archives to use instead of the official ones; `base_url` then has no effect.
    retry_policy : timeout, number of attempts, and pauses between them.
    limits : limits on the content of an archive.

    Raises
    ------
    DataError: the disk is full, access or connection fails, or an archive is not the expected one.
    """
    folder = Path(root).expanduser()
    wanted = stanford_dogs_archives(base_url) if archives is None else archives
    if not _absent(folder, wanted):
        return folder
    from filelock import FileLock  # noqa: PLC0415 -- needed only for downloads

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            for leftover in folder.glob(f"{UNPACKING}*"):
                shutil.rmtree(leftover)
            absent = _absent(folder, wanted)
            _check_space(folder, absent)
            for archive in absent:
                _bring(archive, folder, progress, retry_policy or RetryPolicy(), limits or Limits())
    except OSError as error:
        raise DataError(
            f"{folder}: cannot put the data there: {error}; choose a different folder with --root"
        ) from error
    return folder


def _absent(folder: Path, archives: Sequence[Archive]) -> list[Archive]:
    """Return the archives whose folders do not exist; an empty list if only folders of extras are missing."""
    flat = all((folder / name).is_file() for name in LISTS.values())
    absent = [
        archive
        for archive in archives
        if not (folder / archive.folder).is_dir() and not (flat and archive.folder == "lists")
    ]
    return absent if any(not archive.extra for archive in absent) else []


def _check_space(folder: Path, absent: Sequence[Archive]) -> None:
    needed = 0
    for archive in absent:
        needed += int(archive.file.size * 1.1)  # unpacked files occupy entire disk blocks
        if not (folder / archive.file.name).exists():
            part = folder / f"{archive.file.name}.part"
            needed += archive.file.size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed to download and unpack; free some "
            f"space, or choose a different folder with --root"
        )


def _bring(
    archive: Archive, folder: Path, progress: Progress | None, retry_policy: RetryPolicy, limits: Limits
) -> None:
    """Fetch one archive, unpack it into a temporary folder, then rename the result into place."""
    path = folder / archive.file.name
    found = path.exists()
    if found:
        problem = mismatch(path, archive.file)
        if problem:
            raise DataError(f"{path}: {problem}; remove it and try again")
    else:
        fetch(archive.file, folder, progress, retry_policy)
    temporary = folder / f"{UNPACKING}{uuid.uuid4().hex[:8]}"
    try:
        unpack(path, temporary, limits, progress)
        content = temporary / archive.inside
        if not content.is_dir():
            raise DataError(f"{path}: the archive has no folder {archive.inside!r}; use the right archive")
        content.rename(folder / archive.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not found:
        path.unlink()
