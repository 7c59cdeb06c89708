"""The facts of a claim next to a study's values, as `ablate check` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ablations.commands.console_tables import Table, room, show
from aimlib.errors import counted
from aimlib.records.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console

    from ablations.planning.claim_facts import FactLine
    from ablations.planning.plan import Plan
    from ablations.spec.study import StudyFile

HEADINGS = ("fact", "as run", "as described", "this study", "on record in")
_DIFFERS = "≠ "


def facts_of(plan: Plan) -> tuple[FactLine, ...]:
    """Return the facts of a study's claim next to the study's values; empty if there is no claim or it has no facts."""
    from ablations.planning import claim_facts
    from analysis.claims import read_claim

    spec = plan.study.spec
    facts = read_claim(spec.claim).facts if spec.claim else ()
    return claim_facts.lines(facts, plan.arms, len(spec.seeds), plan.summaries, plan.data) if facts else ()


def without_data(study: StudyFile) -> tuple[FactLine, ...]:
    """Return the facts for a study whose data is missing or unusable.

    ConfigError: the study has other problems.
    """
    from ablations.planning import claim_facts
    from ablations.planning import plan as planning
    from analysis.claims import read_claim

    facts = read_claim(study.spec.claim).facts if study.spec.claim else ()
    if not facts:
        return ()
    arms = planning.arms_of(study)
    return claim_facts.lines(facts, arms, len(study.spec.seeds), planning.summaries_of(arms))


def rows(lines: Sequence[FactLine]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line; before the first line of each topic, yield a row with the topic's name."""
    topic = None
    for line in lines:
        if line.topic != topic:
            topic = line.topic
            yield (f"{topic}:", "", "", "", "")
        mark = _DIFFERS if line.differs else ""
        yield (line.fact, line.as_run, line.as_described, f"{mark}{line.this_study}", line.source)


def summary(lines: Sequence[FactLine]) -> str:
    """Return a sentence that states how many facts of a study differ from the original experiment."""
    known = [line.differs for line in lines if line.differs is not None]
    return (
        f"this study differs from the original experiment in {sum(known)} of the {counted(len(known), 'fact')} "
        "that it determines"
    )


def show_facts(lines: Sequence[FactLine], claim: str, console: Console, *, wide: bool = False) -> None:
    """Print the facts of a claim, and how many of them differ."""
    table = Table(HEADINGS, list(rows(lines)), prose=HEADINGS, droppable=("on record in",), name_width=20)
    show(table, console, wide=wide)
    say(
        f'claim {claim}: {summary(lines)}, marked ≠. Under "As described", "as run" means that the value of the '
        'original run is used. Under "This study", "–" marks values that the study does not specify',
        console,
        wide,
    )


def say(text: str, console: Console, wide: bool) -> None:
    """Print a sentence, wrapped only if the width of a line is limited."""
    console.print(Text(printable(text)), highlight=False, soft_wrap=room(console, wide) is None)
