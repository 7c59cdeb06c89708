"""The page as one self-contained HTML file.

The library scripts and the data are compressed. A short script unpacks them. The Content-Security-Policy contains the
hash of every script, so no other script can run, and allows neither `eval` nor requests to other hosts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aimlib.errors import StoreError
from aimlib.paths import replace_text
from analysis.browse.libraries import libraries

_SCRIPTS = ("data.js", "query.js", "format.js", "tables.js", "charts.js", "parallel.js", "details.js", "app.js")


def packed(shown: Any) -> bytes:
    """Return the page's content as compressed JSON; the same content produces identical bytes."""
    text = json.dumps(_plain(shown), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return gzip.compress(text.encode("utf-8", "replace"), compresslevel=6, mtime=0)


def _plain(value: Any) -> Any:
    """Return a value with NaN and infinite numbers replaced by null; lists of numbers never contain them."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def render(shown: Any, *, live: float = 0.0) -> str:
    """Return the HTML of the page.

    Parameters
    ----------
    shown : what `analysis.browse.content.content` returns.
    live : seconds between two requests for new data; 0 for a page in a file.
    """
    return render_packed(packed(shown), shown["title"], live=live)


def render_packed(data: bytes, title: str, *, live: float = 0.0) -> str:
    """Return the HTML of the page for content that is already packed."""
    parts = _parts()
    return (
        _environment()
        .get_template("browse.html.j2")
        .render(
            title=title,
            policy=policy(live=live > 0),
            live=live,
            library_style=Markup(libraries().style),  # noqa: S704 -- of the package
            style=Markup(_file("browse.css")),  # noqa: S704 -- ours
            loader=Markup(_file("loader.js")),  # noqa: S704 -- ours
            parts={name: Markup(text) for name, text in parts.items()},  # noqa: S704 -- base64
            data=Markup(base64.b64encode(data).decode()),  # noqa: S704 -- base64
            versions=libraries().versions,
        )
    )


def policy(*, live: bool) -> str:
    """Return the page's Content-Security-Policy."""
    found = libraries()
    scripts = " ".join(_source(text) for text in (_file("loader.js"), found.tables, found.plotly, _application()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {chr(39) + 'self' + chr(39) if live else chr(39) + 'none' + chr(39)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _parts() -> dict[str, str]:
    """Return the compressed scripts, in the order in which they run."""
    found = libraries()
    scripts = {"tables": found.tables, "plotly": found.plotly, "application": _application()}
    return {name: base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode() for name, text in scripts.items()}


@cache
def _application() -> str:
    body = "\n".join(_file(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}}})();\n'


def write(path: Path, text: str) -> None:
    """Write the page atomically; StoreError if that fails."""
    try:
        replace_text(path, text)
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"{path}: the page cannot be written ({why}); give another file with --out") from error


@cache
def _file(name: str) -> str:
    return (resources.files("analysis.browse") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("analysis.browse"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
