"""`ablate results`: show, filter, group and export. In Python: `analysis.load`, `select`, `summarise`, `pivot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ablations.commands.options import Wide, console
from aimlib.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    import analysis

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
_OF_IMPORTANCES = (
    "Importances describe how the accuracies of the search's own trials vary with a parameter. The sampler chose these "
    "trials, so they are observational: no effects, and without intervals."
)
_NO_IMPORTANCES = (
    "No importances: they are stored when a search is complete, for arms with at least 10 complete trials of different "
    "accuracies."
)
_TABLES_OF_SEVERAL = ("runs", "trials", "epochs", "models", "factors")

Directories = Annotated[
    list[str],
    typer.Argument(
        metavar="DIRECTORY...",
        help="Study directories, as `ablate run` writes them, or their s3://, gs:// or az:// URLs.",
        show_default=False,
    ),
]


def command(
    directories: Directories,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Keep rows, e.g. arm=aim, or \"batch_size >= 50 and placement == 'stage_only'\"; repeatable.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns to show, separated by commas; 'all' shows every column.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Group by these columns, separated by commas.", show_default=False)
    ] = None,
    value: Annotated[str, typer.Option(help="Column to summarise with --by.")] = "test_accuracy",
    stat: Annotated[
        str, typer.Option(help="What --by shows, separated by commas: runs, n, mean, median, sd, se, min, max, ci.")
    ] = "runs,n,mean,sd,ci",
    sort: Annotated[
        str | None,
        typer.Option(help="Sort by these columns, separated by commas; -COLUMN: high to low.", show_default=False),
    ] = None,
    table: Annotated[
        Literal["runs", "epochs", "predictions", "models", "factors", "importances", "trials"],
        typer.Option(help="Table to show; trials is the old name of runs."),
    ] = "runs",
    csv: Annotated[
        Path | None, typer.Option(help="Write CSV to this file ('-' prints it).", show_default=False)
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write Parquet to this file.", show_default=False)] = None,
    wide: Wide = False,
) -> None:
    """Show, filter, group and export the results of a study, or of several together."""
    import analysis
    from ablations.commands import console_tables

    frame = analysis.select(_table(directories, table), where or [])
    exported = csv is not None or parquet is not None
    frame = _summary(frame, by, value, stat, sort) if by is not None else _rows(frame, columns, sort, exported)
    if csv is not None:
        _write(frame, csv)
    if parquet is not None:
        _write_parquet(frame, parquet)
    if not exported:
        console_tables.frame(frame, console(), wide=wide)
        if by is not None:
            console().print(f"\n{_of_groups(value, frame)}", markup=False, highlight=False)
        if table == "importances":
            console().print(f"\n{_OF_IMPORTANCES if len(frame) else _NO_IMPORTANCES}", markup=False, highlight=False)


def _table(directories: list[str], table: str) -> pd.DataFrame:
    import analysis

    found: analysis.Results | analysis.Studies
    with_epochs = table == "epochs"
    if len(directories) == 1:
        found = analysis.load(directories[0], epochs=with_epochs)
    elif table in _TABLES_OF_SEVERAL:
        found = analysis.load(directories, epochs=with_epochs)
    else:
        raise UsageError(f"--table {table}: shown for one study at a time; got {len(directories)}, so give one")
    return getattr(found, "runs" if table == "trials" else table)  # type: ignore[no-any-return]


def _summary(frame: pd.DataFrame, by: str, value: str, stat: str, sort: str | None) -> pd.DataFrame:
    from analysis.reading.query import STATISTICS, summarise

    asked = _listed(stat)
    known = [name for name in STATISTICS if name in asked]
    if set(asked) - set(known) or not asked:
        raise UsageError(
            f"--stat {stat}: not a list of statistics; give any of {', '.join(STATISTICS)}, separated by commas"
        )
    chosen = sorted(known, key=asked.index)
    return summarise(frame, _listed(by), value, statistics=chosen, sort=_listed(sort))


def _of_groups(value: str, frame: pd.DataFrame) -> str:
    """Return the sentence below a table of groups: what was summarised, and which interval is shown."""
    interval = "; lower and upper: 95 % t interval of the mean, as if runs were independent" if "lower" in frame else ""
    return f"{value} over the runs of each group{interval}"


def _rows(frame: pd.DataFrame, columns: str | None, sort: str | None, exported: bool) -> pd.DataFrame:
    from analysis.reading.query import refuse_unknown, sort_by

    frame = sort_by(frame, _listed(sort))
    if columns == "all" or (columns is None and (exported or not set(_SHOWN) <= set(frame.columns))):
        return frame
    reused = ("reused_from",) if "reused_from" in frame.columns and frame["reused_from"].notna().any() else ()
    shown = _listed(columns) or [name for name in ("directory", *_SHOWN, *reused) if name in frame.columns]
    refuse_unknown(frame, shown)
    return frame[shown]


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names else []


def _write(frame: pd.DataFrame, csv: Path) -> None:
    from analysis.reading.spreadsheets import for_spreadsheets

    try:
        for_spreadsheets(frame).to_csv(sys.stdout if str(csv) == "-" else csv, index=False)
    except OSError as error:
        raise UsageError(f"--csv {csv}: cannot be written ({error}); give another file, or - to print") from error


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        frame.to_parquet(path, index=False)
    except OSError as error:
        raise UsageError(f"--parquet {path}: cannot be written ({error}); give another file") from error
