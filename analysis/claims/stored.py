"""A copy of a user's own claim in the study that tests it, so that a report can be written anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aimlib.errors import StoreError
from aimlib.paths import Place, advice_on, read_file
from aimlib.records import CLAIM_FILE
from aimlib.records.checksums import sealed_document
from analysis.claims import Claim, claim_from, named_files, read_claim

_SUFFIXES = (".yaml", ".yml")
_REMEDY = "restore it from a copy, or continue the study with `ablate run`, which writes it again"


def is_own(claim: str | None) -> bool:
    """Return whether a claim is a user's file, not a claim that ships with the package."""
    return claim is not None and claim.endswith(_SUFFIXES)


def name_of(claim: str | None) -> str | None:
    """Return a shipped claim's name, or the name of a claim's file; studies from earlier versions contain its path."""
    return claim if claim is None or not is_own(claim) else claim.replace("\\", "/").rpartition("/")[2]


def document_of(claim: str) -> dict[str, Any]:
    """Return what a study stores from a claim's file.

    Raises
    ------
    UsageError: the file cannot be read or contains mistakes.
    """
    path = Path(claim)
    return {"claim": path.name, "files": {name: text.decode("utf-8") for name, text in named_files(path).items()}}


def claim_of(claim: str | None, directory: Place) -> Claim | None:
    """Return a study's claim.

    Parameters
    ----------
    claim : the claim as named in the study's plan.
    directory : the study's directory.

    Raises
    ------
    StoreError: the study's copy is missing or damaged.
    UsageError: the claim is unknown, or the document contains mistakes.
    """
    if claim is None or not is_own(claim):
        return None if claim is None else read_claim(claim)
    path = directory / CLAIM_FILE
    try:
        content = read_file(path)
    except FileNotFoundError:
        return _of_earlier_version(claim, directory)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); {advice_on(error, _REMEDY)}") from error
    stored = sealed_document(content)  # all versions of this package wrote the file with a checksum
    files = stored.get("files") if stored is not None else None
    files = files if isinstance(files, dict) and all(type(text) is str for text in files.values()) else {}
    if stored is None or name_of(claim) not in files or stored.get("claim") != name_of(claim):
        raise StoreError(f"{path}: is damaged, or not the claim {name_of(claim)}; {_REMEDY}")
    return claim_from(path.parent / stored["claim"], lambda name: _text(files, name))


def _text(files: dict[str, str], name: str) -> bytes:
    if name not in files:
        raise FileNotFoundError(name)
    return files[name].encode()


def _of_earlier_version(claim: str, directory: Place) -> Claim:
    """Return the claim at the path in the plan, or the copy that an archive contains next to the plan."""
    beside = directory / Path(claim).name if isinstance(directory, Path) else None
    if Path(claim).is_absolute() and Path(claim).exists():
        return read_claim(claim)
    if beside is not None and beside.exists():
        return read_claim(beside)
    raise StoreError(f"{directory / CLAIM_FILE}: is missing, so the claim {claim} cannot be read; {_REMEDY}")
