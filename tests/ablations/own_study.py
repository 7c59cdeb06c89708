"""A tiny study with the user's own code in two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_study import changed, write

PLUGIN = '''
from aimlib.placements import Placement
from aimlib.registry import placements
from helper import FIRST, last_ones


@placements.register("own_head")
class OwnHead(Placement):
    """Only the last layer reads."""

    source = "own idea"

    def reads(self, layers):
        return last_ones([layer.name for layer in layers], FIRST)
'''
HELPER = '''
FIRST = 1


def last_ones(names, count):
    """Return the last names."""
    return names[-count:]
'''


def own_study(
    folder: Path, changes: dict[str, Any] | None = None, *, helper: str = HELPER, plugin: str = PLUGIN
) -> Path:
    """Write the study and its two files; return the study file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_net.py").write_text(plugin, encoding="utf-8")
    (folder / "helper.py").write_text(helper, encoding="utf-8")
    own = {"plugins": ["my_net.py"], "arms.aim.model.placement": "own_head", "base.training.epochs": 1}
    return write(folder, changed({**own, **(changes or {})}))
