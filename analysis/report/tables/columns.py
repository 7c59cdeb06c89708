"""The meaning of the columns of a report's tables, by name; a name has the same meaning everywhere."""

from __future__ import annotations

import pandas as pd

from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.reading import frames

_MEANINGS: dict[str, tuple[str, str]] = {
    "comparison": ("", "treatment − control"),
    "treatment": ("", "arm whose gain is in question; in `pairs` its test accuracy, a fraction"),
    "control": ("", "arm that it is compared with; in `pairs` its test accuracy, a fraction"),
    "treatment_status": ("", "status of the treatment's run"),
    "control_status": ("", "status of the control's run"),
    "difference": ("pp", "treatment minus control in test accuracy"),
    "family": ("", "gate: tested in order, each at the full level; variant: a further arm, under Holm's procedure"),
    "pairs_planned": ("pairs", "seeds that the plan has for both arms"),
    "pairs": ("pairs", "planned pairs at this look"),
    "n": ("", "number of values: complete pairs, runs, or seeds"),
    "mean": ("", "their mean: pp for differences, a fraction for accuracies of arms"),
    "sd": ("", "their standard deviation, in the unit of the mean"),
    "lower": ("", "lower end of the interval of the mean, in its unit"),
    "upper": ("", "upper end of the interval of the mean, in its unit"),
    "alpha": ("", "1 minus the confidence level of that interval"),
    "prediction_lower": ("pp", "lower end of the interval for one further pair with one seed for both arms"),
    "prediction_upper": ("pp", "upper end of the interval for one further pair with one seed for both arms"),
    "p": ("", "two-sided p-value of the test in this row alone"),
    "p_looks": ("", "p-value of all looks together"),
    "p_holm": ("", "p-value of all looks, adjusted among the further arms by Holm's procedure"),
    "p_positive": ("", "probability of a true difference above 0, under a flat prior"),
    "p_negligible": ("", "probability of a true difference between −δ and δ, under a flat prior"),
    "verdict": ("", "what the table says about the interval; in `audit` whether statement and finding agree"),
    "stops": ("", "whether that verdict ends the study"),
    "seeds_needed": ("pairs", "pairs to add until a stopping verdict is expected"),
    "survivors_n": ("pairs", "pairs in which both runs trained"),
    "survivors_mean": ("pp", "mean difference of these pairs"),
    "survivors_lower": ("pp", "lower end of its interval"),
    "survivors_upper": ("pp", "upper end of its interval"),
    "survivors_verdict": ("", "verdict that the table would give for these pairs"),
    "unstable": ("", "whether leaving out runs that did not train changes the verdict"),
    "compatible_with_reported": ("", "whether the reported gain lies in the prediction interval; empty out of scope"),
    "check": ("", "sensitivity check; none of them decides"),
    "role": ("", "part of the arm in the argument"),
    "question": ("", "step of the argument"),
    "state": ("", "passed, not passed, open, not reached, or no such arm"),
    "planned": ("runs", "planned runs of the arm"),
    "runs": ("runs", "runs of the arm that finished or diverged"),
    "trained": ("runs", "runs above chance"),
    "at chance": ("runs", "finished runs whose accuracy is not shown to exceed chance"),
    "diverged": ("runs", "runs whose loss stopped being finite"),
    "failed": ("runs", "runs without a result, to be tried again"),
    "pruned": ("runs", "runs that a search cut short"),
    "not_trained": ("runs", "diverged or at chance"),
    "judged": ("runs", "trained, diverged or at chance"),
    "fisher_p": ("", "Fisher's exact two-sided test of (not trained, trained) against the baseline"),
    "lower_bound": ("fraction", "exact one-sided 99 % lower bound of the accuracy"),
    "chance": ("fraction", "share of the largest class of test images; in procedure 1, 1 / classes"),
    "outcome": ("", "trained, at chance, diverged, failed or pruned"),
    "statement": ("", "what the claim says"),
    "source": ("", "where it says so; in `variance_sources` the random stream that varies alone (noise: none does)"),
    "said": ("", "the number that it states"),
    "found": ("", "the number that was found"),
    "evidence": ("", "where it was found, or why nothing was checked"),
    "method": ("", "ladder with its order of switches, Shapley, or one at a time; in `importances`, the evaluator"),
    "switch": ("", "factor of two levels; gap: all of them together; remainder: what they contribute only together"),
    "order": ("", "step in the ladder, from 1; 0 without an order"),
    "first": ("", "one switch of an interaction"),
    "second": ("", "the other"),
    "images": ("images", "test images of the class"),
    "raw": ("pp", "mean difference of the class"),
    "shrunken": ("pp", "that difference, shrunken toward the mean of all classes"),
    "posterior_sd": ("pp", "standard deviation of the shrunken difference"),
    "se": ("pp", "standard error of the raw difference"),
    "screening": ("%", "mean validation accuracy on the seeds of the search"),
    "confirmation": ("%", "mean validation accuracy on the seeds of this study"),
    "shrinkage": ("pp", "screening minus confirmation"),
    "rank": ("", "place of the arm by its mean, from 1"),
    "value": ("", "column of the runs that was measured"),
    "behind": ("pp", "mean of the first arm minus that of this one, over the seeds of both"),
    "behind_lower": ("pp", "lower end of its interval"),
    "behind_upper": ("pp", "upper end of its interval"),
    "tied": ("", "whether that interval contains 0 or is not known, so that the arm may be as good as the first"),
    "kind": ("", "main: effect of one factor; interaction: of two"),
    "factor": ("", "factor whose effect it is"),
    "level": ("", "level of the factor"),
    "reference": ("", "level that it is compared with"),
    "other": ("", "second factor of an interaction"),
    "other_level": ("", "level of the second factor"),
    "other_reference": ("", "level that it is compared with"),
    "contexts": ("", "combinations of the other factors over which the effect is averaged"),
    "left_out": ("seeds", "seeds that lack a run of the effect"),
    "balanced": ("", "whether every combination and every seed was used"),
    "aliased": ("", "effects that the design cannot distinguish from this one"),
    "effect": ("pp", "mean over seeds of the paired difference"),
    "p_adjusted": ("", "p-value times the number of effects (Bonferroni)"),
    "effect_size": ("", "effect divided by the standard deviation over seeds"),
    "searched": ("", "arm whose options were searched"),
    "parameter": ("", "parameter of the search"),
    "importance": ("", "share of the method's total over the arm's parameters; observational, without an interval"),
    "trials": ("trials", "complete trials that it is estimated from"),
    "drawn": ("trials", "complete trials in which the parameter was drawn"),
    "sampler": ("", "sampler that proposed the trials"),
    "variance_treatment": ("", "variance of the treatment over seeds, in squared units of the differences"),
    "variance_control": ("", "variance of the control over seeds, in squared units of the differences"),
    "variance_unpaired": ("", "their sum: variance of a difference of two runs with different seeds"),
    "variance_paired": ("", "variance of the paired differences"),
    "saved": ("fraction", "share by which pairing lowers the variance of a difference"),
    "correlation": ("", "correlation of the two arms over seeds"),
    "correlation_lower": ("", "lower end of Fisher's 95 % interval of it"),
    "correlation_upper": ("", "upper end of that interval"),
    "unpaired_seeds": (
        "seeds",
        "seeds per arm with which unpaired runs would have an interval as short as the paired one",
    ),
    "of": ("", "arm, or difference of two arms, whose variance it is"),
    "variance": ("", "variance over seeds, in squared units of the differences"),
    "variance_lower": ("", "lower end of its 95 % interval"),
    "variance_upper": ("", "upper end of its 95 % interval"),
    "share": ("fraction", "of the variance with all sources varied"),
    "share_lower": ("fraction", "lower end of its 95 % interval"),
    "share_upper": ("fraction", "upper end of its 95 % interval"),
}


_OF_COMPARISONS = frozenset({"comparisons", "pairs", "sensitivity", "looks", "arms", "attribution", "interactions"})


def _in_measure(table: str, unit: str, meaning: str, measure: PrimaryMeasure) -> tuple[str, str]:
    """Return unit and meaning of a column where the study's measure is not the accuracy."""
    if measure.is_accuracy or table not in _OF_COMPARISONS:
        return unit, meaning
    meaning = meaning.replace("test accuracy, a fraction", f"{measure.words}, as stored")
    if meaning == "treatment minus control in test accuracy":
        sides = "control minus treatment" if measure.lower_is_better else "treatment minus control"
        meaning = f"{sides} in {measure.words}"
    unscaled = f"in {measure.difference}" if measure.difference else "without a unit"
    meaning = meaning.replace("pp for differences, a fraction for accuracies of arms", f"differences {unscaled}")
    return measure.difference if unit == "pp" else unit, meaning


def explained(tables: dict[str, pd.DataFrame], measure: PrimaryMeasure = ACCURACY) -> pd.DataFrame:
    """Return table, column, unit, meaning of every column of the tables of a report.

    KeyError if a column has no description, which every new column needs.
    """
    stored = {column.name: (column.unit, column.meaning) for listed in frames.TABLES.values() for column in listed}
    stored[measure.column] = stored.get(measure.column, ("" if measure.unit == "%" else measure.unit, measure.words))
    rows = [
        (name, column, *_in_measure(name, *(_MEANINGS[column] if column in _MEANINGS else stored[column]), measure))
        for name, frame in tables.items()
        for column in map(str, frame.columns)
    ]
    return pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"]).astype("str")
