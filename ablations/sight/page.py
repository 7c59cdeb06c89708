"""The overview page: one self-contained HTML file that loads itself anew, for a browser on any machine."""

from __future__ import annotations

import base64
import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.sight import drawing
from ablations.sight.history import History, SettledRun
from ablations.sight.picture import ArmPicture, Picture
from ablations.sight.sentences import CAUTION, summary
from ablations.sight.words import clean, counted, duration, pace, percent
from aimlib.errors import StoreError

_THIN, _THIN_OF_MANY = 16, 6
"""Settled runs of an arm that have a thin line, the newest; with more arms than `_PANELS`, fewer."""
_PANELS = 24
_ARMS, _FAILURES, _ROWS = 24, 5, 24
_LEAST_REFRESH = 3.0


def write(
    path: Path, picture: Picture, history: History, directory: Path, interval: float, *, live: bool = True
) -> None:
    """Write the page, in one step.

    Parameters
    ----------
    path : of the page.
    directory : of the study, for the link to its report.
    interval : seconds until it is written again.
    live : whether it will be written again.

    Raises
    ------
    StoreError: it cannot be written.
    """
    text = render(picture, history, _report(path, directory), interval, live=live)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"--html {path}: cannot be written ({error}); give another file") from error


def render(
    picture: Picture,
    history: History,
    report: str | None,
    interval: float,
    *,
    live: bool = True,
    now: float | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    report : address of the report, relative to the page; None where there is none.
    now : seconds since the epoch.
    """
    now = time.time() if now is None else now
    script = _file("overview.js")
    return (
        _environment()
        .get_template("overview.html.j2")
        .render(
            picture=picture,
            headline=_headline(picture),
            state=_STATES.get(picture.state, picture.state),
            summary=summary(picture),
            counts=_counts(picture),
            whole=_bar(picture.count("epochs"), *_parts(picture)),
            bar=lambda arm: _bar(arm.epochs, *_arm_parts(arm)),
            progress=lambda run: _bar(run.epochs, 0.0, run.epochs_done, 0.0),
            panels=_panels(picture, history),
            overall=_overall(history, picture, now),
            caution=CAUTION,
            refresh=max(_LEAST_REFRESH, interval) if live and not picture.complete else 0,
            report=report if picture.complete else None,
            at=now,
            clock=_clock(now),
            rows=_ROWS,
            shown_arms=_ARMS,
            shown_failures=_FAILURES,
            shown_panels=_PANELS,
            style=Markup(_file("overview.css")),  # noqa: S704 -- ours
            script=Markup(script),  # noqa: S704 -- ours
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


_STATES = {"running": "running", "idle": "not running", "complete": "complete", "ended": "ended"}


def _report(path: Path, directory: Path) -> str | None:
    report = directory / "report" / "report.html"
    if not report.exists():
        return None
    try:
        return quote(os.path.relpath(report.resolve(), path.resolve().parent).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return None


def _headline(picture: Picture) -> str:
    settled, runs = picture.count("settled"), picture.count("runs")
    if picture.complete:
        return f"All {counted(runs, 'run')} are settled."
    text = f"{settled:,} of {counted(runs, 'run')} settled"
    if picture.state == "running":
        return (
            f"{text}, {'time left not known yet' if picture.left is None else f'about {duration(picture.left)} left'}."
        )
    return f"{text}; nothing is running."


def _counts(picture: Picture) -> list[tuple[str, str, int]]:
    """Return kind, word and number of every state that there is to tell of."""
    words = (
        ("done", "settled", "settled"),
        ("work", "running", "running"),
        ("failed", "failed", "failed"),
        ("left", "waiting", "waiting"),
        ("left", "paused", "paused"),
        ("left", "stopped", "stopped"),
        ("left", "computed elsewhere", "held"),
        ("note", "of the settled diverged", "diverged"),
        ("note", "of the settled pruned", "pruned"),
    )
    found = [(kind, word, picture.count(state)) for kind, word, state in words]
    return [entry for entry in found if entry[2] or entry[1] in ("settled", "running", "failed")]


def _parts(picture: Picture) -> tuple[float, float, float]:
    parts = [_arm_parts(arm) for arm in picture.arms]
    return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)


def _arm_parts(arm: ArmPicture) -> tuple[float, float, float]:
    each = arm.epochs / arm.runs if arm.runs else 0.0
    done = each * arm.settled
    return done, max(0.0, arm.epochs_done - done), each * arm.failed


def _bar(total: float, done: float, work: float, failed: float) -> Markup:
    parts, left = [], 0.0
    for kind, amount in (("done", done), ("work", work), ("failed", failed)):
        width = 100 * amount / total if total else 0.0
        width = min(100 - left, max(0.6, width) if amount > 0 else 0.0)
        if width > 0:
            parts.append(f'<rect class="{kind}" x="{left:.2f}" y="0" width="{width:.2f}" height="1"/>')
        left += width
    return Markup(  # noqa: S704 -- numbers alone
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="left" x="0" y="0" width="100" height="1"/>{"".join(parts)}</svg>'
    )


def _panels(picture: Picture, history: History) -> dict[str, Any]:
    """Return a small drawing per arm, all with the same axes; none where there are no accuracies."""
    arms = [arm for arm in picture.arms if any(value is not None for value in arm.curve)]
    if not arms:
        return {"drawings": [], "epochs": 0, "top": ""}
    settled = _newest(history, picture)
    running: dict[str, list[Sequence[float | None]]] = {}
    for run in picture.running:
        running.setdefault(run.arm, []).append(run.curve)
    thin = {arm.name: [*settled.get(arm.name, []), *running.get(arm.name, [])] for arm in arms}
    top = max(
        (v for arm in arms for curve in (*thin[arm.name], arm.curve) for v in curve if v is not None and v == v),  # noqa: PLR0124
        default=1.0,
    )
    top = min(1.0, -(-max(top, 0.01) * 20 // 1) / 20)  # up to the next 5 %
    epochs = max(arm.epochs // max(1, arm.runs) for arm in arms)
    drawings = [
        (arm, drawing.curves(thin[arm.name], arm.curve, epochs, top), percent(_last(arm.curve)), len(arm.curve))
        for arm in arms
    ]
    return {"drawings": drawings, "epochs": epochs, "top": f"{100 * top:.0f} %"}


def _newest(history: History, picture: Picture) -> dict[str, list[Sequence[float | None]]]:
    most = _THIN if len(picture.arms) <= _PANELS else _THIN_OF_MANY
    by_arm: dict[str, list[SettledRun]] = {}
    for run_id, row in history.settled.items():
        if (arm := history.arm(run_id)) is not None:
            by_arm.setdefault(arm, []).append(row)
    return {
        arm: [row.curve for row in sorted(rows, key=lambda row: row.finished_at)[-most:]]
        for arm, rows in by_arm.items()
    }


def _last(curve: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(curve) if value is not None), None)


def _overall(history: History, picture: Picture, now: float) -> Mapping[str, Any] | None:
    times = sorted(row.finished_at for run_id, row in history.settled.items() if history.arm(run_id) is not None)
    if len(times) < 2:
        return None
    end = times[-1] if picture.complete else now
    bars, width, most = drawing.throughput(times, end)
    return {
        "done": drawing.done_over_time(times, picture.count("runs"), end),
        "bars": bars,
        "first": _clock(times[0]),
        "span": duration(end - times[0]),
        "width": duration(width),
        "most": counted(most, "run"),
        "hourly": f"{3600 * len(times) / max(1.0, end - times[0]):,.3g}",
    }


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S").lstrip("0")


def block(text: str) -> str:
    """Return text of several lines without what is neither printable nor a line's end."""
    return "\n".join(
        "".join(sign if sign.isprintable() else "\ufffd" for sign in line.expandtabs(4)) for line in text.splitlines()
    )


@cache
def _file(name: str) -> str:
    return (resources.files("ablations.sight") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ablations.sight"),
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
        "clock": _clock,
    }
    return environment
