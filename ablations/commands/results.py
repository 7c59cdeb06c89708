"""`ablate results`: show, filter, group and export results. In Python: `ablations.results`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ablations.commands.options import Wide, console
from aimlib.errors import UsageError, counted, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    import analysis
    from aimlib.paths import Place

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
    "Importances describe how the accuracies of the search's own trials vary with a parameter. Because the "
    "sampler chose these trials, importances are observational: they are not effects, and they have no intervals."
)
_NO_IMPORTANCES = (
    "No importances: they are stored when a search is complete, for arms with at least 10 complete trials whose "
    "accuracies differ."
)
_COLUMN = re.compile(r"[\w.]+")
_MOST = 10
"""Maximum number of values listed for a column."""
_TABLES_OF_SEVERAL = ("runs", "trials", "epochs", "models", "factors")

Table = Literal["runs", "epochs", "predictions", "models", "factors", "importances", "trials"]
Listed = str | Sequence[str]
"""Names separated by commas, or a list of names."""
Directories = Annotated[
    list[str],
    typer.Argument(
        metavar="DIRECTORY...",
        help="Study directories written by `ablate run`, or their s3://, gs:// or az:// URLs.",
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
    value: Annotated[str, typer.Option(help="Column to summarize with --by.")] = "test_accuracy",
    stat: Annotated[
        str,
        typer.Option(
            help="Statistics that --by shows, separated by commas: runs, n, mean, median, sd, se, min, max, ci."
        ),
    ] = "runs,n,mean,sd,ci",
    sort: Annotated[
        str | None,
        typer.Option(
            help="Sort by these columns, separated by commas; -COLUMN sorts from high to low.", show_default=False
        ),
    ] = None,
    table: Annotated[
        Table,
        typer.Option(help="Table to show; trials is the former name of runs."),
    ] = "runs",
    csv: Annotated[
        Path | None, typer.Option(help="Write CSV to this file ('-' prints it).", show_default=False)
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write Parquet to this file.", show_default=False)] = None,
    wide: Wide = False,
) -> None:
    """Show, filter, group and export the results of one study, or of several studies together."""
    from ablations.commands import console_tables

    frame = results(
        directories,
        where or (),
        columns=columns,
        by=by,
        value=value,
        stat=stat,
        sort=sort,
        table=table,
        csv=csv,
        parquet=parquet,
    )
    if csv is None and parquet is None:
        if by is None and columns is None:
            frame = frame[_shown(frame)]
        console_tables.frame(frame, console(), wide=wide)
        if where and frame.empty:
            for line in _none_met(_table(directories, table), where):
                console().print(line, markup=False, highlight=False)
        if by is not None:
            console().print(f"\n{_of_groups(value, frame)}", markup=False, highlight=False)
        if table == "importances":
            console().print(f"\n{_OF_IMPORTANCES if len(frame) else _NO_IMPORTANCES}", markup=False, highlight=False)


def results(
    directories: str | Place | Iterable[str | Place],
    where: str | Sequence[str] = (),
    *,
    columns: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    value: str = "test_accuracy",
    stat: str | Sequence[str] = "runs,n,mean,sd,ci",
    sort: str | Sequence[str] | None = None,
    table: Table = "runs",
    csv: str | Path | None = None,
    parquet: str | Path | None = None,
) -> pd.DataFrame:
    """Return one table with the results of one or more studies, filtered, grouped and sorted.

    To work with all tables in pandas, use `analysis.load`.

    Parameters
    ----------
    directories : a study directory, or its URL in object storage; or several of them.
    where : conditions that rows must satisfy, such as ``arm=aim`` or ``batch_size >= 50 and placement ==
        'stage_only'``.
    columns : columns to return, separated by commas or as a list; None returns all.
    by : columns to group by; the result then has one row per group, with the statistics `stat` for the column `value`.
    value : column to summarize.
    stat : any of runs, n, mean, median, sd, se, min, max, ci.
    sort : columns to sort by; with a minus sign in front, a column is sorted from high to low.
    table : runs, epochs, predictions, models, factors or importances.
    csv, parquet : files to which the table is also written; for CSV, ``-`` means standard output.

    Raises
    ------
    StoreError: this is not a study directory, or a file is corrupt.
    UsageError: a column, condition, statistic or table is unknown, or a file cannot be written.
    """
    import analysis
    from aimlib.paths import Place

    sources = [directories] if isinstance(directories, (str, Place)) else list(directories)
    frame = analysis.select(_table(sources, table), where)
    frame = frame if by is None else _summary(frame, by, value, stat, sort)
    frame = frame if by is not None else _rows(frame, columns, sort)
    if csv is not None:
        _write(frame, csv)
    if parquet is not None:
        _write_parquet(frame, parquet)
    return frame


def _none_met(frame: pd.DataFrame, where: Iterable[str]) -> Iterator[str]:
    """Yield reasons why a table may be empty: what the columns in the conditions contain."""
    if frame.empty:
        return
    from analysis.wording.number_format import listing

    yield "No row satisfies the conditions."
    named = {word for condition in where for word in _COLUMN.findall(condition)}
    for name in (name for name in frame.columns if name in named):
        values = frame[name].dropna()
        if values.empty:
            yield f"{name} has no values."
        elif str(values.dtype) == "str" or str(values.dtype) == "bool":
            texts = [str(value) for value in values.unique()]
            more = [counted(len(texts) - _MOST, "other value")] if len(texts) > _MOST + 1 else []
            yield f"{name} contains {listing([*texts[: _MOST if more else None], *more])}."
        else:
            yield f"{name} ranges from {values.min()} to {values.max()}."


def _table(directories: Sequence[str | Place], table: str) -> pd.DataFrame:
    import analysis

    if table not in get_args(Table):
        raise UsageError(f"--table: {unknown_name('table', table, get_args(Table))}")
    found: analysis.Results | analysis.Studies
    with_epochs = table == "epochs"
    if len(directories) == 1:
        found = analysis.load(directories[0], epochs=with_epochs)
    elif table in _TABLES_OF_SEVERAL:
        found = analysis.load(directories, epochs=with_epochs)
    else:
        raise UsageError(
            f"--table {table}: can be shown only for one study; got {len(directories)} directories, so give only one"
        )
    return getattr(found, "runs" if table == "trials" else table)  # type: ignore[no-any-return]


def _summary(frame: pd.DataFrame, by: Listed, value: str, stat: Listed, sort: Listed | None) -> pd.DataFrame:
    from analysis.reading.query import STATISTICS, summarise

    asked = _listed(stat)
    known = [name for name in STATISTICS if name in asked]
    if set(asked) - set(known) or not asked:
        raise UsageError(
            f"--stat {','.join(asked)}: this is not a list of statistics; give one or more of "
            f"{', '.join(STATISTICS)}, separated by commas"
        )
    chosen = sorted(known, key=asked.index)
    return summarise(frame, _listed(by), value, statistics=chosen, sort=_listed(sort))


def _of_groups(value: str, frame: pd.DataFrame) -> str:
    """Return the sentence below a table of groups: what was summarized, and which interval is shown."""
    interval = (
        "; lower and upper: 95 % t interval of the mean, treating runs as independent" if "lower" in frame else ""
    )
    return f"{value} over the runs in each group{interval}"


def _rows(frame: pd.DataFrame, columns: Listed | None, sort: Listed | None) -> pd.DataFrame:
    from analysis.reading.query import refuse_twice, refuse_unknown, sort_by

    frame = sort_by(frame, _listed(sort))
    if columns is None or columns == "all":
        return frame
    refuse_unknown(frame, _listed(columns))
    refuse_twice("columns", _listed(columns))
    return frame[_listed(columns)]


def _shown(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are shown by default."""
    if not set(_SHOWN) <= set(frame.columns):
        return list(frame.columns)
    reused = ("reused_from",) if "reused_from" in frame.columns and frame["reused_from"].notna().any() else ()
    return [name for name in ("directory", *_SHOWN, *reused) if name in frame.columns]


def _listed(names: Listed | None) -> list[str]:
    given = names.split(",") if isinstance(names, str) else names or ()
    return [name.strip() for name in given if name or len(given) > 1]


def _write(frame: pd.DataFrame, csv: str | Path) -> None:
    from analysis.reading.spreadsheets import for_spreadsheets

    try:
        for_spreadsheets(frame).to_csv(sys.stdout if str(csv) == "-" else csv, index=False)
    except OSError as error:
        raise UsageError(
            f"--csv {csv}: cannot be written ({error}); give a different file, or - to print the table"
        ) from error


def _write_parquet(frame: pd.DataFrame, path: str | Path) -> None:
    try:
        frame.to_parquet(path, index=False)
    except OSError as error:
        raise UsageError(f"--parquet {path}: cannot be written ({error}); give a different file") from error
