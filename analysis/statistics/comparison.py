"""One comparison of two arms, with everything that is said about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis import numerals
from analysis.statistics.interval import Interval, t_interval, t_p_value
from analysis.statistics.paired import complete, paired_differences
from analysis.statistics.seeds_needed import SeedsNeeded, seeds_needed
from analysis.statistics.sensitivity import sensitivity
from analysis.statistics.verdict import FEWEST_PAIRS, OPEN, Verdict, decide

FamilyName = Literal["gate", "variant"]
PROXY = "Proxy: does not test the claim. "


@dataclass(frozen=True)
class Comparison:
    """Treatment minus control, in percentage points.

    Attributes
    ----------
    family : ``gate`` (tested in order, each at full alpha) or ``variant`` (Holm across the family).
    pairs : frame of `paired_differences`, one row per planned seed.
    interval : of the complete pairs; its alpha is the level of this comparison after Holm.
    p, p_holm : two-sided p-value of the paired t test; adjusted within the variants (NaN for gates).
    survivors, survivors_verdict : the same from pairs of which both runs trained.
    needed : pairs to add where the verdict is open; None where it is not, or cannot be told.
    checks : frame of `sensitivity`.
    reported : gains in pp that were reported, by source; the first decides; empty outside the claim's scope.
    """

    treatment: str
    control: str
    family: FamilyName
    delta: float
    pairs: pd.DataFrame
    interval: Interval
    p: float
    p_holm: float
    verdict: Verdict
    survivors: Interval
    survivors_verdict: Verdict
    needed: SeedsNeeded | None
    checks: pd.DataFrame
    reported: dict[str, float]

    @property
    def name(self) -> str:
        """``treatment − control``."""
        return f"{self.treatment} {numerals.MINUS} {self.control}"

    @property
    def unstable(self) -> bool:
        """Whether leaving out runs that did not train changes the verdict."""
        return self.verdict.decided and self.survivors_verdict.kind != self.verdict.kind

    def sentence(self, proxy: bool = False) -> str:
        """Return the comparison in one sentence; `proxy` where it lies outside the scope of the claim."""
        found = self.interval
        prefix = PROXY if proxy else ""
        if found.n == 0:
            return f"{prefix}No verdict on {self.name}: no seed has a result in both."
        side = "higher" if found.mean >= 0 else "lower"
        mean = numerals.decimal(abs(found.mean))
        seeds = numerals.count(found.n, "paired seed")
        if found.n > 1:
            ends = numerals.interval(found.lower, found.upper)
            seeds = f"{numerals.level(found.alpha)} interval {ends} pp, {seeds}"
        gain = f"{self.treatment} scores {mean} pp {side} than {self.control} on average"
        return f"{prefix}{gain} ({seeds}): {self._ruling()}."

    def _ruling(self) -> str:
        if self.verdict.kind == "screening only":
            return f"screening only, no verdict below {FEWEST_PAIRS} pairs"
        if self.unstable:
            return (
                f"{self.verdict.text}; unstable training, for the pairs that trained alone would give "
                f"“{self.survivors_verdict.text}”"
            )
        return self.verdict.text


def compare_arms(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    judged: pd.DataFrame,
    treatment: str,
    control: str,
    rng: np.random.Generator,
    *,
    seeds: Iterable[int] = (),
    delta: float = 1.0,
    reported: dict[str, float] | None = None,
    alpha: float = 0.05,
    p_holm: float = float("nan"),
    family: FamilyName = "gate",
    withhold: str = "",
) -> Comparison:
    """Return the comparison of two arms.

    Parameters
    ----------
    trials, epochs : frames of `Results`.
    judged : frame of `outcomes`.
    seeds : planned seeds; a planned pair that is incomplete makes the table unbalanced and withholds the
        verdict.
    withhold : a further reason to withhold it.
    """
    pairs = paired_differences(trials, treatment, control, pairs=seeds)
    differences = complete(pairs)["difference"]
    main = t_interval(differences, alpha)
    gain = next(iter((reported or {}).values()), None)
    verdict = decide(main.lower, main.upper, main.sd, main.n, delta, gain, withhold=withhold or _imbalance(pairs))
    trained = trials[trials["run_id"].isin(judged.loc[judged["outcome"] == "trained", "run_id"])]
    surviving = paired_differences(trained, treatment, control)
    survivors = t_interval(complete(surviving)["difference"], alpha)
    return Comparison(
        treatment=treatment,
        control=control,
        family=family,
        delta=delta,
        pairs=pairs,
        interval=main,
        p=t_p_value(differences),
        p_holm=p_holm,
        verdict=verdict,
        survivors=survivors,
        survivors_verdict=decide(survivors.lower, survivors.upper, survivors.sd, survivors.n, delta, gain),
        needed=seeds_needed(main, delta, gain) if verdict.kind in OPEN | {"screening only"} else None,
        checks=sensitivity(trials, epochs, surviving, pairs, (treatment, control), delta, gain, rng, alpha),
        reported=reported or {},
    )


def _imbalance(pairs: pd.DataFrame) -> str:
    absent = int(pairs["difference"].isna().sum())
    return f"unbalanced: {absent} of {numerals.count(len(pairs), 'pair')} incomplete" if absent else ""
