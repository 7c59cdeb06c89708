"""What a cross-validation says and what it does not: folds are not independent repetitions.

The photos of one fold are training photos of all others, so results of two folds depend on each other, and no estimate
of their variance from the folds themselves is unbiased (Bengio and Grandvalet, 2004). So seeds remain the unit of every
interval, within the folds as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.wording import number_format


def sentence(configs: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what limits conclusions from arms that are tested on folds; None if none is.

    Parameters
    ----------
    configs : the configuration of every arm, as plain JSON.
    """
    tested = sorted({found for config in configs if (found := _fold_of(config)) is not None})
    if not tested:
        return None
    if len(tested) == 1:
        folds, fold = tested[0]
        return f"Every arm is tested on fold {fold} of {folds} alone; the other folds may say otherwise."
    named = number_format.listing([f"{fold} of {folds}" for folds, fold in tested])
    return (
        f"Arms are tested on different folds ({named}). Folds are not independent repetitions, because the photos of "
        f"one are training photos of the others: intervals are over seeds, for these photos in these folds. "
        f"A comparison of two arms compares their networks only if both have the same fold; the effects of other "
        f"factors are taken within folds and averaged over them."
    )


def _fold_of(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the number of folds and the one that is tested; None if `split` states none."""
    split = (config.get("data") or {}).get("split")
    if not isinstance(split, Mapping):
        return None
    folds, fold = split.get("folds"), split.get("fold")
    return (folds, fold) if isinstance(folds, int) and isinstance(fold, int) else None
