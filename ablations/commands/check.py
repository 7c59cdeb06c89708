"""`ablate check`: validate a study and estimate its cost. In Python: `ablations.check`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, overload

import typer

from ablations.commands.check_result import Check
from ablations.commands.options import Out, Overrides, Reuse, TimedAt, TrustedCode, Wide, console
from aimlib.errors import UsageError, renamed
from aimlib.paths import Place, place

if TYPE_CHECKING:
    from ablations.estimation.full_size import FullSize
    from ablations.planning.approval import Trust
    from ablations.planning.plan import Plan
    from ablations.spec.study import StudyFile, StudySource


def command(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A study file or the name of a shipped study; with --claim, the name of a claim.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    timing: Annotated[bool, typer.Option(help="Time a few steps of every arm and estimate the cost.")] = True,
    address: TimedAt = None,
    out: Out = None,
    numerics: Annotated[
        bool, typer.Option("--numerics", help="Also time every precision and memory format, and propose one.")
    ] = False,
    claim: Annotated[
        bool, typer.Option("--claim", help="Show what a full-size test of a claim requires, for all its studies.")
    ] = False,
    wide: Wide = False,
    reuse: Reuse = None,
    trust: TrustedCode = None,
    plugins: Annotated[
        bool,
        typer.Option(
            help="Run the code in the files that the study names; without this option, only arms that do not need "
            "such code are checked."
        ),
    ] = True,
) -> None:
    """Validate an entire study, and show what it will run and what that will cost."""
    if claim:
        from ablations.commands.full_size_page import lines

        needed = _full_size(study, timing, address, given=bool(overrides or out or numerics or reuse))
        typer.echo("\n".join(lines(needed)))
        return
    from ablations.commands import check_tables
    from ablations.planning.plan import DataConfigError

    try:
        checked = check(
            study,
            overrides or (),
            timing=timing,
            address=address,
            out=out,
            numerics=numerics,
            reuse=reuse or (),
            trust=trust or (),
            plugins=plugins,
        )
    except DataConfigError:
        if plugins:
            _show_facts(study, overrides or (), wide)
        raise
    check_tables.check(checked, console(), wide=wide)


def _show_facts(study: StudySource | None, overrides: Iterable[str], wide: bool) -> None:
    """Print the claim's facts next to a study whose data is not on this machine; most facts need no data."""
    from ablations.commands.fact_table import show_facts, without_data
    from ablations.spec.study import read_study

    assert study is not None
    file = read_study(study, overrides)
    if lines := without_data(file):
        show_facts(lines, str(file.spec.claim), console(), wide=wide)


def _full_size(name: object, timing: bool, address: str | None, *, given: bool) -> FullSize:
    """Return what a full-size test of a claim requires; `given` states whether any other option was also given."""
    from ablations.estimation.full_size import full_size

    if given:
        raise UsageError("--claim shows the shipped studies unchanged; use it only with --timing and --address")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"--claim: {name!r} is not a claim; give the name of a claim, or omit the name")
    return full_size(name, timing=timing, address=address) if name else full_size(timing=timing, address=address)


@overload
def check(
    study: str | None = None, *, claim: Literal[True], timing: bool = True, address: str | None = None
) -> FullSize: ...


@overload
def check(
    study: StudySource | None = None,
    overrides: str | Iterable[str] = (),
    *,
    timing: bool = True,
    address: str | None = None,
    out: str | Path | None = None,
    numerics: bool = False,
    claim: Literal[False] = False,
    reuse: str | Place | Iterable[str | Place] = (),
    trust: Trust = (),
    plugins: bool = True,
) -> Check: ...


@renamed(try_numerics="numerics")
def check(
    study: StudySource | None = None,
    overrides: str | Iterable[str] = (),
    *,
    timing: bool = True,
    address: str | None = None,
    out: str | Path | None = None,
    numerics: bool = False,
    claim: bool = False,
    reuse: str | Place | Iterable[str | Place] = (),
    trust: Trust = (),
    plugins: bool = True,
) -> Check | FullSize:
    """Validate an entire study without running it.

    Parameters
    ----------
    study : path of a study file, the name of a shipped study, a mapping of its keys, or an `ablations.Study`.
    overrides : any number of strings of the form ``key.path=value``.
    timing : time a few steps of every arm; see `ablations.estimation.estimate.estimate`.
    address : Ray cluster on whose devices the steps are timed. None uses this machine; if the study needs GPUs and this
        machine has none, the cluster that this machine belongs to is used.
    out : study directory in whose storage the state of runs will be saved; None means ``results/<name>``.
    numerics : also time every precision and memory format.
    claim : return what a full-size test of a claim requires, for all shipped studies of the claim, instead of
        validating a study. In this case, `study` is the name of the claim, and only `timing` and `address` apply.
    reuse : as in `ablations.run`; a note states how many runs would be reused and how much that saves.
    trust : as in `ablations.run`.
    plugins : run the user's own code in files that the study names. If False, arms that use this code are left out, and
        none of the code is run.

    Raises
    ------
    ConfigError: the study has problems; the error contains one message for each problem. Missing data is reported only
        if nothing else is wrong.
    UsageError: no cluster is running at the address.
    """
    if claim:
        return _full_size(study, timing, address, given=bool(overrides or out or numerics or reuse))
    if study is None:
        raise UsageError("check: no study is given; give a study file, the name of a shipped study, or --claim")
    from ablations.commands.check_notes import notes, reuse_notes
    from ablations.commands.fact_table import facts_of
    from ablations.estimation import design, disk, host_memory
    from ablations.estimation import numerics as numerical
    from ablations.estimation.estimate import Estimate, estimate, packing
    from ablations.sessions import obsolete, registration
    from ablations.spec.study import read_study

    file = read_study(study, overrides)
    plan, found_notes = _planned(file, trust, plugins=plugins)
    found = estimate(plan, address) if timing else Estimate()
    directory = place(out or Path("results") / file.spec.name)
    found_notes += [*registration.another_study_notes(plan, directory), *file.notes]
    found_notes += [*obsolete.notes(plan, directory), *notes(plan), *design.sentences(plan)]
    if file.spec.search is not None and plugins:
        from ablations.sessions import screening

        found_notes += screening.check(file)
    resources = {arm.name: arm.resources for arm in plan.arms}
    for cost in found.costs:
        found_notes += [*packing(cost, resources), *host_memory.notes(cost, resources)]
    others = (*([reuse] if isinstance(reuse, (str, Place)) else reuse), *file.spec.reuse)
    if others and file.spec.search is None:
        found_notes += reuse_notes(plan, found.costs, others, directory)
    written_bytes = disk.disk(plan, max((cost.parallel for cost in found.costs), default=None))
    found_notes += disk.saving_notes(written_bytes, file.spec.resources.grace_seconds, directory)
    tried, untried = numerical.measure(plan, address) if numerics else ([], ())
    untimed = tuple(dict.fromkeys((*found.untimed, *untried)))
    facts = facts_of(plan)
    return Check(plan, found.costs, untimed, written_bytes, tuple(found_notes), tuple(tried), facts)


def _planned(file: StudyFile, trust: Trust, *, plugins: bool) -> tuple[Plan, list[str]]:
    """Return a study's plan, and notes on the user's own code; without plugins, arms that use that code are omitted."""
    from ablations.planning import own_code
    from ablations.planning import plan as planning
    from ablations.planning.arms import using

    if plugins:
        entered = own_code.enter(file, trust)
        return planning.plan(file), list(entered.notes)
    keys = {root.key for bundle in own_code.files_of(file).values() for root in bundle.roots}
    left_out = using(file, keys)
    plan = planning.plan(file, planning.arms_of(file, keys))
    note = f"not checked, because running its code was not allowed: {', '.join(left_out)}"
    return plan, [note] if left_out else []
