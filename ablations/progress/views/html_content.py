"""What the overview page says and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ablations.progress.formatting import clock, duration, percent
from ablations.progress.history import History, SettledRun
from ablations.progress.picture import ArmPicture, Picture
from ablations.progress.views import drawing
from aimlib.errors import counted

PANELS = 24
"""Arms whose drawings are not folded."""
_THIN, _THIN_OF_MANY = 16, 6
"""Settled runs of an arm that have a thin line, the newest; with more arms than `PANELS`, fewer."""

STATES = {"running": "running", "idle": "not running", "complete": "complete", "ended": "ended"}


def headline(picture: Picture) -> str:
    """Return how far the study is, in a sentence."""
    settled, runs = picture.count("settled"), picture.count("runs")
    if picture.complete:
        return f"All {counted(runs, 'run')} are settled."
    text = f"{settled:,} of {counted(runs, 'run')} settled"
    if picture.state == "running":
        return (
            f"{text}, {'time left not known yet' if picture.left is None else f'about {duration(picture.left)} left'}."
        )
    return f"{text}; nothing is running."


def counts(picture: Picture) -> list[tuple[str, str, int]]:
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


def parts(picture: Picture) -> tuple[float, float, float]:
    """Return epochs of settled runs, in work, and of failed runs, over all arms."""
    parts = [arm_parts(arm) for arm in picture.arms]
    return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)


def arm_parts(arm: ArmPicture) -> tuple[float, float, float]:
    """Return epochs of settled runs, in work, and of failed runs of an arm."""
    each = arm.epochs / arm.runs if arm.runs else 0.0
    done = each * arm.settled
    return done, max(0.0, arm.epochs_done - done), each * arm.failed


def bar(total: float, done: float, work: float, failed: float) -> Markup:
    """Return a bar of what is done, in work and failed of a total, as SVG."""
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


def panels(picture: Picture, history: History) -> dict[str, Any]:
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
    most = _THIN if len(picture.arms) <= PANELS else _THIN_OF_MANY
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


def overall(history: History, picture: Picture, now: float) -> Mapping[str, Any] | None:
    """Return the drawings of settled runs over time; None with fewer than two."""
    times = sorted(row.finished_at for run_id, row in history.settled.items() if history.arm(run_id) is not None)
    if len(times) < 2:
        return None
    end = times[-1] if picture.complete else now
    bars, width, most = drawing.throughput(times, end)
    return {
        "done": drawing.done_over_time(times, picture.count("runs"), end),
        "bars": bars,
        "first": clock(times[0]),
        "span": duration(end - times[0]),
        "width": duration(width),
        "most": counted(most, "run"),
        "hourly": f"{3600 * len(times) / max(1.0, end - times[0]):,.3g}",
    }
