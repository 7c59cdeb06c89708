"""`ablate plugins`: list the plugins that a study can name. In Python: `aimlib.registry.FAMILIES`.

Those of a search are in `ablations.spec.search_families.FAMILIES`.
"""

from __future__ import annotations

from ablations.commands.options import Wide, console


def command(wide: Wide = False) -> None:
    """List every plugin of every family with its distribution."""
    from ablations.commands import console_tables
    from ablations.spec import search_families
    from aimlib.registry import FAMILIES

    found = [info for family in (*FAMILIES, *search_families.FAMILIES) for info in family.plugins()]
    rows = [(info.family, info.name, info.distribution, info.module) for info in found]
    table = console_tables.Table(("family", "name", "distribution", "module"), rows, droppable=("module",))
    console_tables.show(table, console(), wide=wide)
