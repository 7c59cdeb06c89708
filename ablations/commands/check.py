"""`ablate check`: what a study will run and cost, and what is wrong with it. In Python: `ablations.check`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Out, Overrides, TimedAt, console
from aimlib.errors import UsageError

if TYPE_CHECKING:
    from ablations.estimation.disk import Disk
    from ablations.estimation.estimate import Cost
    from ablations.estimation.numerics import Numerics
    from ablations.planning.plan import Plan


def command(
    study: Annotated[
        str | None,
        typer.Argument(
            help="A study file, or the name of a shipped study; with --claim the name of a claim.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    timing: Annotated[bool, typer.Option(help="Time a few steps of every arm and estimate the cost.")] = True,
    address: TimedAt = None,
    out: Out = None,
    numerics: Annotated[
        bool, typer.Option("--numerics", help="Time every precision and memory format, too, and propose one.")
    ] = False,
    claim: Annotated[
        bool, typer.Option("--claim", help="Show what it takes to test a claim at full size, all its studies together.")
    ] = False,
) -> None:
    """Validate a study whole and show what it will run and cost."""
    from ablations.commands import console_tables

    if claim:
        if overrides or out or numerics:
            raise UsageError("--claim shows shipped studies as they are; it goes with --timing and --address alone")
        _print_claim(study, timing, address)
        return
    if study is None:
        raise UsageError("check: give a study file or the name of a shipped study, or --claim")
    checked = check(study, overrides or (), timing=timing, address=address, out=out, try_numerics=numerics)
    console_tables.check(checked, console())


def _print_claim(name: str | None, timing: bool, address: str | None) -> None:
    from ablations.commands.full_size_page import lines
    from ablations.estimation.full_size import full_size

    found = full_size(name, timing=timing, address=address) if name else full_size(timing=timing, address=address)
    typer.echo("\n".join(lines(found)))


@dataclass(frozen=True)
class Check:
    """Result of checking a study that has no problem.

    Attributes
    ----------
    plan : what will run.
    costs : on every kind of device that was timed; empty where timing was not asked for, or not possible.
    untimed : why something was not timed, and how to have it timed.
    disk : what the study writes.
    notes : what is worth knowing and stops nothing.
    numerics : what precision and memory format would bring on every kind of device, where that was asked for.
    """

    plan: Plan
    costs: tuple[Cost, ...]
    untimed: tuple[str, ...]
    disk: Disk
    notes: tuple[str, ...]
    numerics: tuple[Numerics, ...] = ()

    @property
    def cost(self) -> Cost | None:
        """The cost on the kind of device that there is most of; None where nothing was timed."""
        return self.costs[0] if self.costs else None


def check(
    study: str | Path,
    overrides: Iterable[str] = (),
    *,
    timing: bool = True,
    address: str | None = None,
    out: str | Path | None = None,
    try_numerics: bool = False,
) -> Check:
    """Validate a study whole, without running it.

    Parameters
    ----------
    timing : time a few steps of every arm, see `ablations.estimation.estimate.estimate`.
    address : of a Ray cluster on whose devices they are timed; None: on this machine, or for a study on GPUs, where
        there is none here, on the cluster that it belongs to.
    out : study directory, whose storage runs save their state to; None is ``results/<name>``.
    try_numerics : time precision and memory format, too.

    Raises
    ------
    ConfigError: with one message per problem; those of missing data come only when there is no other.
    UsageError: there is no cluster at the address.
    """
    from ablations.commands.check_notes import notes
    from ablations.estimation import disk, numerics
    from ablations.estimation.estimate import Estimate, estimate, packing
    from ablations.planning import plan as planning
    from ablations.spec.study import read_study
    from aimlib.paths import place

    file = read_study(study, overrides)
    plan = planning.plan(file)
    found = estimate(plan, address) if timing else Estimate()
    said = list(notes(plan))
    if file.spec.search is not None:
        from ablations.sessions import screening

        said += screening.check(file)
    resources = {arm.name: arm.resources for arm in plan.arms}
    for cost in found.costs:
        said += packing(cost, resources)
    written_bytes = disk.disk(plan, max((cost.parallel for cost in found.costs), default=None))
    directory = place(out or Path("results") / file.spec.name)
    said += disk.saving_notes(written_bytes, file.spec.resources.grace_seconds, directory)
    tried, untried = numerics.measure(plan, address) if try_numerics else ([], ())
    untimed = tuple(dict.fromkeys((*found.untimed, *untried)))
    return Check(plan, found.costs, untimed, written_bytes, tuple(said), tuple(tried))
