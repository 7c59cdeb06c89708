"""What `ablate data prepare --plan` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ablations.commands.console_tables import readable_bytes
from ablations.spec.durations import duration
from aimlib.errors import counted

if TYPE_CHECKING:
    from aimlib.datasets.pack_plan import PackPlan


def lines(plan: PackPlan) -> Iterator[str]:
    """Yield the space and time that packing will take, one line per fact."""
    splits = ", ".join(f"{count:,} {split}" for split, count in plan.splits.items())
    yield f"{plan.name}: {counted(plan.photos, 'photo')} ({splits})"
    yield f"pack      {readable_bytes(plan.bytes)} at {plan.size} x {plan.size}, in {plan.folder}"
    yield f"free      {readable_bytes(plan.bytes_free)} there{_lacking(plan)}"
    yield f"state     {_state(plan)}"
    yield f"time      {_time(plan)}"
    if plan.undecodable:
        path, cause = next(iter(plan.undecodable.items()))
        yield (
            f"broken    {len(plan.undecodable)} of these {plan.sampled} cannot be decoded, such as {path} "
            f"({cause}); `ablate data verify {plan.name}` checks all photos"
        )


def _lacking(plan: PackPlan) -> str:
    lacking = plan.bytes_left - plan.bytes_free
    if lacking <= 0:
        return ""
    return (
        f": {readable_bytes(lacking)} too little; free up some space, or set data.cache or AIM_CACHE_DIR to a "
        "folder on a larger disk"
    )


def _state(plan: PackPlan) -> str:
    said = {
        "packed": "already packed and up to date",
        "missing": "not packed yet",
        "outdated": "already packed, but lists or photos have since been changed or touched; if the content differs, "
        "all photos are packed again",
        "unfinished": f"interrupted: {plan.photos - plan.photos_left:,} of {counted(plan.photos, 'photo')} are "
        "packed, and `ablate data prepare` continues from there",
    }[plan.state]
    return said if plan.holder is None else f"{said}; the photos are being packed by {plan.holder}"


def _time(plan: PackPlan) -> str:
    if not plan.photos_left:
        return "none: there is nothing to pack"
    return (
        f"about {duration(max(1.0, plan.seconds))} for {counted(plan.photos_left, 'photo')}: an estimate from "
        f"{counted(plan.sampled, 'photo')}, decoded and resized by {counted(plan.threads, 'thread')} on this "
        f"machine; writing {readable_bytes(plan.bytes_left)} takes additional time"
    )
