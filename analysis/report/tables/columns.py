"""The meanings of the columns in a report's tables, by name; a name has the same meaning everywhere."""

from __future__ import annotations

import pandas as pd

from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.reading import frames

_MEANINGS: dict[str, tuple[str, str]] = {
    "comparison": ("", "treatment − control"),
    "treatment": ("", "arm whose gain is in question; in `pairs` its test accuracy, a fraction"),
    "control": ("", "arm with which the treatment is compared; in `pairs` its test accuracy, a fraction"),
    "treatment_status": ("", "status of the treatment's run"),
    "control_status": ("", "status of the control's run"),
    "difference": ("pp", "treatment minus control in test accuracy"),
    "family": ("", "gate: tested in order, each at the full level; variant: a further arm, under Holm's procedure"),
    "pairs_planned": ("pairs", "seeds planned for both arms"),
    "pairs": ("pairs", "planned pairs at this look"),
    "n": ("", "number of values: complete pairs, runs, or seeds"),
    "mean": ("", "mean of the values: pp for differences, a fraction for accuracies of arms"),
    "sd": ("", "standard deviation of the values, in the unit of the mean"),
    "lower": ("", "lower limit of the interval for the mean, in the unit of the mean"),
    "upper": ("", "upper limit of the interval for the mean, in the unit of the mean"),
    "alpha": ("", "1 minus the confidence level of the interval"),
    "prediction_lower": ("pp", "lower prediction limit for one further pair with one seed for both arms"),
    "prediction_upper": ("pp", "upper prediction limit for one further pair with one seed for both arms"),
    "p": ("", "two-sided p-value of the test in this row alone"),
    "p_looks": ("", "joint p-value of all looks"),
    "p_holm": ("", "joint p-value of all looks, adjusted for the number of further arms by Holm's procedure"),
    "p_positive": ("", "probability of a true difference above 0, under a flat prior"),
    "p_negligible": ("", "probability of a true difference between −δ and δ, under a flat prior"),
    "verdict": ("", "verdict on the interval; in `audit` whether the statement and the finding agree"),
    "stops": ("", "whether the verdict ends the study"),
    "seeds_needed": ("pairs", "number of further pairs until a stopping verdict is expected"),
    "survivors_n": ("pairs", "pairs in which both runs trained"),
    "survivors_mean": ("pp", "mean difference of these pairs"),
    "survivors_lower": ("pp", "lower limit of the interval for the mean difference of these pairs"),
    "survivors_upper": ("pp", "upper limit of the interval for the mean difference of these pairs"),
    "survivors_verdict": ("", "verdict for these pairs alone"),
    "unstable": ("", "whether leaving out runs that did not train changes the verdict"),
    "compatible_with_reported": (
        "",
        "whether the prediction interval contains the reported gain; empty outside the scope of the claim",
    ),
    "check": ("", "sensitivity check, which does not affect the verdict"),
    "role": ("", "the arm's role in the argument"),
    "question": ("", "step of the argument"),
    "state": ("", "passed, not passed, open, not reached, or no such arm"),
    "planned": ("runs", "planned runs of the arm"),
    "runs": ("runs", "the arm's runs that finished or diverged"),
    "trained": ("runs", "runs with an accuracy above chance level"),
    "at chance": ("runs", "finished runs that are not shown to exceed chance level"),
    "diverged": ("runs", "runs whose loss became infinite or NaN"),
    "failed": ("runs", "runs without a result, which will be retried"),
    "pruned": ("runs", "runs that a search stopped early"),
    "not_trained": ("runs", "runs that diverged or stayed at chance level"),
    "judged": ("runs", "runs that trained, diverged or stayed at chance level"),
    "fisher_p": ("", "p-value of Fisher's exact two-sided test of (not trained, trained) against the baseline"),
    "lower_bound": ("fraction", "exact one-sided 99 % lower bound on the accuracy"),
    "chance": ("fraction", "share of the largest class of test images; in procedure 1, 1 / classes"),
    "outcome": ("", "trained, at chance, diverged, failed or pruned"),
    "statement": ("", "statement of the claim"),
    "source": (
        "",
        "where the claim makes the statement; in `variance_sources` the only random stream that varies (noise: none "
        "does)",
    ),
    "said": ("", "the number that the statement contains"),
    "found": ("", "the number that was found"),
    "evidence": ("", "where the number was found, or why nothing was checked"),
    "method": ("", "a ladder with its order of switches, Shapley, or one at a time; in `importances`, the evaluator"),
    "switch": (
        "",
        "factor with two levels; gap: all switches together; remainder: what they contribute only in combination",
    ),
    "order": ("", "step in the ladder, from 1; 0 without an order"),
    "first": ("", "the first switch of an interaction"),
    "second": ("", "the second switch of an interaction"),
    "images": ("images", "number of test images of the class"),
    "raw": ("pp", "mean difference for the class"),
    "shrunken": ("pp", "mean difference for the class, shrunken toward the mean of all classes"),
    "posterior_sd": ("pp", "standard deviation of the shrunken difference"),
    "se": ("pp", "standard error of the raw difference"),
    "screening": ("%", "mean validation accuracy on the seeds of the search"),
    "confirmation": ("%", "mean validation accuracy on the seeds of this study"),
    "shrinkage": ("pp", "screening minus confirmation"),
    "rank": ("", "rank of the arm by its mean, from 1"),
    "value": ("", "column of the runs that was measured"),
    "behind": ("pp", "mean of the first arm minus the mean of this arm, over the seeds that both have"),
    "behind_lower": ("pp", "lower limit of the interval for `behind`"),
    "behind_upper": ("pp", "upper limit of the interval for `behind`"),
    "tied": ("", "whether this interval contains 0 or is not known, so the arm may be as good as the first"),
    "kind": ("", "main: effect of one factor; interaction: effect of two factors"),
    "factor": ("", "factor that has the effect"),
    "level": ("", "level of the factor"),
    "reference": ("", "level with which `level` is compared"),
    "other": ("", "second factor of an interaction"),
    "other_level": ("", "level of the second factor"),
    "other_reference": ("", "level with which `other_level` is compared"),
    "contexts": ("", "combinations of the other factors over which the effect is averaged"),
    "left_out": ("seeds", "seeds that lack a run needed for the effect"),
    "balanced": ("", "whether every combination and every seed was used"),
    "aliased": ("", "effects that the design cannot distinguish from this one"),
    "effect": ("pp", "mean over seeds of the paired difference"),
    "p_adjusted": ("", "p-value times the number of effects (Bonferroni)"),
    "effect_size": ("", "effect divided by the standard deviation over seeds"),
    "searched": ("", "arm whose options were searched"),
    "parameter": ("", "parameter of the search"),
    "importance": ("", "share of the method's total over the arm's parameters; observational, without an interval"),
    "trials": ("trials", "complete trials from which the importance is estimated"),
    "drawn": ("trials", "complete trials in which the parameter was drawn"),
    "sampler": ("", "sampler that proposed the trials"),
    "variance_treatment": ("", "variance of the treatment over seeds, in the squared unit of the differences"),
    "variance_control": ("", "variance of the control over seeds, in the squared unit of the differences"),
    "variance_unpaired": ("", "sum of both: variance of a difference between two runs with different seeds"),
    "variance_paired": ("", "variance of the paired differences"),
    "saved": ("fraction", "share by which pairing reduces the variance of a difference"),
    "correlation": ("", "correlation of the two arms over seeds"),
    "correlation_lower": ("", "lower limit of Fisher's 95 % interval for the correlation"),
    "correlation_upper": ("", "upper limit of Fisher's 95 % interval for the correlation"),
    "unpaired_seeds": (
        "seeds",
        "seeds per arm with which the interval for unpaired runs would be as short as the paired interval",
    ),
    "of": ("", "arm, or difference between two arms, that has the variance"),
    "variance": ("", "variance over seeds, in the squared unit of the differences"),
    "variance_lower": ("", "lower limit of the 95 % interval for the variance"),
    "variance_upper": ("", "upper limit of the 95 % interval for the variance"),
    "share": ("fraction", "share of the variance with all sources varied"),
    "share_lower": ("fraction", "lower limit of the 95 % interval for the share"),
    "share_upper": ("fraction", "upper limit of the 95 % interval for the share"),
}


_OF_COMPARISONS = frozenset({"comparisons", "pairs", "sensitivity", "looks", "arms", "attribution", "interactions"})


def _in_measure(table: str, unit: str, meaning: str, measure: PrimaryMeasure) -> tuple[str, str]:
    """Return the unit and meaning of a column, adapted to a study whose measure is not the accuracy."""
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
    """Return the table, column, unit and meaning of every column in a report's tables.

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
