"""Which classes gain: the mean difference per class, shrunken toward the mean of all images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.images import crossed


def class_differences(differences: npt.ArrayLike, labels: npt.ArrayLike, names: dict[int, str]) -> pd.DataFrame:
    """Return label, class_name, images, raw, shrunken, se and posterior_sd (pp) for every class, sorted by `shrunken`.

    Classes have few images, so the most extreme raw differences are mostly noise. The shrunken difference is a
    posterior mean: raw · w + mean · (1 - w), with w = spread² / (spread² + se²). The model is normal over classes and
    centered on the mean of all images; its spread is estimated by the method of moments. The posterior standard
    deviation is se · √w. If every class has only one image, or there is only one seed, noise cannot be distinguished
    from differences between classes, and the last three columns are NaN.

    Parameters
    ----------
    differences : [seeds, images], as for `images.crossed`.
    labels : [images], class numbers.
    names : the name of each class.
    """
    x: npt.NDArray[Any] = np.asarray(differences, dtype=float)
    classes: npt.NDArray[Any] = np.asarray(labels)
    known, sizes = np.unique(classes, return_counts=True)
    raw = np.array([x[:, classes == number].mean() for number in known])
    # For every class, the variance of its mean for new seeds and images, times its number of images. These variances
    # are similar enough to be pooled, and without pooling, classes near chance level would seem to be free of noise.
    parts = [
        (found.interval.sd**2 / found.seeds) * found.images
        for number, size in zip(known, sizes, strict=True)
        if size > 1 and len(x) > 1
        for found in (crossed(x[:, classes == number]),)
    ]
    variances = (float(np.mean(parts)) if parts else np.nan) / sizes
    centre = float((sizes * raw).sum() / sizes.sum())
    spread2 = float(np.maximum(0.0, (sizes * ((raw - centre) ** 2 - variances)).sum() / sizes.sum()))
    total = spread2 + variances
    kept = spread2 / np.where(total == 0, 1.0, total)
    frame = pd.DataFrame(
        {
            "label": known.astype("int64"),
            "class_name": [names.get(int(number), str(number)) for number in known],
            "images": sizes.astype("int64"),
            "raw": raw,
            "shrunken": kept * raw + (1 - kept) * centre,
            "se": np.sqrt(variances),
            "posterior_sd": np.sqrt(kept * variances),
        }
    )
    order = ["raw" if np.isnan(kept).any() else "shrunken", "label"]
    return frame.astype({"class_name": "str"}).sort_values(order, ignore_index=True)
