"""`ablate across`: combine two studies on different backbones. In Python: `ablations.across`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory, console

if TYPE_CHECKING:
    from aimlib.paths import Place
    from analysis.findings.two_backbones import Across


def command(
    first: Directory,
    second: Annotated[str, typer.Argument(help="Directory of the study on another backbone.", show_default=False)],
) -> None:
    """Combine two studies on different backbones: the verdict of each, their mean and their difference."""
    console().print(across(first, second).sentence, markup=False, highlight=False)


def across(first: str | Place, second: str | Place) -> Across:
    """Return the primary comparisons of two studies on different backbones together; see `analysis.across`.

    Parameters
    ----------
    first, second : study directories, or their URLs in object storage.

    Raises
    ------
    UsageError: one of them has no primary comparison of two pairs, both have the same backbone, or they ask different
        questions.
    """
    import analysis

    one, other = (analysis.examine(analysis.load(directory)) for directory in (first, second))
    return analysis.across(one, other)
