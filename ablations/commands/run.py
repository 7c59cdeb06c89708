"""`ablate run`: compute what is missing of a study, then report. In Python: `ablations.run`, `analysis.report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ablations.commands.options import Out, Overrides, Study, console, print_verdict

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
        Literal["ray", "inline"], typer.Option(help="inline: in this process, one run after the other.")
    ] = "ray",
    until_verdict: Annotated[
        bool, typer.Option("--until-verdict", help="Add the seeds of the next look until nothing is open.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER",
            help="Write every run to tensorboard, mlflow or wandb, too; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run what is missing of a study, then report. Run it again to go on after an interruption."""
    import analysis
    from ablations.commands import console_tables

    shown_on = console()
    options: dict[str, Any] = {
        "address": address,
        "executor": executor,
        "until_verdict": until_verdict,
        "track": track or (),
        "console": shown_on,
    }
    try:
        session = _session(study, out, overrides or (), options)
    except KeyboardInterrupt as interruption:
        shown_on.print("interrupted: the same command goes on from here")
        raise typer.Exit(getattr(interruption, "code", 130)) from None
    console_tables.session(session, shown_on)
    if session.interrupted:  # whoever ended it may not wait for a report
        raise typer.Exit(session.code)
    print_verdict(session.directory, shown_on)
    shown_on.print(f"report: {analysis.report(session.directory)}", soft_wrap=True, highlight=False)
    if session.failed or session.open:
        raise typer.Exit(1)


def _session(study: str, out: str | None, overrides: Sequence[str], options: dict[str, Any]) -> Session:
    from ablations.sessions.launch import run
    from ablations.spec.study import read_study

    if read_study(study, overrides).spec.search is None:
        return run(study, out, overrides, **options)
    return _screening(study, out, overrides, options)


def _screening(study: str, out: str | None, overrides: Sequence[str], options: dict[str, Any]) -> Session:
    from ablations.commands import console_tables
    from ablations.sessions import screening

    shown_on: Console = options["console"]
    found = screening.run(study, out, overrides, **options)
    console_tables.trials(found.trials, shown_on)
    if not found.confirmed:
        console_tables.session(found.session, shown_on)
        raise typer.Exit(found.session.code or 1)
    return found.session
