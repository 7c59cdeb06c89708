"""Pairs that differ less than independent runs would: the same run twice, or equal differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from aimlib.errors import counted
from analysis.reading.predictions import Selected
from analysis.statistics.comparison import Comparison
from analysis.wording import number_format

_PERFECT = 0.99
"""Two independent runs with at least this accuracy may well have the same predictions."""
_FAR = 3
"""A lack of variation is suspicious only if the mean difference is at least this many images."""


def alike_runs(
    comparisons: Sequence[Comparison], runs: pd.DataFrame, selected: Mapping[str, Selected]
) -> Iterator[str]:
    """Yield a sentence for each comparison in which the runs of pairs, or the differences of pairs, hardly differ.

    Parameters
    ----------
    comparisons : the gated comparisons; only the pairs in the deciding look are used.
    runs : the frame of runs from `Results`.
    selected : predictions of the selected epochs, by run id.
    """
    by_seed = runs.set_index(["arm", "seed"])
    for comparison in comparisons:
        if comparison.verdict.kind == "identical":
            continue
        yield from _same_predictions(comparison, by_seed, selected)
        yield from _equal_differences(comparison, by_seed)


def _same_predictions(comparison: Comparison, runs: pd.DataFrame, selected: Mapping[str, Selected]) -> Iterator[str]:
    seeds = list(comparison.deciding_pairs["seed"])
    same = []
    for seed in seeds:
        pair = [runs.loc[(arm, seed)] for arm in (comparison.treatment, comparison.control)]
        one, other = (selected.get(str(run["run_id"])) for run in pair)
        odd = one is not None and one.largest_share < 1 and float(pair[0]["test_accuracy"]) < _PERFECT
        if odd and other is not None and one == other:
            same.append(int(seed))
    if same:
        yield (
            f"In {len(same)} of {counted(len(seeds), 'pair')} of {comparison.name}, both runs predict the same class "
            f"for every test image ({number_format.seeds(same)}): check that what the arms vary has an effect, and "
            "that no run was stored twice."
        )


def _equal_differences(comparison: Comparison, runs: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence if the accuracies differ by the same amount in every pair, to within one image."""
    found, pairs = comparison.interval, comparison.deciding_pairs
    if not comparison.measure.is_accuracy or not comparison.verdict.decided or len(pairs) < 2:
        return
    of_treatment = runs.xs(comparison.treatment, level="arm")["test_images"].reindex(pairs["seed"])
    image = 100 / float(of_treatment.astype("Float64").astype("float64").max())
    if np.isfinite(image) and found.sd < image and abs(found.mean) > _FAR * image:
        yield (
            f"The differences of {comparison.name} hardly vary between seeds (SD {found.sd:.2g} pp, less than one test "
            f"image, {image:.2g} pp): independent runs would vary more. Check that the training code uses the seeds."
        )
