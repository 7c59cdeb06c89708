"""`ablate plugins`: list the plugins that a study can name. In Python: `aimlib.registry.FAMILIES`."""

from __future__ import annotations

from ablations.commands.options import console


def command() -> None:
    """List every plugin of every family with its distribution."""
    from ablations.commands import console_tables
    from aimlib.registry import FAMILIES

    found = [info for family in FAMILIES for info in family.plugins()]
    rows = [(info.family, info.name, info.distribution, info.module) for info in found]
    console().print(console_tables.table(("family", "name", "distribution", "module"), rows))
