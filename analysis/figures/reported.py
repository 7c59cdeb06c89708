"""A claim's reported runs, epoch by epoch: the accuracy, and the epochs in which the learning rate fell.

``python -m analysis.figures.reported FOLDER [CLAIM]`` writes ``reported-curves.svg`` and ``reported-curves.png``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.claims import read_claim
from analysis.figures.canvas import new_figure, png, rule, styled, svg
from analysis.figures.palette import MUTED, PAPER, Mark, marks

TITLE = "The reported runs"
_MARGIN = 1.2


def summarise(curves: pd.DataFrame) -> pd.DataFrame:
    """Return arm, epoch, accuracy (percent), learning_rate, falls and best, with one row per epoch of a reported run.

    `falls` is true in the first epoch with a lower learning rate, `best` in the first epoch with the highest accuracy.

    Parameters
    ----------
    curves : `Claim.curves`, with the columns arm, epoch, val_accuracy (fraction) and learning_rate (during the epoch).
    """
    frame = curves.sort_values(["arm", "epoch"], kind="stable").reset_index(drop=True)
    by_arm = frame.groupby("arm", sort=False)
    return pd.DataFrame(
        {
            "arm": frame["arm"].astype("str"),
            "epoch": frame["epoch"].astype("int64"),
            "accuracy": 100 * frame["val_accuracy"].astype("float64"),
            "learning_rate": frame["learning_rate"].astype("float64"),
            "falls": by_arm["learning_rate"].diff() < 0,
            "best": frame.index.isin(by_arm["val_accuracy"].idxmax()),
        }
    )


@styled
def draw(summary: pd.DataFrame, arms: Mapping[str, Mark], chance: float | None = None) -> Figure:
    """Return the figure: one curve per arm with its best epoch marked, and the learning rates along the bottom.

    Parameters
    ----------
    arms : the mark of every arm, in the order of the legend.
    chance : accuracy of guessing, in percent.
    """
    figure = new_figure(3.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for arm, rows in summary.groupby("arm", sort=False):
        mark = arms[str(arm)]
        sns.lineplot(
            rows, x="epoch", y="accuracy", color=mark.colour, dashes=mark.dashes or (1, 0), linewidth=1.6, ax=upper
        )
        _mark_falls(upper, rows, mark)
        _mark_best(upper, rows, mark, above=_leads(summary, str(arm)))
        lower.step(
            rows["epoch"], rows["learning_rate"], where="mid", color=mark.colour, dashes=mark.dashes or (1, 0), lw=1.4
        )
    _label_curves(upper, arms)
    if chance is not None:
        upper.axhline(chance, color=MUTED, linewidth=0.8, linestyle=":")
        last = summary["epoch"].max()
        upper.annotate(
            "chance", (last, chance), (0, 3), textcoords="offset points", color=MUTED, fontsize=8, ha="right"
        )
    upper.set(ylabel="Test accuracy, %", xlabel="", ylim=(0, summary["accuracy"].max() + 2 * _MARGIN))
    rule(upper, "y")
    lower.set(ylabel="Learning\nrate", xlabel="Epoch", yscale="log")
    lower.set_yticks(sorted(summary["learning_rate"].unique()))
    lower.set_yticklabels([f"{rate:.0e}".replace("e-0", "e−") for rate in sorted(summary["learning_rate"].unique())])
    lower.minorticks_off()
    rule(lower, "y")
    figure.align_ylabels()
    return figure


def _mark_falls(axes: Axes, rows: pd.DataFrame, mark: Mark) -> None:
    """Draw a short line across the curve before every epoch in which the learning rate is lower than before."""
    for _, row in rows[rows["falls"]].iterrows():
        before = rows.loc[rows["epoch"] == row["epoch"] - 1, "accuracy"].iloc[0]
        middle = (before + row["accuracy"]) / 2
        axes.vlines(row["epoch"] - 0.5, middle - 1.2, middle + 1.2, color=mark.colour, linewidth=1.2)


def _mark_best(axes: Axes, rows: pd.DataFrame, mark: Mark, *, above: bool) -> None:
    best = rows[rows["best"]].iloc[0]
    axes.scatter(
        best["epoch"],
        best["accuracy"],
        s=34,
        c=mark.colour,
        marker=mark.marker,
        edgecolors=PAPER,
        linewidths=0.6,
        zorder=4,
    )
    at_end = best["epoch"] > 0.8 * rows["epoch"].max() and above
    axes.annotate(
        f"{best['accuracy']:.2f} %, epoch {best['epoch']}",
        (best["epoch"], best["accuracy"]),
        (0, 8) if above else (8, -46),  # there is space below the lower curve; a thin line leads to the label
        textcoords="offset points",
        ha="right" if at_end else "left",
        fontsize=8,
        arrowprops=None if above else {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 4},
    )


def _leads(summary: pd.DataFrame, arm: str) -> bool:
    """Return whether no other curve is above that of `arm` in the arm's best epoch."""
    best = summary[(summary["arm"] == arm) & summary["best"]].iloc[0]
    others = summary[(summary["epoch"] == best["epoch"]) & (summary["arm"] != arm)]
    return bool((others["accuracy"] <= best["accuracy"]).all())


def _label_curves(axes: Axes, arms: Mapping[str, Mark]) -> None:
    handles = []
    for arm, mark in arms.items():
        handles += axes.plot([], [], color=mark.colour, dashes=mark.dashes or (1, 0), marker=mark.marker, label=arm)
    axes.legend(handles=handles, loc="upper left")


def caption(summary: pd.DataFrame) -> str:
    """Return each run's best epoch, and the epochs after which its learning rate fell."""
    parts = []
    for arm, rows in summary.groupby("arm", sort=False):
        best = rows[rows["best"]].iloc[0]
        falls = [str(epoch - 1) for epoch in rows.loc[rows["falls"], "epoch"]]
        listed = " and ".join(filter(None, [", ".join(falls[:-1]), *falls[-1:]]))
        after = f"after epoch{'s' if len(falls) > 1 else ''} {listed}"
        parts.append(
            f"{arm} reached {best['accuracy']:.2f} % in epoch {best['epoch']} of {rows['epoch'].max()}; its learning "
            f"rate fell {after if falls else 'never'}"
        )
    return "; ".join(parts) + " (short lines across the curves)."


def write(folder: Path, claim: str = "stanford_dogs_aim") -> str:
    """Write the figure of a claim's reported runs as SVG and PNG; return its caption."""
    found = read_claim(claim)
    summary = summarise(found.curves)
    arms = [*dict.fromkeys(summary["arm"])]
    figure = draw(
        summary, marks(sorted(arms, key=lambda arm: arm.startswith("aim"))), _chance(found.scope.get("classes", ()))
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reported-curves.svg").write_text(svg(figure, "reported-curves"), encoding="utf-8")
    (folder / "reported-curves.png").write_bytes(png(figure))
    return caption(summary)


def _chance(classes: Iterable[str | int]) -> float | None:
    numbers = [number for number in classes if isinstance(number, int)]
    return 100 / numbers[0] if len(numbers) == 1 else None


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), *sys.argv[2:3]))
