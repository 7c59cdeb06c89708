"""`ablate across`: combine studies that ask the same question in several settings. In Python: `ablations.across`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Wide, console
from aimlib.errors import UsageError

if TYPE_CHECKING:
    from aimlib.paths import Place
    from analysis.statistics.across import Across

_FORMATS = (".png", ".svg", ".pdf")


def command(
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIRECTORY...",
            help="Directories of two or more studies that ask the same question on different backbones, data sets "
            "or sizes.",
            show_default=False,
        ),
    ],
    csv: Annotated[
        Path | None, typer.Option(help="Write the effects to this file, one row per study.", show_default=False)
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the effects in this .png, .svg or .pdf file.", show_default=False)
    ] = None,
    wide: Wide = False,
) -> None:
    """Combine studies on several backbones, data sets or sizes: all verdicts, their mean, and partial pooling."""
    from ablations.commands import console_tables

    found = across(*directories, csv=csv, figure=figure)
    shown = found.frame.drop(columns="study").set_index("name").reset_index()
    console_tables.frame(shown, console(), wide=wide)
    for text in (found.sentence, f"Assumed: {' '.join(found.assumptions)}"):
        console().print(f"\n{text}", markup=False, highlight=False)


def across(*directories: str | Place, csv: str | Path | None = None, figure: str | Path | None = None) -> Across:
    """Return the combined primary comparisons of several studies; see `analysis.across`.

    Parameters
    ----------
    directories : two or more study directories, or their URLs in object storage.
    csv : file to which the effects are written, one row per study.
    figure : .png, .svg or .pdf file in which the effects are drawn.

    Raises
    ------
    UsageError: a study has no primary comparison with at least two pairs, two studies have the same setting or share
        runs, the studies ask different questions, or a file cannot be written.
    """
    import analysis

    if figure is not None and Path(figure).suffix.lower() not in _FORMATS:
        raise UsageError(f"--figure {figure}: the file name must end in {', '.join(_FORMATS)}")
    found = analysis.across(*(analysis.examine(analysis.load(directory)) for directory in directories))
    try:
        if csv is not None:
            found.frame.to_csv(csv, index=False)
        if figure is not None:
            from analysis.figures.several_studies import several_studies

            several_studies(found).savefig(figure)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or figure or csv}: {error.strerror or error}") from None
    return found
