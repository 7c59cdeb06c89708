"""Prints the lower bounds in pyproject.toml as constraints for pip: `python tests/lower_bounds.py > oldest.txt`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?>=(?P<version>[0-9.]+)")


def lower_bounds(project: Path = PROJECT) -> Iterator[str]:
    """Yield ``name==version`` for every requirement that has a lower bound, including extras."""
    document = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = document["optional-dependencies"].values()
    for requirement in [*document["dependencies"], *(line for extra in extras for line in extra)]:
        if found := _BOUND.match(requirement):
            yield f"{found['name']}=={found['version']}"


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
