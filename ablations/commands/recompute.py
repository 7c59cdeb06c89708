"""`ablate recompute`: compute the verdict of an archived study again. In Python: `ablations.recompute`."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from ablations.commands.options import console


@dataclass(frozen=True)
class Recomputed:
    """The verdict of an archived study, computed again.

    Attributes
    ----------
    study : the study's name.
    verdict : the headline computed from the study's rows.
    stated : the headline stated in the archive.
    version : version of this package that wrote the archive.
    same_numbers : whether the archive states the numbers of all comparisons, and they match.
    problems : contradictions in the archive; empty if there are none.
    report : path of the report's page, if a report was requested.
    """

    study: str
    verdict: str
    stated: str
    version: str = ""
    same_numbers: bool = False
    problems: tuple[str, ...] = ()
    report: Path | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the archive contains no contradictions and the verdict matches the stated one.

        For an archive that a different version wrote, the numbers must match, but the wording may differ.
        """
        return not self.problems and (self.verdict == self.stated or self._differs_in_words_only)

    @property
    def _is_from_another_version(self) -> bool:
        return self.version != metadata.version("aim-ablations")

    @property
    def _differs_in_words_only(self) -> bool:
        return self.same_numbers and self._is_from_another_version


def command(
    archive: Annotated[Path, typer.Argument(help="A .tar.gz file written by `ablate archive`.", show_default=False)],
    report: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default=False)] = None,
) -> None:
    """Verify a study's archive and compute its verdict again; the exit code is 1 if a check fails."""
    from aimlib.records.escaping import printable

    found, shown_on = recompute(archive, report), console()
    for line in _lines(found):
        shown_on.print(printable(line), soft_wrap=True, markup=False, highlight=False)
    if not found.confirmed:
        raise typer.Exit(1)


def recompute(archive: str | Path, report: str | Path | None = None) -> Recomputed:
    """Verify an archive, and compute the verdict of its study again.

    Every file is compared with its SHA-256, every row with the ledger, and every accuracy with the predictions. The
    study's own code is not imported.

    Parameters
    ----------
    archive : file written by `archive`.
    report : folder for the report; if None, no report is written.

    Raises
    ------
    UsageError: the file does not exist.
    StoreError: the file is not an archive, or its rows cannot be read.
    """
    import analysis
    from ablations.commands.verify import verify
    from ablations.store.archive import MANIFEST, numbers_of
    from ablations.store.archive_reading import unpack
    from aimlib.errors import StoreError

    with tempfile.TemporaryDirectory(prefix="ablate-archive-") as scratch:
        found = unpack(Path(archive), Path(scratch))
        stated = found.manifest["verdict"]
        problems = list(found.problems)
        try:
            verified = verify(found.study)
            damages = map(str, verified.inspection.damages)
            problems += [*damages, *verified.ledger.contradictions, *verified.contradictions]
            findings = analysis.examine(analysis.load(found.study))  # while the predictions still exist
            verdict, name = findings.headline, findings.results.plan.name
            same = _are_equal(found.manifest.get("comparisons"), numbers_of(findings))
            if name != found.manifest["study"]:
                problems.append(f"{MANIFEST} names a different study; the plan belongs to {name}")
            page = analysis.report(found.study, report) if report is not None else None
        except StoreError as error:
            cause = str(error).replace(f"{scratch}/", "")
            return Recomputed(found.manifest["study"], "none", stated, problems=(*problems, cause))
    version = str(found.manifest.get("package_version", ""))
    return Recomputed(found.manifest["study"], verdict, stated, version, same, tuple(problems), page)


def _are_equal(stated: object, computed: object) -> bool:
    """Return whether two JSON values are equal, except that numbers may differ by rounding."""
    if isinstance(stated, dict) and isinstance(computed, dict):
        return stated.keys() == computed.keys() and all(_are_equal(stated[key], computed[key]) for key in computed)
    if isinstance(stated, list) and isinstance(computed, list):
        return len(stated) == len(computed) and all(map(_are_equal, stated, computed))
    if isinstance(stated, float) and isinstance(computed, float):
        return math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-9)
    return stated == computed


def _lines(found: Recomputed) -> list[str]:
    """Return the lines to print about an archive whose verdict was computed again."""
    text = [f"study {found.study}", f"verdict now: {found.verdict}"]
    text += [f"contradiction: {each}" for each in found.problems]
    if found.verdict == found.stated:
        text.append("This matches the verdict stated in the archive.")
    elif found._differs_in_words_only:
        text.append(f"The numbers match those in the archive. Version {found.version} wrote: {found.stated}")
    else:
        text.append(f"The archive states a different verdict: {found.stated}")
        if found._is_from_another_version:
            text.append(
                f"Version {found.version or 'unknown'} wrote the archive and may have used different words: the "
                "archive's README explains how to recompute the verdict with the archived source."
            )
    text += [f"report: {found.report}"] if found.report is not None else []
    return text
