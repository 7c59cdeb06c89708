"""The record of a run: its columns, their units, the format version, and how a record is stored as one Parquet file.

`ablations.store` writes these files and `analysis.load` reads them; both take names and types from this package.
"""

from __future__ import annotations

from typing import Any

from aimlib.errors import warn_renamed
from aimlib.records.columns import (
    ADDED,
    EPOCHS,
    MODELS,
    PREDICTIONS,
    RUN_COLUMNS,
    TEST_IMAGES,
    Column,
)
from aimlib.records.files import (
    ANALYSIS_PLAN,
    CHECKPOINTS,
    CLAIM_FILE,
    CODE,
    FAILURES,
    FILE_NAMES,
    IMAGES,
    LIVE,
    LOCKS,
    LOGS,
    MEASUREMENTS_FILE,
    MODELS_FILE,
    NETWORKS,
    OLDEST_VERSION,
    PLANS,
    REFERENCES,
    RUNS,
    SCHEMA_VERSION,
    SEGMENTS,
    STUDY_FILE,
    UNBLINDED,
    WITH_CHECKSUMS,
    release_to_read,
)
from aimlib.records.states import (
    ENDED,
    ROLES,
    RUN_STATES,
    SETTLED,
    Role,
    RunState,
    Status,
    role,
)
from aimlib.records.tables import (
    RunRecord,
    arrow_type,
    check,
    predictions_from,
    run_schema,
    table_schema,
    to_table,
    write_groups,
    write_table,
)

__all__ = [
    "ADDED",
    "ANALYSIS_PLAN",
    "CHECKPOINTS",
    "CLAIM_FILE",
    "CODE",
    "ENDED",
    "EPOCHS",
    "FAILURES",
    "FILE_NAMES",
    "IMAGES",
    "LIVE",
    "LOCKS",
    "LOGS",
    "MEASUREMENTS_FILE",
    "MODELS",
    "MODELS_FILE",
    "NETWORKS",
    "OLDEST_VERSION",
    "PLANS",
    "PREDICTIONS",
    "REFERENCES",
    "ROLES",
    "RUNS",
    "RUN_COLUMNS",
    "RUN_STATES",
    "SCHEMA_VERSION",
    "SEGMENTS",
    "SETTLED",
    "STUDY_FILE",
    "TEST_IMAGES",
    "UNBLINDED",
    "WITH_CHECKSUMS",
    "Column",
    "Role",
    "RunRecord",
    "RunState",
    "Status",
    "arrow_type",
    "check",
    "predictions_from",
    "release_to_read",
    "role",
    "run_schema",
    "table_schema",
    "to_table",
    "write_groups",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name == "TRIALS":
        warn_renamed("aimlib.records.TRIALS", "aimlib.records.RUN_COLUMNS")
        return RUN_COLUMNS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
