"""What a cross-validation shows and what it does not: folds are not independent repetitions.

The photos in one fold are training photos for all other folds, so the results of two folds depend on each other. No
estimate of their variance from the folds themselves is unbiased (Bengio and Grandvalet, 2004). Seeds therefore remain
the unit of every interval, for the given folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.wording import number_format


def sentence(configs: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what limits the conclusions if arms are tested on folds; None if no arm is tested on a fold.

    Parameters
    ----------
    configs : every arm's configuration, as plain JSON.
    """
    tested = sorted({found for config in configs if (found := _fold_of(config)) is not None})
    if not tested:
        return None
    if len(tested) == 1:
        folds, fold = tested[0]
        return f"Every arm is tested on fold {fold} of {folds} alone; results on the other folds may differ."
    named = number_format.listing([f"{fold} of {folds}" for folds, fold in tested])
    return (
        f"Arms are tested on different folds ({named}). Folds are not independent repetitions, because the photos in "
        "one fold are training photos for the others. Intervals are therefore over seeds, for these photos in these "
        "folds. A comparison of two arms is a comparison of their networks only if both are tested on the same fold; "
        "the effects of other factors are computed within folds and averaged over them."
    )


def _fold_of(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the number of folds and the tested fold; None if `split` does not contain them."""
    split = (config.get("data") or {}).get("split")
    if not isinstance(split, Mapping):
        return None
    folds, fold = split.get("folds"), split.get("fold")
    return (folds, fold) if isinstance(folds, int) and isinstance(fold, int) else None
