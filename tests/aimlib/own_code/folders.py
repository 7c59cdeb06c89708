"""Folders with a user's own code, for tests."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from aimlib.own_code.bundle import Bundle, bundle_of
from aimlib.own_code.sources import in_folder, of_file

HEAD = """
from aimlib.placements import Placement
from aimlib.registry import placements
"""
PLUGIN = """
from helper import FIRST, last_ones

@placements.register("own_head")
class OwnHead(Placement):
    \"\"\"Only the last layer reads.\"\"\"

    source = "own idea"

    def reads(self, layers):
        return last_ones([layer.name for layer in layers], FIRST)
"""
HELPER = """
FIRST = 1
UNUSED = 2

def last_ones(names, count):
    return names[-count:]

def unused():
    return UNUSED
"""
KEY = "placements/own_head"


def write(folder: Path, **files: str) -> Path:
    """Write files, keyed by their names without ``.py``, and return the path of the first file."""
    for name, text in files.items():
        path = folder.joinpath(*f"{name}.py".split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder / f"{next(iter(files))}.py"


def read(path: Path) -> Bundle:
    return bundle_of(of_file(path), in_folder(path.parent))


def code_of(folder: Path, plugin: str, **others: str) -> str:
    """Return the hash of the class in a plugin file."""
    return read(write(folder, my_net=HEAD + dedent(plugin), **others)).codes[KEY]
