"""`ablate plugins`: what a study can name. In Python: `aimlib.registry.FAMILIES`."""

from __future__ import annotations

from ablations.commands.options import console


def command() -> None:
    """List every plugin of every family with its distribution."""
    from ablations.commands import console_tables
    from aimlib.registry import FAMILIES

    console_tables.plugins([info for family in FAMILIES for info in family.plugins()], console())
