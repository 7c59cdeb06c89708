"""Tables on the networks: their contents, cost, and differences from the baseline."""

from __future__ import annotations

import pandas as pd

from analysis.reading.frames import parsed_json
from analysis.report.tables import Table
from analysis.wording import number_format

_SIZES = {"parameters": "Parameters", "trainable_parameters": "Trainable", "multiply_adds": "Multiply-adds"}
_MEMORY = {"memory_values": "Memory values", "memory_degrees_of_freedom": "Degrees of freedom"}
_LAYERS = {"readers": "Readers", "updates": "Updates"}


def models(table: pd.DataFrame) -> Table:
    """Return the size and cost of every arm, and its memory if any arm has one."""
    with_memory = bool((table["memory_values"].fillna(0) > 0).any())
    sizes = _SIZES | (_MEMORY if with_memory else {})
    layers = _LAYERS if with_memory else {}
    rows = tuple(
        (
            str(row["arm"]),
            str(row["role"]),
            *(number_format.whole(None if pd.isna(row[name]) else row[name]) for name in sizes),
            *(number_format.whole(len(parsed_json(row[name], []))) for name in layers),
        )
        for row in table.to_dict("records")
    )
    note = "Multiply-adds: for the forward pass of one image."
    if with_memory:
        note += (
            " Degrees of freedom: number of distinct values that the memory’s source can hold. Readers and updates: "
            "number of layers that read the memory, and number of modules that update it."
        )
    columns = ("Arm", "Role", *sizes.values(), *layers.values())
    return Table("Size and cost", columns, rows, frozenset(columns[2:]), note=note)


def differences(models: pd.DataFrame) -> Table:
    """Return, for each arm, the options in which it differs from the baseline."""
    rows = [
        (str(arm), str(item["option"]), number_format.option(item["baseline"]), number_format.option(item["value"]))
        for arm, text in zip(models["arm"], models["differences"], strict=True)
        for item in parsed_json(text, [])
    ]
    columns = ("Arm", "Option", "Baseline", "This arm")
    return Table("What differs from the baseline", columns, tuple(rows))
