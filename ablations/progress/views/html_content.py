"""Content of the overview page: text, and inline SVG drawings in the page's colors, without scripts or fonts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ablations.progress.formatting import clock, percent
from ablations.progress.history import History, SettledRun
from ablations.progress.snapshot import ArmSnapshot, Snapshot
from ablations.spec.durations import duration
from aimlib.errors import counted

PANELS = 24
"""Number of arms whose drawings are not collapsed."""
_THIN, _THIN_OF_MANY = 16, 6
"""Number of an arm's newest settled runs that are drawn as thin lines; fewer if there are more than `PANELS` arms."""

WIDTH, HEIGHT = 240.0, 92.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 2.0, 2.0, 8.0, 4.0
_STEPS, _CURVE_POINTS = 160, 60

STATES = {"running": "running", "idle": "not running", "complete": "complete", "ended": "ended"}


def headline(snapshot: Snapshot) -> str:
    """Return the study's progress in a sentence."""
    settled, runs = snapshot.count("settled"), snapshot.count("runs")
    if snapshot.complete:
        return f"All {counted(runs, 'run')} are settled."
    text = f"{settled:,} of {counted(runs, 'run')} settled"
    if snapshot.state == "running":
        left = "time left not yet known" if snapshot.left is None else f"about {duration(snapshot.left)} left"
        return f"{text}, {left}."
    return f"{text}; nothing is running."


def counts(snapshot: Snapshot) -> list[tuple[str, str, int]]:
    """Return the kind, the word and the number of runs for every state that is shown."""
    words = (
        ("done", "settled", "settled"),
        ("work", "running", "running"),
        ("failed", "failed", "failed"),
        ("left", "waiting", "waiting"),
        ("left", "paused", "paused"),
        ("left", "stopped", "stopped"),
        ("left", "computed elsewhere", "held"),
        ("note", "of the settled runs diverged", "diverged"),
        ("note", "of the settled runs pruned", "pruned"),
    )
    found = [(kind, word, snapshot.count(state)) for kind, word, state in words]
    return [entry for entry in found if entry[2] or entry[1] in ("settled", "running", "failed")]


def parts(snapshot: Snapshot) -> tuple[float, float, float]:
    """Return the numbers of epochs in settled runs, in runs in progress, and in failed runs, over all arms."""
    parts = [arm_parts(arm) for arm in snapshot.arms]
    return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)


def arm_parts(arm: ArmSnapshot) -> tuple[float, float, float]:
    """Return the numbers of epochs in an arm's settled runs, runs in progress, and failed runs."""
    each = arm.epochs / arm.runs if arm.runs else 0.0
    done = each * arm.settled
    return done, max(0.0, arm.epochs_done - done), each * arm.failed


def bar(total: float, done: float, work: float, failed: float) -> Markup:
    """Return an SVG bar with the done, active and failed parts of a total."""
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


def panels(snapshot: Snapshot, history: History) -> dict[str, Any]:
    """Return one small drawing per arm, all with the same axes; no drawings if there are no accuracies."""
    arms = [arm for arm in snapshot.arms if any(value is not None for value in arm.curve)]
    if not arms:
        return {"drawings": [], "epochs": 0, "top": ""}
    settled = _newest(history, snapshot)
    running: dict[str, list[Sequence[float | None]]] = {}
    for run in snapshot.running:
        running.setdefault(run.arm, []).append(run.curve)
    thin = {arm.name: [*settled.get(arm.name, []), *running.get(arm.name, [])] for arm in arms}
    top = max(
        (v for arm in arms for curve in (*thin[arm.name], arm.curve) for v in curve if v is not None and v == v),  # noqa: PLR0124
        default=1.0,
    )
    top = min(1.0, -(-max(top, 0.01) * 20 // 1) / 20)  # rounded up to the next 5 %
    epochs = max(arm.epochs // max(1, arm.runs) for arm in arms)
    drawings = [
        (arm, curves(thin[arm.name], arm.curve, epochs, top), percent(_last(arm.curve)), len(arm.curve)) for arm in arms
    ]
    return {"drawings": drawings, "epochs": epochs, "top": f"{100 * top:.0f} %"}


def _newest(history: History, snapshot: Snapshot) -> dict[str, list[Sequence[float | None]]]:
    most = _THIN if len(snapshot.arms) <= PANELS else _THIN_OF_MANY
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


def overall(history: History, snapshot: Snapshot, now: float) -> Mapping[str, Any] | None:
    """Return the drawings of settled runs over time, or None if there are fewer than two."""
    times = sorted(row.finished_at for run_id, row in history.settled.items() if history.arm(run_id) is not None)
    if len(times) < 2:
        return None
    end = times[-1] if snapshot.complete else now
    bars, width, most = throughput(times, end)
    return {
        "done": done_over_time(times, snapshot.count("runs"), end),
        "bars": bars,
        "first": clock(times[0]),
        "span": duration(end - times[0]),
        "width": duration(width),
        "most": counted(most, "run"),
        "hourly": f"{3600 * len(times) / max(1.0, end - times[0]):,.3g}",
    }


@dataclass(frozen=True)
class Axis:
    """An axis for values from `low` to `high`, drawn over `length` units from `start`."""

    low: float
    high: float
    start: float
    length: float

    def place(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + self.length * (value - self.low) / ((self.high - self.low) or 1.0)


def curves(thin: Iterable[Sequence[float | None]], mean: Sequence[float | None], epochs: int, top: float) -> Markup:
    """Return a drawing of validation accuracy by epoch, with a thin line per run and a thick line for the mean.

    Parameters
    ----------
    thin, mean : fractions by epoch; None if unknown.
    epochs : right end of the horizontal axis.
    top : fraction at the upper end of the vertical axis; the lower end is 0.
    """
    x, y = _axes(1, max(2, epochs), 0.0, top)
    lines = [_line(_known(curve), x, y, "run") for curve in thin]
    return _svg([_ground(y), *lines, _line(_known(mean), x, y, "mean")])


def _known(curve: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return the epochs with known accuracies, and these accuracies; a long curve is thinned out."""
    points = [(float(epoch), value) for epoch, value in enumerate(curve, 1) if value is not None and value == value]  # noqa: PLR0124
    return [points[i] for i in _sampled(len(points), _CURVE_POINTS)]


def done_over_time(times: Sequence[float], planned: int, now: float) -> Markup:
    """Return a step plot of the number of settled runs over time; the axis ends at the number of planned runs.

    Parameters
    ----------
    times : sorted times in seconds at which runs were settled.
    """
    x, y = _axes(times[0] if times else now - 1, max(now, times[-1] if times else now), 0, max(1, planned))
    steps: list[tuple[float, float]] = []
    for place in _sampled(len(times), _STEPS):
        steps += [(times[place], steps[-1][1] if steps else 0), (times[place], place + 1)]
    if times:
        steps.append((now, len(times)))
    return _svg([_ground(y), _line(steps, x, y, "mean")], stretched=True)


def throughput(times: Sequence[float], now: float, bins: int = 24) -> tuple[Markup, float, int]:
    """Return a bar chart of settled runs per time bin, the length of a bin in seconds, and the largest count."""
    if not times:
        return _svg([_ground(_axes(0, 1, 0, 1)[1])], stretched=True), 0.0, 0
    width = max(1.0, (now - times[0]) / bins)
    counts = [0] * bins
    for time in times:
        counts[max(0, min(bins - 1, int((time - times[0]) / width)))] += 1
    x, y = _axes(0, bins, 0, max(counts))
    bars = [
        f'<rect class="column" x="{x.place(i) + 0.8:.1f}" y="{y.place(count):.1f}" width="{x.length / bins - 1.6:.1f}" '
        f'height="{y.start - y.place(count):.1f}"/>'
        for i, count in enumerate(counts)
        if count
    ]
    return _svg([_ground(y), *bars], stretched=True), width, max(counts)


def _axes(left: float, right: float, low: float, high: float) -> tuple[Axis, Axis]:
    x = Axis(left, right, _LEFT, WIDTH - _LEFT - _RIGHT)
    return x, Axis(low, high, HEIGHT - _BOTTOM, -(HEIGHT - _TOP - _BOTTOM))


def _ground(y: Axis) -> str:
    return (
        f'<path class="rule" d="M0 {y.start:.1f}H{WIDTH:.0f}"/><path class="rule top" d="M0 {_TOP:.1f}H{WIDTH:.0f}"/>'
    )


def _line(points: Iterable[tuple[float, float]], x: Axis, y: Axis, kind: str) -> str:
    places = [f"{x.place(a):.1f} {y.place(b):.1f}" for a, b in points]
    if len(places) == 1:
        cx, cy = places[0].split()
        return f'<circle class="{kind}" cx="{cx}" cy="{cy}" r="1.8"/>'
    return f'<path class="{kind}" d="M{"L".join(places)}"/>' if places else ""


def _sampled(count: int, most: int) -> list[int]:
    step = -(-count // most) or 1
    return sorted({*range(0, count, step), count - 1}) if count else []


def _svg(parts: Iterable[str], *, stretched: bool = False) -> Markup:
    """Return a drawing; if stretched, it fills any area without keeping its aspect ratio."""
    body = "".join(parts)
    shape = ' preserveAspectRatio="none"' if stretched else ""
    return Markup(  # noqa: S704 -- numbers alone
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"{shape} aria-hidden="true" focusable="false">{body}</svg>'
    )
