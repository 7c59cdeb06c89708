"""The overview page: one self-contained HTML file that reloads itself, for a browser on any machine."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.progress.formatting import CAUTION, clock, pace, percent
from ablations.progress.history import History
from ablations.progress.snapshot import Snapshot
from ablations.progress.summary import node_time, summary
from ablations.progress.views import html_content
from ablations.spec.durations import duration
from ablations.spec.short_names import clean
from aimlib.errors import StoreError
from aimlib.paths import replace_text

_ARMS, _FAILURES, _ROWS = 24, 5, 24
_LEAST_REFRESH = 3.0


def write(
    path: Path, snapshot: Snapshot, history: History, directory: Any, interval: float, *, live: bool = True
) -> None:
    """Write the page atomically.

    Parameters
    ----------
    path : file for the page.
    directory : study directory, for the link to the study's report.
    interval : seconds until the page is written again.
    live : whether the page will be written again.

    Raises
    ------
    StoreError: the page cannot be written.
    """
    text = render(snapshot, history, _report(path, directory), interval, live=live)
    try:
        replace_text(path, text)
    except OSError as error:
        raise StoreError(f"--html {path}: cannot be written ({error.strerror or error}); give another file") from error


def render(
    snapshot: Snapshot,
    history: History,
    report: str | None,
    interval: float,
    *,
    live: bool = True,
    now: float | None = None,
) -> str:
    """Return the HTML of the page.

    Parameters
    ----------
    report : URL of the report relative to the page, or None.
    now : current time in seconds since the epoch.
    """
    now = time.time() if now is None else now
    script = _file("overview.js")
    return (
        _environment()
        .get_template("overview.html.j2")
        .render(
            snapshot=snapshot,
            headline=html_content.headline(snapshot),
            state=html_content.STATES.get(snapshot.state, snapshot.state),
            summary=summary(snapshot),
            node_time=node_time(snapshot.nodes, snapshot.node_seconds),
            counts=html_content.counts(snapshot),
            whole=html_content.bar(snapshot.count("epochs"), *html_content.parts(snapshot)),
            bar=lambda arm: html_content.bar(arm.epochs, *html_content.arm_parts(arm)),
            progress=lambda run: html_content.bar(run.epochs, 0.0, run.epochs_done, 0.0),
            panels=html_content.panels(snapshot, history),
            overall=html_content.overall(history, snapshot, now),
            caution=CAUTION,
            refresh=max(_LEAST_REFRESH, interval) if live and not snapshot.complete else 0,
            report=report if snapshot.complete else None,
            at=now,
            clock=clock(now),
            rows=_ROWS,
            shown_arms=_ARMS,
            shown_failures=_FAILURES,
            shown_panels=html_content.PANELS,
            style=Markup(_file("overview.css")),  # noqa: S704 -- ours
            script=Markup(script),  # noqa: S704 -- ours
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _report(path: Path, directory: Any) -> str | None:
    if not isinstance(directory, Path):  # there is no URL in object storage that a page could link to
        return None
    report = directory / "report" / "report.html"
    if not report.exists():
        return None
    try:
        return quote(os.path.relpath(report.resolve(), path.resolve().parent).replace(os.sep, "/"))
    except ValueError:  # on a different drive
        return None


def block(text: str) -> str:
    """Return multi-line text with unprintable characters replaced."""
    return "\n".join(
        "".join(sign if sign.isprintable() else "\ufffd" for sign in line.expandtabs(4)) for line in text.splitlines()
    )


@cache
def _file(name: str) -> str:
    return (resources.files("ablations.progress.views") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ablations.progress.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean,
        "block": block,
        "percent": percent,
        "duration": duration,
        "pace": pace,
        "clock": clock,
    }
    return environment
