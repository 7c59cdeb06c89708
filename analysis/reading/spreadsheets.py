"""Frames for CSV files that people may open in spreadsheets."""

from __future__ import annotations

import pandas as pd

from aimlib.records.escaping import from_spreadsheet_cell, spreadsheet_cell


def for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose text, with headings, spreadsheets do not execute as formulas; numbers stay unchanged."""
    escaped = {
        name: [spreadsheet_cell(value) for value in column]
        for name, column in frame.items()
        if column.dtype.kind not in "biufcmM"
    }
    columns = {
        at: pd.Series(escaped[name], index=frame.index, dtype=object) if name in escaped else frame.iloc[:, at]
        for at, name in enumerate(frame.columns)
    }
    result = pd.DataFrame(columns, index=frame.index)
    result.columns = pd.Index([spreadsheet_cell(name) for name in frame.columns], name=frame.columns.name)
    return result


def from_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo the escaping of text in a frame read from one of this package's CSV files, and return the result."""
    return frame.assign(
        **{
            str(name): column.map(from_spreadsheet_cell, na_action="ignore").astype(column.dtype)
            for name, column in frame.items()
            if column.dtype == "str"
        }
    )
