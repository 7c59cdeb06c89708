"""`ablate plugins`: list the plugins that a study can name. In Python: `ablations.plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.commands.options import Wide, console

if TYPE_CHECKING:
    import pandas as pd


def command(wide: Wide = False) -> None:
    """List every plugin in every family, with the distribution that provides it."""
    from ablations.commands import console_tables

    found = plugins()
    rows = list(found.itertuples(index=False, name=None))
    table = console_tables.Table(tuple(found.columns), rows, droppable=("module",))
    console_tables.show(table, console(), wide=wide)


def plugins() -> pd.DataFrame:
    """Return every plugin in every family, with family, name, distribution and module. The plugins are not imported."""
    import pandas as pd

    from ablations.spec import search_families
    from aimlib.registry import FAMILIES

    found = [info for family in (*FAMILIES, *search_families.FAMILIES) for info in family.plugins()]
    rows = [(info.family, info.name, info.distribution, info.module) for info in found]
    return pd.DataFrame(rows, columns=["family", "name", "distribution", "module"], dtype="str")
