"""Sentences of the report that accompany the verdict: remarks and limitations."""

from __future__ import annotations

from aimlib.errors import counted
from analysis import number_format
from analysis.findings.deviations import Deviation
from analysis.findings.study import Findings
from analysis.plan import Arm
from analysis.results import Results
from analysis.statistics import Comparison


def remarks(findings: Findings) -> list[str]:
    """Return the sentences that accompany the verdict, the most important first."""
    primary = findings.primary
    if primary is None or primary.interval.n == 0:
        return []
    causal = findings.causal
    treatment = next((arm for arm in findings.results.plan.arms if arm.name == findings.family.treatment), None)
    if (
        treatment is not None
        and _updates(treatment)
        and not any(gate.role == "permuted" for gate in findings.family.gates)
    ):
        causal += (
            " The treatment’s memory depends on the image, but no arm reads the memory of another image, so the study "
            "does not show whether the right memory matters."
        )
    return [*_compatibility(primary), *_outlook(primary), *([causal] if causal else [])]


def _updates(arm: Arm) -> bool:
    """Return whether an arm's memory is updated from features of the image."""
    model = arm.config.get("model") or {}
    update = model.get("update") or {}
    return bool(model.get("memory")) and update.get("name", "none") != "none"


def _compatibility(primary: Comparison) -> list[str]:
    low, high = primary.interval.prediction
    if primary.interval.n < 2 or not primary.reported:
        return []
    fits = {source: low <= gain <= high for source, gain in primary.reported.items()}
    gains = [f"{number_format.points(gain)} pp ({source})" for source, gain in primary.reported.items()]
    words = {True: "is compatible", False: "is not compatible"}
    if len(set(fits.values())) == 1:
        said = f"({number_format.listing(gains)}) {words[next(iter(fits.values()))]} with these runs"
    else:
        parts = [f"{gain} {words[fit]} with these runs" for gain, fit in zip(gains, fits.values(), strict=True)]
        said = f"has more than one source: {number_format.listing(parts)}"
    return [
        f"The gain of the single reported pair of runs {said}: one further pair is expected between "
        f"{number_format.points(low)} and {number_format.points(high)} pp "
        f"({number_format.level(primary.interval.alpha)} prediction interval)."
    ]


def _outlook(primary: Comparison) -> list[str]:
    if primary.needed is None:
        return []
    planned = "no look is left in the plan"
    if primary.next_look is not None:
        planned = f"the next look is planned after {primary.next_look} pairs"
    if primary.needed.reachable:
        return [
            f"A verdict that stops the study is expected after this many further pairs: {primary.needed.text}; "
            f"{planned}."
        ]
    return [
        "More pairs cannot stop the study: no reported gain applies here, so there is nothing to compare "
        "a gain above δ with."
    ]


_ALIKE = (
    ("epochs_planned", "the number of epochs", ""),
    ("selection", "the rule that chooses the epoch", ""),
    ("test_images", "the number of test images", ""),
    ("git_commit", "the commit that computed them", ", so in more than their configuration"),
)
"""Columns that should be equal in all arms."""


def _unequal(results: Results) -> list[str]:
    """Return the differences between arms or runs that a controlled design would not have."""
    cautions = []
    runs = results.runs
    for column, what, of in _ALIKE:
        if runs[column].nunique() < 2:
            continue
        by_arm = runs[runs[column].notna()].groupby("arm", sort=False)[column].agg(lambda values: sorted(set(values)))
        if len({tuple(values) for values in by_arm}) > 1:
            each = "; ".join(
                f"{arm}: {number_format.listing([str(v) for v in values])}" for arm, values in by_arm.items()
            )
            cautions.append(f"Arms differ in {what}{of}: {each}.")
    known = runs[(runs["status"] == "finished") & runs["test_loss"].notna()]
    copies = known[known.duplicated(["arm", "test_loss", "test_accuracy"], keep=False)]
    for arm, rows in copies.groupby("arm", sort=False):
        seeds = number_format.listing([str(seed) for seed in rows["seed"]])
        cautions.append(
            f"{arm}: seeds {seeds} have the same accuracy and loss to the last digit; check that the seed has an "
            "effect."
        )
    machines = results.runs[["device", "device_name", "threads"]].drop_duplicates()
    if len(machines) > 1:
        kinds = "; ".join(f"{row.device}, {row.device_name}, {row.threads} threads" for row in machines.itertuples())
        cautions.append(
            f"Runs were computed on different devices or with different numbers of threads, which adds noise: {kinds}."
        )
    return cautions


def cautions(findings: Findings) -> list[str]:
    """Return the sentences that limit the conclusions."""
    results, judged = findings.results, findings.judged
    found = ["Outside the scope of the claim: " + "; ".join(findings.reasons) + "."] if findings.proxy else []
    if findings.claim is not None and findings.claim.delta_pp != results.plan.delta_pp:
        own, declared = (number_format.decimal(d) for d in (results.plan.delta_pp, findings.claim.delta_pp))
        found.append(f"The study’s smallest effect of interest is {own} pp; that of the claim file is {declared} pp.")
    oracle = int(results.runs["selection_oracle"].fillna(False).sum())
    if oracle:
        found.append(f"Test data chose the reported epoch of {counted(oracle, 'run')}.")
    found += [f"Exploratory: {_whom(deviation)}{deviation.text}." for deviation in findings.deviations]
    found += _unequal(results)
    if findings.primary is not None and findings.primary.beyond:
        beyond = findings.primary.beyond
        pairs = counted(beyond, "complete pair")
        shown = "is shown and decides" if beyond == 1 else "are shown and decide"
        look = "the look that decides" if findings.primary.verdict.stops else "the last look"
        found.append(f"{pairs} beyond {look} {shown} nothing.")
    for row in findings.failures.to_dict("records"):
        if row["not_trained"]:
            among = counted(row["judged"], "run")
            found.append(f"{row['arm']}: {row['not_trained']} of {among} did not train.")
    if findings.primary is not None and findings.primary.interval.n > 1 and findings.photos is None:
        found.append(
            "No interval for new photos: fewer than two pairs have predictions of the same, listed test images."
        )
    failed = int((judged["outcome"] == "failed").sum())
    if failed:
        again = "“ablate run” repeats " + ("it with the same seed" if failed == 1 else "them with the same seeds")
        found.append(f"{counted(failed, 'run')} failed; {again}.")
    if len(results.missing):
        planned = counted(len(results.plan.runs), "planned run")
        found.append(
            f"{len(results.missing)} of {planned} {'has' if len(results.missing) == 1 else 'have'} no result yet."
        )
    if len(results.stale):
        left = "is" if len(results.stale) == 1 else "are"
        found.append(f"{counted(len(results.stale), 'row')} of runs outside the plan {left} left out.")
    return found


def _whom(deviation: Deviation) -> str:
    return f"comparisons of {number_format.listing(sorted(deviation.arms))}, for " if deviation.arms else ""
