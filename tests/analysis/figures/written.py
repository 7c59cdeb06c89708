"""The texts in a figure, their positions, and their overlaps."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest


def texts(figure):
    """Return (text, extent) for every text in a figure."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    drawn = [t for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]
    unused = {id(label) for axes in figure.axes for label in _beyond_limits(axes)}
    return [(t.get_text(), t.get_window_extent(renderer)) for t in drawn if id(t) not in unused]


def _beyond_limits(axes):
    """Return the labels of ticks outside the limits, which matplotlib keeps but does not draw."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


def refuse_overlaps(written, name=""):
    """Fail if any two texts, as returned by `texts`, overlap by more than a pixel on each side."""
    shown = [(text, box) for text, box in written if box.width]
    x0, y0, x1, y1 = np.array([box.padded(-1).extents for _, box in shown]).T
    apart = (x1[:, None] < x0) | (y1[:, None] < y0)
    found = np.argwhere(np.triu(~(apart | apart.T), 1))
    if len(found):
        a, b = (shown[at][0] for at in found[0])
        pytest.fail(f"{name}: {a!r} overlaps {b!r}")
