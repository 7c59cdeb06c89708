"""`Finding`: something found in the data, with its severity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unusable",
    "count",
    "imbalance",
    "listed_twice",
    "both_lists",
    "missing",
    "unlisted",
    "name",
    "link",
    "unreadable",
    "misplaced",
    "stray",
    "empty",
    "undecodable",
    "damaged",
    "misnamed",
    "mode",
    "animated",
    "rotated",
    "tiny",
    "blank",
    "duplicate",
    "near_duplicate",
    "exclusion",
    "pack",
]
Severity = Literal["error", "remark"]


@dataclass(frozen=True)
class Finding:
    """Something found in the data.

    Attributes
    ----------
    kind : ``unusable`` (the data as a whole), ``count`` (number of photos or classes), ``imbalance`` (of class sizes),
        ``listed_twice`` (in one list), ``both_lists``, ``missing`` (listed, but does not exist), ``unlisted`` (exists,
        but is not listed), ``name`` (names of files and folders), ``link`` (symbolic links), ``unreadable`` (folders
        and files that cannot be opened for lack of permission), ``misplaced`` (photos that are not in a class folder),
        ``stray`` (files and folders that are not used), ``empty`` (no bytes), ``undecodable``, ``damaged`` (JPEG files
        that decode, perhaps with wrong pixels), ``misnamed`` (the format does not match the suffix), ``mode`` (the type
        of a pixel), ``animated``, ``rotated`` (by EXIF, which is ignored), ``tiny``, ``blank`` (one color),
        ``duplicate`` (photos with the same pixels), ``near_duplicate`` (photos that look alike), ``exclusion`` (the
        list of excluded photos), ``pack`` (packed data).
    file : the first file affected, or a folder if the finding is not about files.
    message : what was found, and what to do.
    files : all files affected, as paths below the data's root, such as the files in a group of duplicates.
    severity : ``error``: the data cannot be used unchanged, or accuracies on it would be wrong; ``remark``: worth
        knowing.
    excluded : the `files` that should be on a list of excluded photos.
    reason : why these files are excluded, for the list; the text before its first colon is the kind of reason.
    """

    kind: Kind
    file: str
    message: str
    files: tuple[str, ...] = ()
    severity: Severity = "error"
    excluded: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the data should not be used unchanged."""
        return self.severity == "error"
