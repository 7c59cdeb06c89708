"""The results of a search: expected validation performance, and how much of it remains on fresh seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from analysis.statistics.paired import OUTCOMES


def expected_best(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the expected best of 1, 2, ..., B trials, drawn without replacement from the B given trials.

    This is the unbiased estimator (Tang et al., 2020) of the expected validation performance (Dodge et al., 2019). The
    original estimator draws with replacement and is biased downwards.
    """
    x = np.sort(np.asarray(values, dtype=float))
    if not np.isfinite(x).all():
        raise ValueError("values must be finite; leave out trials without a result")
    total, places = len(x), np.arange(len(x))
    sizes = np.arange(1, total + 1)[:, None]

    def log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1))

    # The i-th smallest value (from 0) is the best of a set of size n in C(i, n - 1) of C(B, n) sets.
    with np.errstate(invalid="ignore"):
        weights = np.where(
            places >= sizes - 1,
            np.exp(log_choose(np.maximum(places, sizes - 1), sizes - 1) - log_choose(total, sizes)),
            0.0,
        )
    return np.asarray(weights @ x)


def winners(screened: pd.DataFrame, confirmed: pd.DataFrame) -> pd.DataFrame:
    """Return arm, screening, confirmation and shrinkage: how much a search's best arms lose on fresh seeds.

    Accuracies are mean validation accuracies over seeds, in percent; shrinkage is screening minus confirmation, in pp.
    Only arms that are in both studies are listed.

    Parameters
    ----------
    screened, confirmed : the frames `trials` from the two studies.
    """
    sides = []
    for frame in (screened, confirmed):
        rows = frame[frame["status"].isin(OUTCOMES)]
        sides.append(100 * rows.groupby("arm")["validation_accuracy"].mean())
    table = pd.DataFrame({"screening": sides[0], "confirmation": sides[1]}).dropna()
    table["shrinkage"] = table["screening"] - table["confirmation"]
    table = table.sort_values("screening", ascending=False, kind="stable")
    return table.rename_axis(index="arm").reset_index().astype({"arm": "str"})
