"""Small drawings of the overview page as inline SVG: no script, no fonts, colours of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 240.0, 92.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 2.0, 2.0, 8.0, 4.0
_STEPS, _CURVE_POINTS = 160, 60


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on so many units, drawn from `start` on."""

    low: float
    high: float
    start: float
    length: float

    def place(self, value: float) -> float:
        """Return where a value is drawn."""
        return self.start + self.length * (value - self.low) / ((self.high - self.low) or 1.0)


def curves(thin: Iterable[Sequence[float | None]], mean: Sequence[float | None], epochs: int, top: float) -> Markup:
    """Return validation accuracy by epoch: a thin line per run, a thick one for the mean.

    Parameters
    ----------
    thin, mean : fractions by epoch, None where unknown.
    epochs : right end of the axis.
    top : fraction at the upper end; the lower end is 0.
    """
    x, y = _axes(1, max(2, epochs), 0.0, top)
    lines = [_line(_known(curve), x, y, "run") for curve in thin]
    return _svg([_ground(y), *lines, _line(_known(mean), x, y, "mean")])


def _known(curve: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return epoch and accuracy where there is one, of a long curve not every epoch."""
    points = [(float(epoch), value) for epoch, value in enumerate(curve, 1) if value is not None and value == value]  # noqa: PLR0124
    return [points[i] for i in _sampled(len(points), _CURVE_POINTS)]


def done_over_time(times: Sequence[float], planned: int, now: float) -> Markup:
    """Return the number of settled runs over time as steps; the upper end of the axis is all that are planned.

    Parameters
    ----------
    times : when each run was settled, sorted, in seconds.
    """
    x, y = _axes(times[0] if times else now - 1, max(now, times[-1] if times else now), 0, max(1, planned))
    steps: list[tuple[float, float]] = []
    for place in _sampled(len(times), _STEPS):
        steps += [(times[place], steps[-1][1] if steps else 0), (times[place], place + 1)]
    if times:
        steps.append((now, len(times)))
    return _svg([_ground(y), _line(steps, x, y, "mean")], stretched=True)


def throughput(times: Sequence[float], now: float, bins: int = 24) -> tuple[Markup, float, int]:
    """Return bars of settled runs per bin of time, the seconds of a bin, and the most runs of any."""
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
    """Return a drawing; stretched: it takes any shape that the page gives it."""
    body = "".join(parts)
    shape = ' preserveAspectRatio="none"' if stretched else ""
    return Markup(  # noqa: S704 -- numbers alone
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"{shape} aria-hidden="true" focusable="false">{body}</svg>'
    )
