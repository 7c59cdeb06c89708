"""Sentences that accompany the verdict in the report."""

from __future__ import annotations

from analysis.findings.study import Findings
from analysis.plan import Arm
from analysis.procedures import FIRST
from analysis.statistics import Comparison
from analysis.wording import number_format


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
            " The treatment’s memory depends on the image, but no arm reads a different image’s memory, so the study "
            "does not show whether reading the right memory matters."
        )
    return [*_compatibility(primary), *_outlook(primary), *([causal] if causal else [])]


def _updates(arm: Arm) -> bool:
    """Return whether an arm's memory is updated from image features."""
    model = arm.config.get("model") or {}
    update = model.get("update") or {}
    return bool(model.get("memory")) and update.get("name", "none") != "none"


def _compatibility(primary: Comparison) -> list[str]:
    low, high = primary.further_pair
    if primary.interval.n < 2 or not primary.reported or not primary.interval.bounded:
        return []
    fits = {source: low <= gain <= high for source, gain in primary.reported.items()}
    gains = [f"{number_format.points(gain)} pp ({source})" for source, gain in primary.reported.items()]
    words = {True: "is compatible", False: "is not compatible"}
    if len(set(fits.values())) == 1:
        said = f"({number_format.listing(gains)}) {words[next(iter(fits.values()))]} with these runs"
    else:
        parts = [f"{gain} {words[fit]} with these runs" for gain, fit in zip(gains, fits.values(), strict=True)]
        said = f"has more than one source: {number_format.listing(parts)}"
    digits = number_format.digits_beside((low, high), tuple(primary.reported.values()))
    ends = [number_format.decimal(end, digits, sign=True) for end in (low, high)]
    return [
        f"The gain in the single reported pair of runs {said}: one further pair{_seeds(primary)} is expected to lie "
        f"between {ends[0]} and {ends[1]} pp "
        f"({number_format.level(primary.interval.alpha)} prediction interval)."
    ]


def _seeds(primary: Comparison) -> str:
    return ", with one seed for both arms," if primary.procedure == FIRST else ", with its own seed for each arm,"


def _outlook(primary: Comparison) -> list[str]:
    if primary.needed is None:
        return []
    planned = "the plan contains no further look"
    if primary.schedule is not None and primary.schedule.anytime:
        planned = "the verdict may be read after any pair"
    elif primary.next_look is not None:
        planned = f"the next look is planned after {primary.next_look} pairs"
    if primary.needed.reachable:
        return [f"Expected number of further pairs until a verdict stops the study: {primary.needed.text}; {planned}."]
    return [
        "More pairs cannot stop the study: no reported gain applies here, so there is nothing with which a gain "
        "above δ can be compared."
    ]
