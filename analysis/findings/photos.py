"""A comparison image by image: which test images the runs of each pair classified correctly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading import predictions
from analysis.results import Results
from analysis.statistics.classes import class_differences
from analysis.statistics.comparison import Comparison
from analysis.statistics.images import Crossed, balanced_accuracy, crossed, mcnemar_p


@dataclass(frozen=True)
class Photos:
    """A comparison image by image, from the deciding pairs.

    Attributes
    ----------
    seeds : the seeds of the pairs that have predictions.
    crossed : the analysis of crossed seeds × images.
    balanced : paired differences in balanced accuracy, pp.
    classes : the frame from `class_differences`.
    mcnemar : exact p-value from McNemar's test for every pair of runs; a diagnostic.
    """

    seeds: tuple[int, ...]
    crossed: Crossed
    balanced: pd.Series
    classes: pd.DataFrame
    mcnemar: tuple[float, ...]


def photos(results: Results, comparison: Comparison) -> Photos | None:
    """Return a comparison image by image.

    None if fewer than two pairs have predictions from both runs on the same images, if there is only one image, or if
    the table of test images is missing.
    """
    if results.images.empty:
        return None
    seeds = comparison.deciding_pairs["seed"].tolist()
    runs = results.runs.set_index(["arm", "seed"])["run_id"]
    pairs = [(str(runs[comparison.treatment, seed]), str(runs[comparison.control, seed])) for seed in seeds]
    wanted = [run_id for pair in pairs for run_id in pair]
    found, right, labels = predictions.correct_selected(results.directory, wanted, results.images)
    row = {run_id: number for number, run_id in enumerate(found)}
    kept = [(seed, pair) for seed, pair in zip(seeds, pairs, strict=True) if row.keys() >= set(pair)]
    if len(kept) < 2 or len(labels) < 2:
        return None
    treated, control = (right[[row[pair[side]] for _, pair in kept]] for side in (0, 1))
    differences: npt.NDArray[np.float32] = 100 * (treated.astype(np.float32) - control)
    known = results.images.drop_duplicates("label")
    names = {int(label): str(name) for label, name in zip(known["label"], known["class_name"], strict=True)}
    return Photos(
        seeds=tuple(seed for seed, _ in kept),
        crossed=crossed(differences, comparison.interval.alpha),
        balanced=pd.Series(100 * (balanced_accuracy(treated, labels) - balanced_accuracy(control, labels))),
        classes=class_differences(differences, labels, names),
        mcnemar=tuple(mcnemar_p(a, b) for a, b in zip(treated, control, strict=True)),
    )
