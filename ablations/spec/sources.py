"""The design `variance`: arms that vary one random stream at a time (Bouthillier et al., 2021).

In such an arm, every stream except one has a fixed seed, which is not a seed of the study, so that none of its runs
shares all draws with a run of another series. The named arm itself is the series in which all streams vary together.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from aimlib.config import STREAMS

Source = Literal["split", "init", "order", "augmentation", "layers", "noise"]
SOURCES: tuple[Source, ...] = get_args(Source)
BY_DEFAULT: tuple[Source, ...] = ("split", "init", "order", "augmentation")
FIXED_SEED = 1_000_000
"""Seed of the streams that are not varied unless the study gives another. Run ids contain it, so it never changes."""


def source_arm(arm: str, source: Source) -> str:
    """Return the name of the arm that varies one source of another arm, e.g. ``baseline[init]``."""
    return f"{arm}[{source}]"


def fixed_streams(source: Source, seed: int) -> dict[str, Any]:
    """Return the seeds of the streams that stay fixed while one source varies, as `aimlib.config.StreamSeeds`."""
    return {stream: seed for stream in STREAMS if stream != source}
