"""Which classes gain: mean difference per class, shrunken towards the mean of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def class_differences(differences: npt.ArrayLike, labels: npt.ArrayLike, names: dict[int, str]) -> pd.DataFrame:
    """Return label, class_name, images, raw, shrunken, se of every class, sorted by `shrunken`; differences in pp.

    Classes have few images, so the extremes of the raw differences are mostly noise. The shrunken one is the posterior
    mean of a normal model over classes whose spread is estimated by the method of moments (DerSimonian and Laird,
    1986): raw · w + mean · (1 - w), w = spread² / (spread² + se²).

    Parameters
    ----------
    differences : [seeds, images], as for `images.crossed`.
    labels : [images], class numbers.
    names : name of each class.
    """
    x: npt.NDArray[Any] = np.asarray(differences, dtype=float)
    classes: npt.NDArray[Any] = np.asarray(labels)
    known = np.unique(classes)
    raw, error2, sizes = [], [], []
    for number in known:
        per_image = x[:, classes == number].mean(axis=0)
        per_seed = x[:, classes == number].mean(axis=1)
        sizes.append(len(per_image))
        raw.append(per_image.mean())
        # Images and seeds both vary; each estimate holds the interaction, so the larger is used.
        parts = [v.var(ddof=1) / len(v) for v in (per_image, per_seed) if len(v) > 1]
        error2.append(max(parts, default=np.nan))
    means, variances = np.array(raw), np.array(error2)
    variances = np.where(variances > 0, variances, np.nanmean(variances[variances > 0]) if (variances > 0).any() else 1)
    weights = 1 / variances
    centre = (weights * means).sum() / weights.sum()
    excess = (weights * (means - centre) ** 2).sum() - (len(known) - 1)
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    spread2 = max(0.0, excess / scale) if scale > 0 else 0.0
    kept = spread2 / (spread2 + variances)
    frame = pd.DataFrame(
        {
            "label": known.astype("int64"),
            "class_name": [names.get(int(number), str(number)) for number in known],
            "images": np.array(sizes, dtype="int64"),
            "raw": means,
            "shrunken": kept * means + (1 - kept) * centre,
            "se": np.sqrt(variances),
        }
    )
    return frame.astype({"class_name": "str"}).sort_values(["shrunken", "label"], ignore_index=True)
