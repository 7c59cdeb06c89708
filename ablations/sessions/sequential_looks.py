"""Running a study until its verdict.

At every planned look, the results are analyzed, and seeds are added if the verdict is open. No results are analyzed
between looks, so the overall error rate across all looks stays as planned.

If the plan allows a verdict after any number of pairs, the results are analyzed after every block of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from ablations.sessions.result import SessionResult
from ablations.spec.study import StudyFile, StudySpec
from aimlib.errors import counted
from aimlib.paths import Place

if TYPE_CHECKING:
    from analysis.findings.study import Findings

RunSeeds = Callable[[Sequence[int]], SessionResult]
"""Function that computes the missing runs in the study with these seeds."""


def until_verdict(study: StudyFile, planned: Sequence[int], run: RunSeeds, console: Console) -> SessionResult:
    """Compute runs up to the first look, then up to each further look, until no question is open or no look is left.

    Parameters
    ----------
    planned : seeds that are already planned in the study directory; an extended study continues from there.
    run : computes a study with the given seeds.

    Returns
    -------
    The last session. `computed` and `reused` count the runs in all sessions, and `settled_before` the runs that were
    settled before the first session. The looks end early if runs failed, were stopped or were interrupted, because
    a look has no verdict if one of its pairs is missing.
    """
    seeds = list(study.spec.seeds)
    if list(planned[: len(seeds)]) == seeds:
        seeds = list(planned)
    numbers = _numbers(study.spec, len(seeds))
    computed, reused, before = 0, 0, None
    while True:
        seeds = extended(seeds, next((number for number in numbers if number >= len(seeds)), len(seeds)))
        session = run(seeds)
        computed, reused = computed + session.computed, reused + session.reused
        before = session.settled_before if before is None else before
        session = replace(session, computed=computed, reused=reused, settled_before=before)
        if session.interrupted or session.failed or session.open:
            return session
        findings = _look(session.directory)
        text, following = _reading(findings), next((number for number in numbers if number > len(seeds)), None)
        open_still = findings.unsettled
        _say(f"look after {counted(len(seeds), 'pair')}: {text}", console)
        if not open_still:
            _say("further pairs could not settle any open question", console)
            return session
        if following is None:
            left = f"max_pairs is reached, {len(seeds)}" if study.spec.reading.anytime else "no look is left"
            _say(f"open: {', '.join(open_still)}; {left}", console)
            return session
        _say(
            f"open: {', '.join(open_still)}; adding {counted(following - len(seeds), 'pair')} for the next look",
            console,
        )
        seeds = extended(seeds, following)


def _numbers(spec: StudySpec, pairs: int) -> Sequence[int]:
    """Return the numbers of pairs at which results are analyzed, in order.

    Parameters
    ----------
    pairs : number of pairs that the study has or is about to have.
    """
    reading = spec.reading
    if not reading.anytime:
        return reading.numbers
    first, most = max(reading.numbers[0], pairs), spec.most_pairs
    return [*range(first, most, spec.block or 1), most] if first < most else [first]


def extended(seeds: Sequence[int], number: int) -> list[int]:
    """Return `number` seeds: the given seeds, followed by the integers after the largest, as in the frozen plan."""
    after = max(seeds) + 1
    return [*seeds, *range(after, after + max(0, number - len(seeds)))]


def _look(directory: Place) -> Findings:
    import analysis  # noqa: PLC0415 -- pandas and scipy, once per look

    return analysis.examine(analysis.load(directory))


def _reading(findings: Findings) -> str:
    primary = findings.primary
    return primary.verdict.text if primary is not None else findings.headline


def _say(text: str, console: Console) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
