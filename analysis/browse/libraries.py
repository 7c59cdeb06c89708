"""The page's scripts, read from the installed packages plotly and itables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from aimlib.errors import UsageError

INSTALL = "pip install 'aim-ablations[browse]'"
_EXPORT = re.compile(r"export\s*\{([^{}]*)\}\s*;?")


@dataclass(frozen=True)
class Libraries:
    """What the page embeds.

    Attributes
    ----------
    plotly, tables : classic scripts that define ``window.Plotly`` and ``window.Tables``.
    style : style sheet for the tables.
    versions : version of each package, by name.
    """

    plotly: str
    tables: str
    style: str
    versions: dict[str, str]


@cache
def libraries() -> Libraries:
    """Return the scripts of the installed packages.

    Raises
    ------
    UsageError: a package is not installed or lacks a file.
    """
    return Libraries(
        plotly=_file("plotly", "package_data/plotly.min.js"),
        tables=as_classic_script(_file("itables", "html/dt_bundle.js"), "Tables"),
        style=_file("itables", "html/dt_bundle.css"),
        versions={name: version(name) for name in ("plotly", "itables")},
    )


def _file(package: str, name: str) -> str:
    """Return a file from a package without importing the package, because that would import much more."""
    try:
        spec, installed = find_spec(package), version(package)
    except (PackageNotFoundError, ValueError):
        spec, installed = None, ""
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise UsageError(f"`ablate browse` needs the package {package}, which is not installed; {INSTALL}")
    path = Path(next(iter(folders))) / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise UsageError(
            f"`ablate browse` embeds {name} from {package}, which version {installed} lacks; {INSTALL} --upgrade"
        ) from None


def as_classic_script(module: str, name: str) -> str:
    """Return an ECMAScript module as a script that assigns its exports to a property of `window`.

    A page that is opened as a file cannot import modules, and importing a module from a blob would need a weaker
    Content-Security-Policy.

    Raises
    ------
    UsageError: the text does not end with a list of exports.
    """
    found = list(_EXPORT.finditer(module))
    if not found:
        raise UsageError(f"the itables script does not export anything, so it cannot be embedded; {INSTALL} --upgrade")
    exports = found[-1]
    pairs = [part.split(" as ") for part in exports[1].split(",") if part.strip()]
    members = ", ".join(f"{pair[-1].strip()}: {pair[0].strip()}" for pair in pairs)
    body = module[: exports.start()] + f"\nwindow.{name} = {{{members}}};\n" + module[exports.end() :]
    return f'(() => {{"use strict";\n{body}\n}})();'
