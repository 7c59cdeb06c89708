"""The appearance of figures: sizes, fonts, labels, and conversion to SVG or PNG that is reproducible byte for byte."""

from __future__ import annotations

import io
import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import MaxNLocator

from analysis.figures.palette import GRID, INK, MUTED, PAPER

P = ParamSpec("P")
WIDTH = 6.4
"""Width of a text column in inches."""
SMALL = 8
_SETTINGS: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.unicode_minus": True,
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw with this module's settings, and restore the user's settings afterward."""

    @wraps(draw)
    def with_settings(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            return draw(*args, **kwargs)

    return with_settings


def new_figure(height: float) -> Figure:
    """Return an empty figure with the width of a column and a height of `height` inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def labels(names: Sequence[str], width: int = 24, lines: int = 2) -> dict[str, str]:
    """Return names as figures show them: printable, wrapped at `width` characters, shortened in the middle.

    If names would look identical, each begins with its number, counted from 1.
    """
    short = {name: _short(name, width, lines) for name in names}
    numbers = {name: number for number, name in enumerate(names, start=1)}
    seen = list(short.values())
    return {
        name: text if seen.count(text) == 1 else _short(f"{numbers[name]}: {name}", width, lines)
        for name, text in short.items()
    }


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines between words and after the characters that join parts of names, as in ``block_entry``."""

    wordsep_re = re.compile(r"(\s+|[^\s_.,=/\])]+[_.,=/\])]+)")


def _short(name: str, width: int, lines: int) -> str:
    clean = printable(name)
    for room in range(min(len(clean), width * lines), 1, -1):
        head = (room - 1) * 3 // 5
        text = (
            clean
            if room == len(clean)
            else f"{clean[:head].rstrip()}…{clean[len(clean) - (room - 1 - head) :].lstrip()}"
        )
        wrapped = _Wrapper(width).wrap(text)
        if len(wrapped) <= lines:
            return "\n".join(wrapped)
    return clean


def printable(text: str) -> str:
    """Return a text on one line, in which characters that are invisible or missing in the font are replaced."""
    return " ".join("".join(map(_printable, text)).split())


def _printable(character: str) -> str:
    kind = unicodedata.category(character)
    if kind.startswith("Z") or character in "\t\n\r":
        return " "
    hidden = kind in ("Cc", "Cf", "Cs", "Co", "Cn") or not _font().get_char_index(ord(character))
    return "\ufffd" if hidden else character


@cache
def _font() -> FT2Font:
    """Return the font of all figures; characters that it lacks look identical, so names with them need a number."""
    return get_font(findfont(_SETTINGS["font.family"]))


def rule(axes: Axes, axis: str = "x") -> None:
    """Draw faint grid lines for reading values off one axis."""
    axes.grid(visible=True, axis="x" if axis == "x" else "y")
    axes.tick_params(length=0, axis="y" if axis == "x" else "x")


def whole_numbers(axes: Axes) -> None:
    """Put ticks on the horizontal axis at whole numbers only; call this after everything is plotted."""
    low, high = axes.get_xlim()
    if high - low < 1:  # a single point: the axis does not contain two whole numbers
        axes.set_xlim((low + high) / 2 - 0.6, (low + high) / 2 + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def name_line(axes: Axes, name: str, place: float) -> None:
    """Write a horizontal line's name at its right end, outside the axes."""
    where: Any = {"xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points"}
    axes.annotate(name, (1, place), va="center", annotation_clip=False, **where)


def arranged(figure: Figure) -> Figure:
    """Fix the layout of a figure and return it.

    With a layout engine, even an inactive one, `savefig` would draw the figure twice per format.
    """
    engine = figure.get_layout_engine()
    with mpl.rc_context({**_SETTINGS, "figure.autolayout": False, "figure.constrained_layout.use": False}):
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine(None)
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as PNG, 200 dpi on white."""
    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG document; its ids are derived from `name`."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=empty)
    # Text is drawn as paths, so arm names appear only in comments, where they are not needed.
    return re.sub(r"\s*<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)


def inline(document: str, name: str) -> str:
    """Return an SVG document as an element for a page that defines --ink, --muted, --grid and --paper.

    The ids in the SVG contain `name`, so several figures can be on one page; the page determines their size.
    """
    text = document[document.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head) + ' aria-hidden="true"'
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid"), (PAPER, "paper")):
        rest = re.sub(rf"(?<=: ){colour}(?=[;\"])", f"var(--{variable})", rest)
    return f"{head}>{rest}".strip()
