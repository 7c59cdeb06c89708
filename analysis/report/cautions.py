"""Sentences in the report that limit the conclusions; one sentence covers all arms with the same notice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aimlib.errors import counted
from analysis.analysis_plan import STATEMENT
from analysis.findings import folds
from analysis.findings.collapses import NOT_TRAINED, Collapse, of_arms
from analysis.findings.deviations import Deviation
from analysis.findings.robust_readings import contradiction
from analysis.findings.study import Findings
from analysis.procedures import FIRST, LATEST
from analysis.report import training_code
from analysis.report.breadth import in_order_of_plan, joined, named
from analysis.results import Results
from analysis.statistics.collapse import highest_rate
from analysis.statistics.comparison import Comparison
from analysis.wording import number_format

_LISTED = 5
"""Number of runs that are described individually; for further runs, only the seeds are named."""
_TOGETHER = 4
"""With at least this many arms, arms with the same notice share a sentence."""


@dataclass(frozen=True)
class Caution:
    """A sentence that limits the conclusions.

    Attributes
    ----------
    arms : all arms that the sentence is about, if the sentence names only some of them; otherwise empty.
    """

    text: str
    arms: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """All arms that the sentence is about."""
        return joined(self.arms)


def cautions(findings: Findings) -> list[Caution]:
    """Return the sentences that limit the conclusions."""
    return [
        *(Caution(text) for text in findings.cautions),
        *_collapsed(findings),
        *_collapsed_later(findings),
        *_collapsed_beyond_the_gates(findings),
        *_without_value(findings),
        *_scope(findings),
        *_oracle(findings),
        *(_deviation(findings, each) for each in findings.deviations),
        *_unblinded(findings),
        *_reused(findings.results),
        *_folds(findings.results),
        *_copies(findings.results),
        *_machines(findings.results),
        *(Caution(text) for text in training_code.not_repeatable(findings.results.runs)),
        *_beyond(findings),
        *_readings(findings),
        *_robust(findings),
        *_not_trained(findings),
        *_unfinished(findings),
    ]


def _collapsed(findings: Findings) -> Iterator[Caution]:
    """Yield which runs of each arm collapsed in gated comparisons, and which failure rate cannot be excluded."""
    for arm, found in _trained_by_arm(findings.collapses).items():
        yield Caution(f"{_listed(arm, found)}. {_what_failures_do(findings, arm)}")


def _collapsed_later(findings: Findings) -> Iterator[Caution]:
    """Yield which runs collapsed after the deciding look, where they do not change any verdict."""
    for arm, found in _trained_by_arm(findings.later_collapses).items():
        yield Caution(f"After the deciding look: {_listed(arm, found)}.")


def _trained_by_arm(found: Sequence[Collapse]) -> dict[str, list[Collapse]]:
    """Return the runs that trained but failed nevertheless, by arm, without duplicates."""
    by_arm: dict[str, dict[int, Collapse]] = defaultdict(dict)
    for each in found:
        if each.why not in NOT_TRAINED:
            by_arm[each.arm].setdefault(each.seed, each)
    return {arm: list(by_seed.values()) for arm, by_seed in by_arm.items()}


def _collapsed_beyond_the_gates(findings: Findings) -> Iterator[Caution]:
    """Yield which runs are far below the other runs of their arm, for arms that no gate compares."""
    gated = {arm for each in findings.gated for arm in (each.treatment, each.control)}
    low = {run for found in findings.far_below.values() for run in found if run[0] not in gated}
    by_arm: dict[str, list[int]] = defaultdict(list)
    for arm, seed in sorted(low):
        by_arm[arm].append(seed)
    if by_arm:
        arms = in_order_of_plan(findings, frozenset(by_arm))
        said = tuple(f"{arm} with {number_format.seeds(by_arm[arm])}" for arm in arms)
        few = len(said) <= _TOGETHER
        which = number_format.listing(list(said if few else said[:_TOGETHER]))
        more = "" if few else f" and in {counted(len(said) - _TOGETHER, 'further arm')}"
        yield Caution(
            f"Runs collapsed in comparisons outside the gates, so these t intervals are not valid: {which}{more}.",
            () if few else said,
        )


def _without_value(findings: Findings) -> Iterator[Caution]:
    """Yield which finished runs in gated comparisons have no value for the measure, or a value that overflowed."""
    arms = {arm for each in findings.gated for arm in (each.treatment, each.control)}
    runs = findings.results.runs
    empty = runs[(runs["status"] == "finished") & runs["arm"].isin(arms) & runs[findings.measure.column].isna()]
    for arm, own in empty.groupby("arm", sort=False):
        which = number_format.seeds([int(seed) for seed in own["seed"]])
        pairs = "its pair is" if len(own) == 1 else "their pairs are"
        yield Caution(f"{arm} with {which}: no finite {findings.measure.words}, so {pairs} incomplete.")


def _listed(arm: str, found: list[Collapse]) -> str:
    """Return which runs of an arm collapsed, and how; if there are many, only the first are described."""
    said = [
        f"seed {each.seed} (run {each.run_id}, accuracy {number_format.percent(each.accuracy)} %) {each.text}"
        for each in (found if len(found) <= _LISTED + 1 else found[:_LISTED])
    ]
    which = f"A run of {arm}" if len(found) == 1 else f"{len(found)} runs of {arm}"
    if rest := [each.seed for each in found[len(said) :]]:
        said.append(f"so did {len(rest)} more, with {number_format.seeds(rest)}")
    fell = "collapsed" if all(each.of_accuracy for each in found) else "did far worse than the others"
    return f"{which} {fell}: {'; '.join(said)}"


def _what_failures_do(findings: Findings, arm: str) -> str:
    """Return what an arm's failures in its longest comparison mean for the interval."""
    if not findings.measure.is_accuracy:
        return "A t interval assumes normally distributed differences and is not valid with such outliers."
    own = [c for c in findings.gated if arm in (c.treatment, c.control)]
    longest = max(own, key=lambda c: c.interval.n)
    failed = len(of_arms(findings.collapses, (arm,), longest.deciding_pairs["seed"]))
    rate = 100 * highest_rate(failed, longest.interval.n)
    return (
        "A t interval assumes normally distributed differences and is not valid if runs collapse. Because "
        f"{failed} of {counted(longest.interval.n, 'run')} failed, a failure rate of up to {rate:.0f} % cannot be "
        "excluded (at 95 % confidence)."
    )


def _robust(findings: Findings) -> Iterator[Caution]:
    """Yield where the robust interval for a gated comparison contradicts its t interval."""
    for comparison in findings.gated:
        reading = findings.robust.get(comparison.name)
        if reading is not None and (said := contradiction(comparison, reading)):
            yield Caution(said)


def _unblinded(findings: Findings) -> Iterator[Caution]:
    for each in findings.results.unblinded:
        yield Caution(f"Test measures were shown before the verdict {each}.")
    for each in () if findings.screening is None else findings.screening.unblinded:
        yield Caution(f"Test measures of the search’s trials were shown {each}.")


def _scope(findings: Findings) -> Iterator[Caution]:
    if findings.proxy:
        yield Caution("Outside the scope of the claim: " + "; ".join(findings.reasons) + ".")
    frozen = findings.results.frozen
    stated = None if frozen is None else frozen.content.get(STATEMENT)
    if findings.claim is not None and stated is not None and stated != findings.claim.statement:
        yield Caution(f"The wording of the claim has changed since the analysis plan was frozen. It was: “{stated}”.")
    delta = findings.results.plan.delta_pp
    if findings.claim is not None and findings.measure.is_accuracy and findings.claim.delta_pp != delta:
        own, declared = (number_format.exact(d) for d in (delta, findings.claim.delta_pp))
        yield Caution(f"The study’s smallest effect of interest is {own} pp; the claim file declares {declared} pp.")


def _oracle(findings: Findings) -> Iterator[Caution]:
    oracle = int(findings.results.runs["selection_oracle"].fillna(False).sum())
    if oracle:
        yield Caution(f"Test data chose the reported epoch of {counted(oracle, 'run')}.")


def _deviation(findings: Findings, deviation: Deviation) -> Caution:
    if not deviation.arms:
        return Caution(f"Exploratory: {deviation.text}.")
    arms = in_order_of_plan(findings, deviation.arms)
    said = sorted(deviation.arms) if len(arms) <= _TOGETHER else arms
    text = f"Exploratory: comparisons that involve {named(said)}, because {deviation.text}."
    return Caution(text, arms if len(arms) > _TOGETHER else ())


def _reused(results: Results) -> Iterator[Caution]:
    """Yield how many runs were copied from other studies, and from which."""
    origins = results.runs["reused_from"].dropna()
    if len(origins):
        names = number_format.listing(sorted(set(origins)))
        were = "was" if len(origins) == 1 else "were"
        runs = counted(len(results.runs), "run")
        yield Caution(f"{len(origins)} of {runs} {were} computed by other studies ({names}).")


def _folds(results: Results) -> Iterator[Caution]:
    """Yield what a cross-validation does not show."""
    if (text := folds.sentence(arm.config for arm in results.plan.arms)) is not None:
        yield Caution(text)


def _copies(results: Results) -> Iterator[Caution]:
    """Yield the arms in which several seeds produced exactly the same result."""
    runs = results.runs
    known = runs[(runs["status"] == "finished") & runs["test_loss"].notna()]
    copies = known[known.duplicated(["arm", "test_loss", "test_accuracy"], keep=False)]
    seeds = {str(arm): [str(seed) for seed in rows["seed"]] for arm, rows in copies.groupby("arm", sort=False)}
    if len(seeds) < _TOGETHER:
        for arm, same in seeds.items():
            yield Caution(
                f"{arm}: seeds {number_format.listing(same)} have exactly the same accuracy and loss; check that the "
                "seed has an effect."
            )
        return
    arms = tuple(seeds)
    yield Caution(
        f"In {counted(len(arms), 'arm')}, several seeds have exactly the same accuracy and loss; check that the seed "
        f"has an effect: {named(arms)}.",
        arms,
    )


def _machines(results: Results) -> Iterator[Caution]:
    machines = results.runs[["device", "device_name", "threads"]].drop_duplicates()
    if len(machines) > 1:
        kinds = "; ".join(f"{row.device}, {row.device_name}, {row.threads} threads" for row in machines.itertuples())
        yield Caution(
            f"Runs were computed on different devices or with different thread counts, which adds noise: {kinds}."
        )


def _beyond(findings: Findings) -> Iterator[Caution]:
    if findings.primary is not None and findings.primary.beyond:
        beyond = findings.primary.beyond
        pairs = counted(beyond, "complete pair")
        shown = "is shown but has no effect" if beyond == 1 else "are shown but have no effect"
        look = "the deciding look" if findings.primary.verdict.stops else "the last look"
        yield Caution(f"{pairs} after {look} {shown} on the verdict.{_otherwise(findings.primary)}")


def _otherwise(primary: Comparison) -> str:
    """Return a sentence on the verdict from all pairs, if it differs from the verdict of the deciding look."""
    if not primary.verdict.decided or primary.with_later_pairs.kind == primary.verdict.kind:
        return ""
    return f" If all pairs counted, the verdict would be “{primary.with_later_pairs.text}”."


def _readings(findings: Findings) -> Iterator[Caution]:
    """Yield what the latest procedure would say about a study that froze an earlier procedure."""
    if findings.procedure == FIRST and findings.new_photos:
        yield Caution(f"{findings.new_photos}; the verdict is about these test images.")
    primary = findings.primary
    if primary is not None and findings.newer is not None and findings.newer.kind != primary.verdict.kind:
        yield Caution(
            f"This study froze procedure {findings.procedure}, which determines the verdict. With procedure {LATEST}, "
            f"the verdict would be “{findings.newer.text}”."
        )


def _not_trained(findings: Findings) -> Iterator[Caution]:
    """Yield how many runs did not train, for each arm or for all arms with the same number together."""
    table = findings.failures[findings.failures["not_trained"] > 0]
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for row in table.to_dict("records"):
        groups[row["not_trained"], row["judged"]].append(str(row["arm"]))
    if len(table) < _TOGETHER:
        for row in table.to_dict("records"):
            among = counted(row["judged"], "run")
            yield Caution(f"{row['arm']}: {row['not_trained']} of {among} did not train.")
    elif len(groups) < _TOGETHER:
        for (number, judged), arms in groups.items():
            among = f"{number} of {counted(judged, 'run')}"
            where = f"{among} in each of {len(arms)} arms" if len(arms) > 1 else f"{among} of {arms[0]}"
            listed = f": {named(arms)}" if len(arms) > 1 else ""
            yield Caution(f"{where} did not train{listed}.", tuple(arms) if len(arms) > _TOGETHER else ())
    else:
        worst = table.sort_values("not_trained", ascending=False, kind="stable")
        most = [f"{row['arm']} ({row['not_trained']} of {row['judged']})" for row in worst.to_dict("records")[:2]]
        yield Caution(
            f"{table['not_trained'].sum()} of {counted(int(findings.failures['judged'].sum()), 'run')} did not train, "
            f"in {len(table)} of {counted(len(findings.failures), 'arm')}; the most affected arms are "
            f"{number_format.listing(most)}.",
            tuple(f"{row['arm']} ({row['not_trained']} of {row['judged']})" for row in table.to_dict("records")),
        )


def _unfinished(findings: Findings) -> Iterator[Caution]:
    results = findings.results
    by_image = findings.measure.is_accuracy  # the only measure with an interval for new photos
    if by_image and findings.primary is not None and findings.primary.interval.n > 1 and findings.photos is None:
        why = "fewer than two pairs have predictions for the same listed test images"
        if results.runs["test_images"].max() == 1:
            why = "there is only one test image"
        yield Caution(f"There is no interval for new photos: {why}.")
    failed = int((findings.judged["outcome"] == "failed").sum())
    if failed:
        again = "“ablate run” repeats " + ("it with the same seed" if failed == 1 else "them with the same seeds")
        yield Caution(f"{counted(failed, 'run')} failed; {again}.")
    if len(results.missing):
        planned = counted(len(results.plan.runs), "planned run")
        have = "has" if len(results.missing) == 1 else "have"
        yield Caution(f"{len(results.missing)} of {planned} {have} no result yet.")
    if len(results.stale):
        left = "is" if len(results.stale) == 1 else "are"
        yield Caution(f"{counted(len(results.stale), 'row')} from runs outside the plan {left} left out.")
