"""`ablate studies`: list the studies that come with the package. In Python: `ablations.studies`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import typer


@dataclass(frozen=True)
class ShippedStudy:
    """A study that comes with the package.

    Attributes
    ----------
    name : name that the commands accept in place of a file.
    asks : the question that the study answers.
    arms, runs : numbers of arms and runs, excluding the runs that a search adds.
    trial_runs : number of trial runs in the search; 0 without a search.
    needs : the device and the data that the study requires.
    """

    name: str
    asks: str
    arms: int
    runs: int
    needs: str
    trial_runs: int = 0

    @property
    def size(self) -> str:
        """The number of runs in words."""
        return f"{self.runs} + {self.trial_runs} in trials" if self.trial_runs else str(self.runs)


_GPU, _CPU, _DIGITS = "a GPU; photos of 120 breeds", "a CPU; photos of 20 breeds", "a CPU"
_STUDIES = (
    ShippedStudy(
        "demo",
        "Does memory help a small ResNet on digits? The study takes minutes from file to verdict.",
        4,
        20,
        _DIGITS,
    ),
    ShippedStudy(
        "squeeze_excitation",
        "Does squeeze-and-excitation help on digits? The study does not involve memory.",
        5,
        40,
        _DIGITS,
    ),
    ShippedStudy("replication", "Can the reported number be reproduced with the author's original setup?", 2, 10, _GPU),
    ShippedStudy("controlled", "Does memory cause a gain, all else equal?", 4, 20, _GPU),
    ShippedStudy(
        "confounds",
        "What else may have caused the reported gap? The study varies one difference at a time.",
        11,
        55,
        _GPU,
    ),
    ShippedStudy("placement", "Which layers should read the memory?", 9, 45, _GPU),
    ShippedStudy("update", "How should features rewrite the memory, and should the memory be passed on?", 14, 70, _GPU),
    ShippedStudy("memory_size", "How large should the memory be, and what should produce it?", 12, 60, _GPU),
    ShippedStudy("vgg16", "Does the gain carry over to VGG16?", 5, 25, _GPU),
    ShippedStudy("mlp", "Does the gain carry over to fully connected networks?", 5, 25, _GPU),
    ShippedStudy("screening", "Which memory is best, compared with an equally tuned baseline?", 4, 20, _GPU, 240),
    ShippedStudy("replication_small", "like replication, but narrow and at 64 pixels", 2, 10, _CPU),
    ShippedStudy("controlled_small", "like controlled, but with a small ResNet at 64 pixels", 4, 20, _CPU),
    ShippedStudy("confounds_small", "like confounds, but narrow and at 64 pixels", 11, 55, _CPU),
    ShippedStudy("placement_small", "like placement, but with a small ResNet at 64 pixels", 8, 40, _CPU),
    ShippedStudy("update_small", "like update, but on digits", 14, 70, _DIGITS),
    ShippedStudy("memory_size_small", "like memory_size, but on digits", 10, 50, _DIGITS),
    ShippedStudy("vgg16_small", "like vgg16, but narrow and at 64 pixels", 5, 25, _CPU),
    ShippedStudy("mlp_small", "like mlp, but on digits", 5, 25, _DIGITS),
    ShippedStudy("variance_small", "Which source of randomness affects the accuracy on digits?", 10, 120, _DIGITS),
    ShippedStudy("screening_small", "like screening, but on digits", 2, 10, _DIGITS, 24),
)
"""The shipped studies. Their numbers of runs are written out, because reading the files would be too slow for a
command; a test compares the numbers with the files."""
_HEADINGS = ("name", "asks", "arms", "runs", "needs")


class ShippedStudies(tuple[ShippedStudy, ...]):
    """The shipped studies; printed as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return one line per study, below the headings."""
        rows = [_HEADINGS, *_rows(self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (map(str.ljust, row, widths) for row in rows)
        return "\n".join("  ".join(cells).rstrip() for cells in lines)

    def _repr_html_(self) -> str:
        from aimlib.records.html_tables import table

        return table(_HEADINGS, _rows(self), numbers=("arms", "runs"))


def command() -> None:
    """List the shipped studies, with each study's question, size and requirements."""
    typer.echo(repr(studies()))


def studies() -> ShippedStudies:
    """Return the studies that come with the package, in the recommended reading order."""
    return ShippedStudies(_STUDIES)


def _rows(found: Iterable[ShippedStudy]) -> list[tuple[str, ...]]:
    return [(each.name, each.asks, str(each.arms), each.size, each.needs) for each in found]
