"""Sentences about stored rows that contradict themselves or each other."""

from __future__ import annotations

from collections.abc import Sequence

from aimlib.errors import counted
from analysis.plan import Plan
from analysis.reading.consistency import Contradiction

_NAMED = 3
_REMEDY = "restore their files from a copy, or delete them and run `ablate run` to compute the runs again"


def sentences(found: Sequence[Contradiction]) -> list[str]:
    """Return what is wrong: the first few of each kind, how many more there are, and what to do; empty if none."""
    texts = (
        (
            "Runs with different seeds are identical, so they are not independent, and verdicts on their arms are "
            "withheld",
            [each for each in found if each.by_own_code],
            _USE_THE_SEED,
        ),
        (
            "Stored rows contradict themselves, so verdicts on their arms are withheld",
            [each for each in found if not each.by_own_code],
            f"`ablate verify` lists all contradictions; {_REMEDY}.",
        ),
    )
    return [f"{beginning}: {_first(some)}. {to_do}" for beginning, some, to_do in texts if some]


def _first(found: Sequence[Contradiction]) -> str:
    """Return the first few contradictions, and how many more there are."""
    more = f"; and {counted(len(found) - _NAMED, 'further contradiction')}" if len(found) > _NAMED else ""
    return f"{'; '.join(str(each) for each in found[:_NAMED])}{more}"


_USE_THE_SEED = (
    "The training code may not use the seed: derive random numbers from `run.seed`, or choose the training images by "
    "seed (`training.validation_fraction`), and run the study again. Or rows may have been copied: `ablate verify` "
    "lists them."
)


def by_arm(found: Sequence[Contradiction], plan: Plan) -> dict[str, str]:
    """Return the first contradiction of every affected arm, as the reason for withholding a verdict."""
    arms = dict(zip(plan.runs["run_id"], plan.runs["arm"], strict=True)) if found else {}
    reasons: dict[str, str] = {}
    for each in found:
        what = "runs do not depend on the seed" if each.by_own_code else "stored rows contradict themselves"
        for run_id in each.run_ids:
            if run_id in arms:
                reasons.setdefault(arms[run_id], f"{what}: {each}")
    return reasons
