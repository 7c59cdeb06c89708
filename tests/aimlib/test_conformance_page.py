"""The page about plugins lists every conformance class next to its family, and explains what enforces `source`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aimlib.testing
from aimlib.component import ComponentConfig
from aimlib.placements import Placement
from aimlib.registry import FAMILIES, Registry
from aimlib.testing.conformance import Conformance

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \| .{20,} \|$", PAGE, re.M))


def test_the_table_lists_every_conformance_class_with_its_family() -> None:
    classes = {name: getattr(aimlib.testing, name) for name in aimlib.testing.__all__}
    assert {family: name for name, cls in classes.items() for family in [cls.registry.family]} == ROWS


def test_every_family_has_a_conformance_class() -> None:
    assert set(ROWS) == {family.family for family in FAMILIES}


def test_a_plugin_without_a_source_can_be_registered_but_fails_its_conformance_test() -> None:
    placements = Registry("places", "place", "aimlib.placements", ("reads",))

    @placements.register("sourceless")
    class Sourceless(Placement):
        """A placement that does not let any layer read."""

        def reads(self, layers: object) -> list[str]:
            return []

    class Tests(Conformance):
        registry = placements
        name = "sourceless"

    assert issubclass(Sourceless.Config, ComponentConfig)
    with pytest.raises(AssertionError, match="has no `source`"):
        Tests().test_source_says_where_the_idea_is_from()
    Sourceless.source = "own idea"  # type: ignore[attr-defined]
    Tests().test_source_says_where_the_idea_is_from()


def test_every_built_in_plugin_in_these_families_has_a_source() -> None:
    lacking = [
        f"{family.family}.{info.name}"
        for family in FAMILIES
        if family.family in ROWS
        for info in family.plugins()
        if info.distribution == "aim-ablations" and not getattr(family.get(info.name), "source", "")
    ]
    assert lacking == []
