"""A study with factors, and with a path and a secret in its configurations, and the content of its page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

from synthetic_study import FakeArm

PAGE = re.compile(r'id="part-data">([^<]+)<')


def config(placement: str | None, channels: int) -> dict[str, Any]:
    memory = None if placement is None else {"name": "conv_ones", "channels": channels}
    return {
        "model": {"memory": memory, "placement": placement and {"name": placement}},
        "data": {"name": "dogs", "root": "/home/alice/photos", "api_key": "sEcReT-1"},
        "training": {"batch_size": 32, "optimizer": {"name": "adamw", "learning_rate": 0.001}},
        "seed": 0,
    }


def arms() -> list[FakeArm]:
    """Return a baseline and four arms that combine two placements with two numbers of channels."""
    found = [FakeArm("baseline", "baseline", config=config(None, 0))]
    for number, placement in enumerate(("stage_only", "every_layer")):
        for channels in (4, 8):
            levels = {"model.placement": placement, "model.memory.channels": str(channels)}
            name = "aim" if not number and channels == 4 else f"aim[placement={placement},channels={channels}]"
            role = "aim" if name == "aim" else "other"
            settings = config(placement, channels)
            found.append(FakeArm(name, role, mean=0.15 + 0.02 * number, levels=levels, config=settings))
    return found


def shown_in(page: Path) -> Any:
    """Return the content that a written page embeds."""
    found = PAGE.search(page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))
