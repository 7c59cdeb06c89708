"""`ablate run`: compute the missing runs of a study, then report. In Python: `ablations.run`, `analysis.report`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ablations.commands.options import Out, Overrides, Reuse, Study, TrustedCode, Wide, console, print_verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ablations.sessions.result import Session


def command(
    study: Study,
    out: Out = None,
    overrides: Overrides = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, or 'auto'; default: this machine.", show_default=False),
    ] = None,
    executor: Annotated[
        Literal["ray", "inline"], typer.Option(help="ray, or inline: in this process, one run after another.")
    ] = "ray",
    until_verdict: Annotated[
        bool, typer.Option("--until-verdict", help="Add the seeds of the next look until the study can stop.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER",
            help="Also write every run to tensorboard, mlflow or wandb; repeatable.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Device hours of the study, such as 20gpuh or 90cpumin: only looks that are affordable are begun.",
            show_default=False,
        ),
    ] = None,
    wait_for_nodes: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long to wait for nodes on which the runs fit, such as 30min, while an autoscaler adds them.",
            show_default=False,
        ),
    ] = None,
    wide: Wide = False,
    reuse: Reuse = None,
    trust: TrustedCode = None,
) -> None:
    """Compute the missing runs of a study, then report. The same command resumes it after an interruption."""
    from ablations.commands import supervisor
    from ablations.execution.signals import CLUSTER_GONE

    shown_on = console()
    if address is not None and executor == "ray" and supervisor.is_possible():
        say = partial(shown_on.print, markup=False, highlight=False, soft_wrap=True)
        supervisor.enter(address, lambda: _longest_outage_s(study, overrides or ()), say)
    import analysis
    from ablations.commands import run_tables

    options: dict[str, Any] = {
        "address": address,
        "executor": executor,
        "until_verdict": until_verdict,
        "track": track or (),
        "reuse": reuse or (),
        "budget": budget,
        "wait_for_nodes": wait_for_nodes,
        "trust": trust or (),
        "console": shown_on,
    }
    try:
        session = _session(study, out, overrides or (), options, wide)
    except KeyboardInterrupt as interruption:
        shown_on.print("interrupted; the same command resumes the study")
        raise typer.Exit(getattr(interruption, "code", 130)) from None
    run_tables.session(session, shown_on)
    if session.interrupted == CLUSTER_GONE and supervisor.is_child():
        raise typer.Exit(supervisor.HEAD_LOST)
    if session.interrupted:  # the process that interrupted it may not wait for a report
        raise typer.Exit(session.code)
    print_verdict(session.directory, shown_on)
    shown_on.print(f"report: {analysis.report(session.directory)}", soft_wrap=True, highlight=False)
    if session.failed or session.open:
        raise typer.Exit(1)


def _longest_outage_s(study: str, overrides: Sequence[str]) -> float:
    from ablations.spec.study import read_study

    return read_study(study, overrides).spec.resources.outage_hours * 3600


def _session(study: str, out: str | None, overrides: Sequence[str], options: dict[str, Any], wide: bool) -> Session:
    from ablations.sessions.launch import run
    from ablations.spec.study import read_study

    if read_study(study, overrides).spec.search is None:
        return run(study, out, overrides, **options)
    return _screening(study, out, overrides, options, wide)


def _screening(study: str, out: str | None, overrides: Sequence[str], options: dict[str, Any], wide: bool) -> Session:
    from ablations.commands import run_tables
    from ablations.sessions import screening

    shown_on: Console = options["console"]
    found = screening.run(study, out, overrides, **options)
    run_tables.trials(found.trials, shown_on, wide=wide)
    if not found.confirmed:
        run_tables.session(found.session, shown_on)
        raise typer.Exit(found.session.code or 1)
    return found.session
