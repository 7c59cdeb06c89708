"""`ablate across`: combine two studies on different backbones. In Python: `analysis.across`."""

from __future__ import annotations

from typing import Annotated

import typer

from ablations.commands.options import Directory, console


def command(
    first: Directory,
    second: Annotated[str, typer.Argument(help="Directory of the study on another backbone.", show_default=False)],
) -> None:
    """Combine two studies on different backbones: the verdict of each, their mean and their difference."""
    import analysis

    found = analysis.across(*(analysis.examine(analysis.load(directory)) for directory in (first, second)))
    console().print(found.sentence, markup=False, highlight=False)
