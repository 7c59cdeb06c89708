"""The methods section for a paper, written from a study's records: paragraphs ready to paste, with references."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from aimlib.errors import counted
from aimlib.records import SETTLED
from analysis.analysis_plan import Frozen
from analysis.figures.levels import ordered_levels
from analysis.findings.deviations import runs_before
from analysis.findings.study import Findings
from analysis.plan import Arm, Plan
from analysis.primary_measure import SCALAR
from analysis.procedures import FIRST
from analysis.report import training_code
from analysis.report.breadth import gated_arms, many_arms, named
from analysis.report.training_words import epochs_words, how_trained, training_of
from analysis.statistics.collapse import LEAST_DROP
from analysis.statistics.paired import complete
from analysis.wording import number_format
from analysis.wording.study_words import LARGEST_SHARE, factor_words, what

_REFERENCES = {
    "Clopper and Pearson, 1934": "C. J. Clopper and E. S. Pearson. The use of confidence or fiducial limits "
    "illustrated in the case of the binomial. Biometrika 26, 404–413, 1934.",
    "Dodge et al., 2019": "J. Dodge, S. Gururangan, D. Card, R. Schwartz and N. A. Smith. Show your work: improved "
    "reporting of experimental results. Proceedings of EMNLP-IJCNLP, 2185–2194, 2019.",
    "Efron, 1987": "B. Efron. Better bootstrap confidence intervals. Journal of the American Statistical "
    "Association 82, 171–185, 1987.",
    "Hanley and Lippman-Hand, 1983": "J. A. Hanley and A. Lippman-Hand. If nothing goes wrong, is everything all "
    "right? Interpreting zero numerators. JAMA 249, 1743–1745, 1983.",
    "Hodges and Lehmann, 1963": "J. L. Hodges and E. L. Lehmann. Estimates of location based on rank tests. Annals of "
    "Mathematical Statistics 34, 598–611, 1963.",
    "Holm, 1979": "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of "
    "Statistics 6, 65–70, 1979.",
    "Lai, 1976": "T. L. Lai. On confidence sequences. Annals of Statistics 4, 265–280, 1976.",
    "Lan and DeMets, 1983": "K. K. G. Lan and D. L. DeMets. Discrete sequential boundaries for clinical trials. "
    "Biometrika 70, 659–663, 1983.",
    "O’Brien and Fleming, 1979": "P. C. O’Brien and T. R. Fleming. A multiple testing procedure for clinical trials. "
    "Biometrics 35, 549–556, 1979.",
    "Pocock, 1977": "S. J. Pocock. Group sequential methods in the design and analysis of clinical trials. "
    "Biometrika 64, 191–199, 1977.",
    "Satterthwaite, 1946": "F. E. Satterthwaite. An approximate distribution of estimates of variance components. "
    "Biometrics Bulletin 2, 110–114, 1946.",
    "Shapley, 1953": "L. S. Shapley. A value for n-person games. In H. W. Kuhn and A. W. Tucker (eds.), "
    "Contributions to the Theory of Games II, Annals of Mathematics Studies 28, 307–317. Princeton University "
    "Press, 1953.",
    "Student, 1908": "Student. The probable error of a mean. Biometrika 6, 1–25, 1908.",
    "Tang et al., 2020": "R. Tang, J. Lee, J. Xin, X. Liu, Y. Yu and J. Lin. Showing your work doesn’t always work. "
    "Proceedings of ACL, 2766–2772, 2020.",
    "Tukey and McLaughlin, 1963": "J. W. Tukey and D. H. McLaughlin. Less vulnerable confidence and significance "
    "procedures for location based on a single sample: Trimming/Winsorization 1. Sankhyā A 25, 331–352, 1963.",
    "Wilcoxon, 1945": "F. Wilcoxon. Individual comparisons by ranking methods. Biometrics Bulletin 1, 80–83, 1945.",
    "Yuen, 1974": "K. K. Yuen. The two-sample trimmed t for unequal population variances. Biometrika 61, 165–170, "
    "1974.",
    "Wang and Ramdas, 2024": "H. Wang and A. Ramdas. Anytime-valid t-tests and confidence sequences for Gaussian means "
    "with unknown variance. arXiv:2310.03722, 2024.",
}


_SPENDING = {
    "constant": "Pocock, 1977; constant computed for t statistics",
    "obrien_fleming": "O’Brien and Fleming, 1979; levels computed for t statistics",
    "lan_demets_pocock": "Lan and DeMets, 1983; spending function of Pocock’s type, levels computed for t statistics",
    "lan_demets_obrien_fleming": "Lan and DeMets, 1983; spending function of O’Brien and Fleming’s type, levels "
    "computed for t statistics",
}
"""How the error rate is spent across the looks, with the source, by the name of the design."""


_LISTED = 4
"""With more factorial arms or more levels than this, the sentence contains only their number."""


def methods(findings: Findings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paragraphs, and the references that they cite, in alphabetical order."""
    text = (_design(findings), _inference(findings), _robustness(findings), _freeze(findings))
    whole = " ".join(text)
    return tuple(filter(None, text)), tuple(entry for key, entry in _REFERENCES.items() if key in whole)


def _design(findings: Findings) -> str:
    plan, runs = findings.results.plan, findings.results.runs
    return (
        f"We trained {counted(len(plan.arms), 'arm')}{_arms(findings)} on {plan.scope.dataset} ({plan.scope.classes} "
        f"classes, {plan.scope.image_size} px, {training_code.network_words(plan)}){epochs_words(plan, runs)}, each "
        f"with the same {counted(len(plan.seeds), 'seed')}.{how_trained(plan, runs)} "
        f"{training_code.what_a_seed_determines(plan, runs)} {_measured(findings)}{_chosen(runs)}{_left_out(plan)} "
        f"Runs that diverged or stayed at chance level ({_chance(findings)}exact one-sided 99 % bound; Clopper and "
        "Pearson, 1934) count as outcomes and are not excluded."
    )


def _chance(findings: Findings) -> str:
    return "" if findings.procedure == FIRST else f"{LARGEST_SHARE}; "


def _measured(findings: Findings) -> str:
    """Return what is measured, and on how many images; a reported number is attributed to the code that reports it."""
    measure, images = findings.measure, findings.results.runs["test_images"].dropna()
    tested = f"{number_format.whole(images.iloc[0])} test images" if len(images) else "the test images"
    if measure.column.startswith(SCALAR):
        return (
            f"The {measure.words} is a number that {_reporter(findings.results.plan)} reports; {measure.better} is "
            f"better. The accuracy shown beside it is measured on {tested}."
        )
    return f"{'Accuracy' if measure.is_accuracy else f'The {measure.words}'} is measured on {tested}."


def _reporter(plan: Plan) -> str:
    """Return what reports scalars: the study's own training code, or a callback."""
    name = training_code.name_of(plan)
    if name is not None:
        return f"the training code {name}"
    callbacks = {each["name"] for arm in plan.arms for each in training_of(arm.config).get("callbacks") or ()}
    return f"the callback {callbacks.pop()}" if len(callbacks) == 1 else "a callback of the study"


_RULES = {
    "last_epoch": "the last epoch",
    "best_validation": "the first epoch with the highest validation accuracy",
    "best_test": "the first epoch with the highest test accuracy (an oracle)",
}


def _chosen(runs: pd.DataFrame) -> str:
    """Return a sentence on which epoch of each run is reported."""
    rules = sorted(set(runs["selection"].dropna()))
    words = [_RULES.get(rule, f"the epoch that the rule {rule} chooses") for rule in rules]
    if not words:
        return ""
    which = words[0] if len(words) == 1 else f"{' or '.join(words)}, depending on the arm"
    return f" The reported epoch of each run is {which}."


def _left_out(plan: Plan) -> str:
    """Return sentences on the images that a list excludes from the data of arms."""
    arms: dict[str, list[str]] = {}
    for name, text in plan.left_out.items():
        arms.setdefault(text, []).append(name)
    whole = len(plan.arms)
    return "".join(
        f" Using a list, {text}{'' if len(names) == whole else f' (in {number_format.listing(names)})'}."
        for text, names in arms.items()
    )


def _arms(findings: Findings) -> str:
    """Return the arms of a study in parentheses; factorial arms are described by the levels of their factors."""
    arms = findings.results.plan.arms
    crossed = [arm for arm in arms if arm.levels]
    if len(crossed) > _LISTED:
        beside = [arm.name for arm in arms if not arm.levels]
        return f", which are {f'{named(beside)} as well as ' if beside else ''}{_combinations(crossed)},"
    if not many_arms(findings):
        return f" ({number_format.listing([arm.name for arm in arms])})"
    gated = gated_arms(findings)
    return f" ({named([*gated, *(arm.name for arm in arms if arm.name not in gated)])})"


def _combinations(arms: Sequence[Arm]) -> str:
    """Return the factors of the arms with their levels, and whether the arms include all combinations."""
    levels: dict[str, dict[str, None]] = {}
    for arm in arms:
        for factor, level in arm.levels.items():
            levels.setdefault(factor, {})[level] = None
    words = factor_words(levels)
    said = [f"{words[factor]} ({_levels(list(known))})" for factor, known in levels.items()]
    whole = len({tuple(sorted(arm.levels.items())) for arm in arms}) == math.prod(map(len, levels.values()))
    number = "all" if whole else str(len(arms))
    return f"{number} combinations of {_factors(said)}"


def _factors(said: Sequence[str]) -> str:
    return f"the levels of {said[0]}" if len(said) == 1 else f"the factors {number_format.listing(list(said))}"


def _levels(known: Sequence[str]) -> str:
    if len(known) > _LISTED:
        return f"{len(known)} levels"
    return number_format.listing([str(level) for level in ordered_levels(pd.Series(list(known), dtype="str"))])


def _inference(findings: Findings) -> str:
    plan, looks = findings.results.plan, findings.results.plan.looks
    reached = bool(looks.reached(_pairs(findings)))
    may, read = ("may be", "is") if reached else ("might be", "was to be")
    if looks.anytime:
        when = (
            f"The verdict {may} read {looks.text}, from a confidence sequence for the mean of the paired differences "
            "(Lai, 1976; Wang and Ramdas, 2024; Gaussian mixture over the standardized effect, standard deviation "
            f"{looks.mixture_width:g}). In at least {number_format.level(looks.alpha)} of studies, the sequence "
            "contains the true mean at every number of pairs."
        )
    elif len(looks.numbers) > 1:
        when = (
            f"The verdict {read} read {looks.text} of the paired t interval (Student, 1908). In at most "
            f"{100 * looks.alpha:g} % of studies without an effect, at least one look is wrong "
            f"({_SPENDING[looks.spending]})."
        )
    else:
        when = (
            f"The verdict {read} read once, after {looks.numbers[0]} pairs, from the "
            f"{number_format.level(looks.levels[0])} paired t interval (Student, 1908)."
        )
    when += "" if reached else _not_reached(findings)
    gain = next(iter(findings.reported.values()), None)
    against = f" and the reported gain of {number_format.decimal(gain)} pp" if gain is not None else ""
    measure = findings.measure
    delta = measure.margin(plan.delta_pp)
    side = " (control minus treatment, so a gain is positive)" if measure.lower_is_better else ""
    further = any(c.family == "variant" for c in findings.family.comparisons)
    holm = (
        " Further arms are compared under Holm’s procedure on their sequential p-values (Holm, 1979)."
        if further
        else ""
    )
    return (
        f"The estimand is the mean over seeds of the paired difference in {measure.words}{side}. {when} The interval "
        f"is compared with 0{_and(findings)} the smallest effect of interest ({delta}){against}, using a "
        f"table fixed in advance.{_argument(findings)}{holm}"
    )


def _and(findings: Findings) -> str:
    """Return the words between the first two numbers with which an interval is compared."""
    return "," if findings.reported else " and"


def _pairs(findings: Findings) -> int:
    """Return the number of complete pairs in the longest comparison."""
    return max((len(complete(each.pairs)) for each in findings.family.comparisons), default=0)


def _not_reached(findings: Findings) -> str:
    pairs = _pairs(findings)
    return f" No look has been reached: there {'is' if pairs == 1 else 'are'} {counted(pairs, 'complete pair')}."


def _argument(findings: Findings) -> str:
    """Return which comparisons a gain must pass, in order, preceded by a space; empty without a treatment."""
    said = _asked(findings)
    return f" {said}" if said else ""


def _asked(findings: Findings) -> str:
    plan = findings.results.plan
    if plan.what is None:
        return _argument_of_memory(findings)
    further = [gate for gate in findings.family.gates if gate.role != "baseline" and gate.comparison is not None]
    if not further:
        return (
            f"To attribute a gain to {what(plan)}, the treatment must exceed the baseline; there is no further control."
        )
    controls = {c.name: c.control for c in findings.family.comparisons}
    asked = [f"{controls[str(gate.comparison)]} (“{gate.question}”)" for gate in further]
    return (
        f"To attribute a gain to {what(plan)}, the treatment must exceed, in this order and each at the full level, "
        f"{number_format.listing(['the baseline', *asked])}."
    )


_OF_MEMORY = {
    "baseline": "the baseline",
    "matched": "an arm with the same number of parameters but no memory",
    "frozen": "an arm whose memory never learns",
    "permuted": "an arm that reads a different image’s memory",
}


def _argument_of_memory(findings: Findings) -> str:
    """Return which of the comparisons that a gain from memory must pass are in this study, and which are missing."""
    gates = findings.family.gates
    there = [_OF_MEMORY.get(gate.role, f"“{gate.question}”") for gate in gates if gate.comparison is not None]
    lacking = [_OF_MEMORY.get(gate.role, gate.role) for gate in gates if gate.comparison is None]
    if not there:
        return ""
    order = "" if len(there) == 1 else ", in this order and each at the full level,"
    said = f"To attribute a gain to memory, the treatment must exceed{order} {number_format.listing(there)}"
    if lacking:
        said += f". This study lacks {number_format.listing(lacking)}, so it cannot attribute a gain to memory"
    return f"{said}."


def _robustness(findings: Findings) -> str:
    parts = [
        f"As sensitivity checks that do not affect the verdict, we report {number_format.listing(_checks(findings))}.",
        *_robust(findings),
        *_collapsed(findings),
    ]
    if findings.photos is not None:
        parts.append(
            "The interval for new photos uses the variance for crossed seeds and images, with Satterthwaite’s degrees "
            "of freedom (Satterthwaite, 1946)."
        )
    if findings.attributions:
        parts.append(
            "The gap was split among the switches along ladders and, where all combinations were run, by Shapley values"
        )
        parts[-1] += " (Shapley, 1953)."
    if findings.screening is not None:
        parts.append(
            "Arms were chosen in a screening on validation data with separate seeds. The screening’s expected best "
            "value is the unbiased estimate (Tang et al., 2020) of the expected validation performance (Dodge et al., "
            "2019)."
        )
    return " ".join(parts)


def _checks(findings: Findings) -> list[str]:
    """Return the sensitivity checks that have a result."""
    replayed = any(
        (each.checks["check"].str.startswith("early stopping") & (each.checks["n"] > 0)).any()
        for each in findings.family.comparisons
    )
    return [
        "a sign-flip test",
        "a BCa bootstrap (Efron, 1987)",
        "the last epoch instead of the selected one",
        *(["replayed early stopping"] if replayed else []),
        "the pairs in which both runs trained",
    ]


_ROBUST = {
    "trimmed mean": "the mean without the smallest and the largest fifth of the differences, with its interval (Tukey "
    "and McLaughlin, 1963; Yuen, 1974)",
    "signed ranks": "the Hodges-Lehmann estimate (Hodges and Lehmann, 1963) with the exact interval of the signed-rank "
    "test (Wilcoxon, 1945)",
}


def _robust(findings: Findings) -> list[str]:
    """Return a sentence on the robust intervals for the gated comparisons."""
    methods = {reading.method for reading in findings.robust.values()}
    known = [words for method, words in _ROBUST.items() if method in methods]
    if not known or findings.procedure == FIRST:
        return []
    listed = number_format.listing(known)
    return [f"Because the t interval assumes normally distributed differences, we also report {listed}."]


def _collapsed(findings: Findings) -> list[str]:
    """Return how collapsed runs are recognized, and which failure rate their absence does not exclude."""
    if not findings.robust:
        return []
    measure = findings.measure
    bound = (
        " If no run failed, the highest failure rate that cannot be excluded is the exact one-sided 95 % bound "
        "(Clopper and Pearson, 1934; Hanley and Lippman-Hand, 1983)."
    )
    return [
        "By a rule that was fixed in advance and does not affect the verdict, a run counts as collapsed in either of "
        "two cases. The first is that it predicts almost only one class. The second is that it lies at least "
        f"{LEAST_DROP:g} times the smallest effect of interest {'above' if measure.lower_is_better else 'below'} the "
        "other seeds of its arm and beyond the 99 % point of the distribution of normal runs, in "
        f"{'accuracy' if measure.is_accuracy else measure.words} or in its "
        "paired difference." + (bound if findings.procedure != FIRST and findings.not_excluded is not None else "")
    ]


def _freeze(findings: Findings) -> str:
    found = findings.results.frozen
    if found is None:
        return "No analysis plan was frozen; the results are exploratory."
    followed = (
        "was followed" if not findings.deviations else "was not followed in every respect, as noted with the results"
    )
    return (
        f"The analysis plan was frozen {_when(findings, found)} (SHA-256 {found.sha256[:16]}…, "
        f"{found.at:%Y-%m-%d %H:%M} UTC) and {followed}. {_happened(findings)} Software: aim-ablations "
        f"{findings.results.plan.package_version}."
    )


def _when(findings: Findings, frozen: Frozen) -> str:
    """Return whether the plan was frozen before any run, or after how many."""
    early = runs_before(findings.results.runs, frozen)
    if early:
        return f"after {counted(early, 'run')} of this study had begun"
    reused = int(findings.results.runs["reused_from"].notna().sum())
    taken = f" of its own, with {counted(reused, 'run')} from other studies" if reused else ""
    return f"before the first run{taken}"


def _happened(findings: Findings) -> str:
    """Return how many of the planned runs are settled, diverged or failed, and how many were resumed."""
    results, runs = findings.results, findings.results.runs
    settled = int(runs["status"].isin(SETTLED).sum())
    said = f"Of {counted(len(results.plan.runs), 'planned run')}, {settled} {'is' if settled == 1 else 'are'} settled"
    diverged, failed = (int((runs["status"] == status).sum()) for status in ("diverged", "failed"))
    said += f" ({diverged} of them diverged)" if diverged else ""
    said += f" and {failed} failed" if failed else ""
    resumed = int((runs["attempts"].fillna(1) > 1).sum())
    return said + (f"; {resumed} {'was' if resumed == 1 else 'were'} interrupted and resumed." if resumed else ".")
