"""Write a list of excluded photos from findings: `ablate data verify --fix`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aimlib.datasets.exclusions import Exclusions, exclude, read_exclusions, write_exclusions
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.verification.findings import Finding
from aimlib.errors import DataError
from aimlib.records.escaping import storable


def write_fix(file: Path, plugin: PhotoPlugin, findings: Sequence[Finding]) -> list[Finding]:
    """Write a list of the photos that findings exclude, and return the problems with the list.

    The new list includes the photos already listed in `data.exclude`, so it can replace the old list. If there is
    nothing to exclude, no list is written. Names that are not UTF-8 are left out, because the data is refused because
    of these names anyway.

    Raises
    ------
    DataError: the file already exists, or cannot be written.
    """
    before = plugin.config.exclude
    reasons = {} if before is None else dict(read_exclusions(before).reasons)
    for finding in findings:
        for path in finding.excluded:
            if storable(path) == path:
                reasons.setdefault(path, storable(" ".join(finding.reason.split())))
    if not reasons:
        return []
    listing = plugin.survey().listing
    comments = [f"Photos of {listing.name} in {listing.root} to leave out: set data.exclude to this file in a study."]
    write_exclusions(file, sorted(reasons.items()), comments)
    try:
        exclude(listing, Exclusions(file, reasons))
    except DataError as error:
        return [Finding("exclusion", str(file), str(error))]
    return []
