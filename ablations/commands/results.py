"""`ablate results`: show, filter, group and export results. In Python: `analysis.load`, `select`, `summarise`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ablations.commands.options import Directory, console
from aimlib.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = (
    "arm",
    "seed",
    "status",
    "test_accuracy",
    "validation_accuracy",
    "selected_epoch",
    "epochs_run",
    "seconds",
    "run_id",
)


def command(
    directory: Directory,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Keep rows that match, e.g. arm=aim or seed>=2; repeatable."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns to show, separated by commas; 'all' shows every column.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Group by these columns and show mean, SD, n and interval.", show_default=False)
    ] = None,
    value: Annotated[str, typer.Option(help="Column to summarise with --by.")] = "test_accuracy",
    table: Annotated[
        Literal["runs", "epochs", "predictions", "models", "trials"],
        typer.Option(help="Table to show; trials is the old name of runs."),
    ] = "runs",
    csv: Annotated[
        Path | None, typer.Option(help="Write CSV to this file ('-' prints it).", show_default=False)
    ] = None,
) -> None:
    """Show, filter, group and export the results of a study."""
    import analysis
    from ablations.commands import console_tables
    from analysis.query import refuse_unknown

    runs = table in {"runs", "trials"}
    frame = analysis.select(getattr(analysis.load(directory), "runs" if runs else table), where or [])
    if by is not None:
        frame = analysis.summarise(frame, by=by.split(","), value=value)
    elif columns != "all":
        shown = columns.split(",") if columns else list(_SHOWN if runs and csv is None else frame.columns)
        refuse_unknown(frame, shown)
        frame = frame[shown]
    if csv is None:
        console_tables.frame(frame, console())
    else:
        _write(frame, csv)


def _write(frame: pd.DataFrame, csv: Path) -> None:
    try:
        frame.to_csv(sys.stdout if str(csv) == "-" else csv, index=False)
    except OSError as error:
        raise UsageError(f"--csv {csv}: cannot be written ({error}); give another file, or - to print") from error
