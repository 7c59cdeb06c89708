"""The design `variance`: arms that vary one random stream at a time (Bouthillier et al., 2021).

In each of these arms, every stream except one has a fixed seed. The fixed seed is not one of the study's seeds, so no
run of these arms shares all draws with a run of another arm. In the named arm itself, all streams vary together.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from aimlib.config import STREAMS

Source = Literal["split", "init", "order", "augmentation", "layers", "noise"]
SOURCES: tuple[Source, ...] = get_args(Source)
BY_DEFAULT: tuple[Source, ...] = ("split", "init", "order", "augmentation")
FIXED_SEED = 1_000_000
"""Default seed of the streams that are not varied. Run ids contain this seed, so it never changes."""


def source_arm(arm: str, source: Source) -> str:
    """Return the name of the arm that varies one source of another arm, e.g. ``baseline[init]``."""
    return f"{arm}[{source}]"


def fixed_streams(source: Source, seed: int) -> dict[str, Any]:
    """Return the seeds of all streams except the varied one, as fields of `aimlib.config.StreamSeeds`."""
    return {stream: seed for stream in STREAMS if stream != source}
