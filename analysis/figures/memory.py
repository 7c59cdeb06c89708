"""The memory of a trained network: its content, its magnitude by epoch, and the layers that read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aimlib.errors import counted
from analysis.figures.canvas import labels, new_figure, styled
from analysis.figures.palette import INK, MUTED
from analysis.wording import number_format

TITLE = "What the memory holds, and which layers read it"
_NAMED_EPOCHS = 12


@styled
def draw(content: npt.NDArray[Any], epochs: pd.DataFrame, weights: pd.DataFrame, contributions: pd.DataFrame) -> Figure:
    """Return the figure.

    Parameters
    ----------
    content : the memory at the start of a forward pass, [channels, rows, columns].
    epochs, weights, contributions : attributes of `ablations.execution.inference.memory.LearnedMemory`.
    """
    layers = list(contributions["layer"])
    figure = new_figure(3.4 + 0.17 * len(layers))
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.2, 1.2 + 0.17 * len(layers)])
    above, below = parts
    held, size = above.subplots(1, 2, width_ratios=[2, 1])
    by_epoch, share = below.subplots(1, 2, width_ratios=[2, 1], sharey=True)
    _content(held, content)
    _sizes(size, epochs)
    table = weights.assign(ratio=weights["read"] / weights["own"]).pivot(index="layer", columns="epoch", values="ratio")
    _weights(by_epoch, table.reindex(index=layers))
    _shares(share, contributions)
    texts = labels(layers, 30, 1)
    by_epoch.set_yticks([at + 0.5 for at in range(len(layers))], [texts[name] for name in layers], rotation=0)
    return figure


def _content(axes: Axes, content: npt.NDArray[Any]) -> None:
    values = content.reshape(len(content), -1)
    limit = float(np.abs(values).max()) or 1.0
    sns.heatmap(
        values, ax=axes, cmap="PuOr_r", vmin=-limit, vmax=limit, xticklabels=False, yticklabels=False,
        cbar_kws={"label": "Value", "pad": 0.02}, rasterized=True,
    )  # fmt: skip
    axes.set_title("Memory at the start of a forward pass")
    axes.set_xlabel(f"Position ({content.shape[1]} rows × {content.shape[2]} columns)")
    axes.set_ylabel(f"Channel (1 to {len(content)})")


def _sizes(axes: Axes, epochs: pd.DataFrame) -> None:
    sources = epochs["source"].nunique()
    for number, (source, part) in enumerate(epochs.groupby("source")):
        style = "-" if number == 0 else "--"
        axes.plot(part["epoch"], part["rms"], style, color=INK, marker="o", markersize=2.5, label=f"source {source}")
    if sources > 1:
        axes.legend()
    axes.set_ylim(0, 1.1 * epochs["rms"].max() or 1)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("Epoch (0: start)")
    axes.set_ylabel("Root mean square")
    axes.set_title("Magnitude of its values")


def _weights(axes: Axes, table: pd.DataFrame) -> None:
    sns.heatmap(table, ax=axes, cmap="cividis", cbar_kws={"label": "Read ÷ own weights", "pad": 0.02})
    step = max(1, len(table.columns) // _NAMED_EPOCHS)
    shown = range(0, len(table.columns), step)
    axes.set_xticks([at + 0.5 for at in shown], [str(table.columns[at]) for at in shown], rotation=0)
    axes.tick_params(length=0)
    axes.set_xlabel("Epoch (0: start)")
    axes.set_ylabel("")
    axes.set_title("Norm of the weights that read the memory")


def _shares(axes: Axes, contributions: pd.DataFrame) -> None:
    share = 100 * contributions["read"] / contributions["own"]
    axes.barh([at + 0.5 for at in range(len(share))], share, height=0.7, color=MUTED)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.set_xlim(left=0)
    axes.set_xlabel("Memory's part of the\noutput, % of the input's")
    axes.set_title("Use of the memory")


def caption(
    content: npt.NDArray[Any],
    epochs: pd.DataFrame,
    weights: pd.DataFrame,
    contributions: pd.DataFrame,
    images: int,
) -> str:
    """Return what the four panels show, and which layer uses the memory most."""
    share = 100 * contributions["read"] / contributions["own"]
    most = int(share.to_numpy().argmax())
    ratio = weights.assign(ratio=weights["read"] / weights["own"]).groupby("epoch")["ratio"].mean()
    sources = "" if epochs["source"].nunique() == 1 else " Only the first of two sources is shown as a map."
    return (
        f"Above: the memory at the start of a forward pass, before any update ({counted(content.size, 'value')}), and "
        f"the root mean square of its values from the start to epoch {int(epochs['epoch'].max())}.{sources} Below, for "
        f"each of {counted(len(contributions), 'layer')} that read the memory: the norm of the weights that read the "
        f"memory divided by the norm of the layer's own weights (on average {number_format.significant(ratio.iloc[0])} "
        f"at the start, {number_format.significant(ratio.iloc[-1])} at the end); and the root mean square of the "
        f"memory's part of the layer's output over {counted(images, 'test image')}, as a percentage of the input's "
        f"part. {contributions['layer'].iloc[most]} uses the memory most "
        f"({number_format.significant(share.iloc[most])} %)."
    )
