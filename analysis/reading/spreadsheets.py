"""Frames for CSV files, which people open in spreadsheets."""

from __future__ import annotations

import pandas as pd

from aimlib.records.escaping import from_spreadsheet_cell, spreadsheet_cell


def for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose text, headings included, no spreadsheet executes as a formula; numbers stay unchanged."""
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
    """Return a frame that was read from a CSV file of this package with its text as it was before it was escaped."""
    return frame.assign(
        **{
            str(name): column.map(from_spreadsheet_cell, na_action="ignore").astype(column.dtype)
            for name, column in frame.items()
            if column.dtype == "str"
        }
    )
