"""Download one large file over HTTP; resume after interruptions, and accept the file only if its SHA-256 is correct."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aimlib.datasets.manifest import file_digest
from aimlib.errors import DataError

BLOCK = 1 << 18
LASTING = frozenset({400, 401, 403, 404, 405, 410, 451})
"""Status codes that another attempt would not change."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its name, length in bytes, SHA-256 in hexadecimal digits, and URL."""

    name: str
    size: int
    sha256: str
    url: str


@dataclass(frozen=True)
class RetryPolicy:
    """Timeout and retries of a download.

    Attributes
    ----------
    timeout : number of seconds without data after which an attempt is abandoned.
    attempts : number of consecutive attempts without progress after which the download fails.
    pause : pause before the second attempt, in seconds; the pause doubles for each further attempt, up to 60 s.
    sleep : function that waits for a number of seconds.
    """

    timeout: float = 30.0
    attempts: int = 6
    pause: float = 1.0
    sleep: Callable[[float], None] = time.sleep


class Interrupted(Exception):  # noqa: N818 -- not yet an error: the next attempt continues the download
    """An attempt ended early; the bytes received so far are kept."""


def fetch(
    file: RemoteFile, folder: Path, progress: Callable[[str, int, int], None] | None, retry_policy: RetryPolicy
) -> Path:
    """Download `file` into `folder`, which does not contain it yet, and return its path.

    Bytes are collected in ``<name>.part``, and a later call continues from there.

    Parameters
    ----------
    file : the file to download.
    folder : the folder for it.
    progress : called as progress("downloading <name>", bytes done, total bytes).
    retry_policy : timeout, number of attempts, and pauses between them.

    Raises
    ------
    DataError: the server is unreachable or returns a different file.
    """
    path, part = folder / file.name, folder / f"{file.name}.part"
    failures, most = 0, _length(part)
    while _length(part) != file.size:
        try:
            _attempt(file, part, progress, retry_policy.timeout)
        except Interrupted as cause:
            failures = 1 if _length(part) > most else failures + 1
            most = max(most, _length(part))
            if failures >= retry_policy.attempts:
                raise DataError(
                    f"{file.url}: gave up after {failures} attempts without new bytes: {cause}; "
                    f"{_length(part):,} of {file.size:,} bytes are kept in {part}: try again later, use a "
                    f"different base address, or put {file.name} into {folder} yourself"
                ) from cause
            retry_policy.sleep(min(retry_policy.pause * 2 ** (failures - 1), 60.0))
    problem = mismatch(part, file)
    if problem:
        part.unlink()
        raise DataError(f"{file.url}: {problem}; the fetched file was removed: fetch it from a different base address")
    return part.rename(path)


def mismatch(path: Path, file: RemoteFile) -> str | None:
    """Return how the file at `path` differs from `file`, or None if it does not."""
    length = path.stat().st_size
    if length != file.size:
        return f"{length:,} bytes instead of {file.size:,}"
    digest = file_digest(path)
    return None if digest == file.sha256 else f"SHA-256 is {digest} instead of {file.sha256}"


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(file: RemoteFile, part: Path, progress: Callable[[str, int, int], None] | None, timeout: float) -> None:
    """Fetch the bytes that follow the end of `part`; raise Interrupted if the file is still incomplete."""
    start = _length(part)
    if start > file.size:
        part.unlink()
        start = 0
    request = urllib.request.Request(_checked(file.url))  # noqa: S310 -- checked: http and https only
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _answer(request, file, part, timeout) as answer:
        _receive(answer, file, part, _start_of(answer, file, start), progress)


def _answer(request: urllib.request.Request, file: RemoteFile, part: Path, timeout: float) -> Any:
    try:
        return _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink(missing_ok=True)
        if error.code in LASTING:
            raise DataError(
                f"{file.url}: the server answers {error.code} {error.reason}; check the base address"
            ) from error
        raise Interrupted(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from error


def _start_of(answer: Any, file: RemoteFile, wanted: int) -> int:
    """Return the position in `file` of the first byte of the server's response."""
    if answer.status == 206:
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if given is None or int(given[1]) != wanted or given[2] not in {"*", str(file.size)}:
            raise DataError(f"{file.url}: the server answers with the wrong part of a file; try a different address")
        return wanted
    length = answer.headers.get("Content-Length")
    if length is not None and length != str(file.size):
        raise DataError(
            f"{file.url}: the server has {length} bytes instead of {file.size}: not the right file; "
            f"check the base address"
        )
    return 0


def _receive(
    answer: Any, file: RemoteFile, part: Path, start: int, progress: Callable[[str, int, int], None] | None
) -> None:
    done = start
    with part.open("ab") as out:
        out.truncate(start)
        while block := _read(answer):
            if done + len(block) > file.size:
                out.truncate(0)
                raise DataError(f"{file.url}: more than {file.size} bytes: not the right file; check the base address")
            out.write(block)
            done += len(block)
            if progress is not None:
                progress(f"downloading {file.name}", done, file.size)
    if done != file.size:
        raise Interrupted(f"the connection ended after {done:,} of {file.size:,} bytes")


def _read(answer: Any) -> bytes:
    try:
        block: bytes = answer.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from error
    return block


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise DataError(f"{url}: not a web address; use an address that starts with http:// or https://")
    return url


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that follows redirects only to HTTP and HTTPS addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
