"""`ablate run`: compute the missing runs of a study, then report. In Python: `ablations.run`, `ablations.report`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ablations.commands.options import Out, Overrides, Reuse, Study, TrustedCode, Wide, console, print_verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from ablations.planning.approval import Trust
    from ablations.sessions.result import SessionResult
    from ablations.spec.study import StudySource
    from aimlib.paths import Place


def command(
    study: Study,
    out: Out = None,
    overrides: Overrides = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, or 'auto'; default: this machine.", show_default=False),
    ] = None,
    executor: Annotated[
        Literal["ray", "inline"], typer.Option(help="ray, or inline (one run after another, in this process).")
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
            help="Budget of the study in device-hours, such as 20gpuh or 90cpumin; looks that would exceed it are "
            "not started.",
            show_default=False,
        ),
    ] = None,
    wait_for_nodes: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long to wait for nodes that can hold the runs, such as 30min, while an autoscaler adds nodes.",
            show_default=False,
        ),
    ] = None,
    wide: Wide = False,
    reuse: Reuse = None,
    trust: TrustedCode = None,
) -> None:
    """Compute the missing runs of a study, then write the report.

    To resume after an interruption, run the same command again.
    """
    from ablations.commands import supervisor
    from ablations.execution.signals import CLUSTER_GONE

    shown_on = console()
    if address is not None and executor == "ray" and supervisor.is_possible():
        say = partial(shown_on.print, markup=False, highlight=False, soft_wrap=True)
        supervisor.enter(address, lambda: _longest_outage_s(study, overrides or ()), say)
    from ablations.commands import run_tables
    from ablations.commands.report import report

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
        session = run(study, out, overrides or (), **options)
    except KeyboardInterrupt as interruption:
        shown_on.print("interrupted; to resume the study, run the same command again")
        raise typer.Exit(getattr(interruption, "code", 130)) from None
    if session.confirmed is not None:
        run_tables.trials(session.trials, shown_on, wide=wide)
    run_tables.session(session, shown_on)
    if session.confirmed is False:
        raise typer.Exit(session.code or 1)
    if session.interrupted == CLUSTER_GONE and supervisor.is_child():
        raise typer.Exit(supervisor.HEAD_LOST)
    if session.interrupted:  # the process that interrupted the session may not wait for a report
        raise typer.Exit(session.code)
    print_verdict(session.directory, shown_on)
    shown_on.print(f"report: {report(session.directory)}", soft_wrap=True, highlight=False)
    if session.failed or session.open:
        raise typer.Exit(1)


def _longest_outage_s(study: str, overrides: Sequence[str]) -> float:
    from ablations.spec.study import read_study

    return read_study(study, overrides).spec.resources.outage_hours * 3600


def run(
    study: StudySource,
    out: str | Path | None = None,
    overrides: str | Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    until_verdict: bool = False,
    track: str | Collection[str] = (),
    budget: str | None = None,
    wait_for_nodes: str | None = None,
    reuse: str | Place | Iterable[str | Place] = (),
    trust: Trust = (),
    until: Mapping[str, int] | None = None,
    prune: Collection[str] = (),
    console: Console | None = None,
) -> SessionResult:
    """Compute the missing runs of a study; after an interruption, the same call resumes the study.

    If the study has a search, the search's trials are run first, and then the best trials are confirmed. Failed runs do
    not raise an error; the result lists them. Ctrl-C, SIGTERM, or interrupting a notebook's kernel ends the session
    after every run has saved its state. In this case, `interrupted` is true in the result, and the `open` runs continue
    in the next session. A second interruption ends the session immediately with KeyboardInterrupt, as does the first if
    no run has started.

    Parameters
    ----------
    study : path of a study file, the name of a shipped study, a mapping of its keys, or an `ablations.Study`.
    out : study directory, or its URL in object storage; None means ``results/<name>``.
    overrides : any number of strings of the form ``key.path=value``; see `ablations.spec.study.read_study`.
    address : address of a Ray cluster; None starts Ray on this machine.
    executor : ``inline`` computes the runs in this process, one after another.
    until_verdict : after every look, add the seeds of the next look until no question is open.
    track : trackers to which every run is also written: tensorboard, mlflow, wandb.
    budget : limit on the device-hours that the study may use in all its sessions, such as ``20gpuh`` or ``90cpumin``;
        looks that would exceed the limit are not started. None sets no limit.
    wait_for_nodes : how long to wait for nodes that can hold the runs, such as ``30min`` or ``2h``, while an autoscaler
        adds nodes. If None, a study that does not fit on any current node raises an error.
    reuse : directories of other studies, or folders that contain study directories. Results with the same run ids are
        verified and copied instead of being computed again. The directories that the study itself lists are searched
        after those given here.
    trust : hashes of approved code in files that the study names; True approves all of this code; see
        `ablations.planning.approval`. Classes defined in the calling script or notebook do not need approval.
    until, prune : as in `ablations.sessions.launch.run`, to pause runs and to settle paused runs.
    console : where progress is shown. By default, progress is shown below the notebook cell, where it is updated in
        place, or on standard error outside notebooks. ``rich.console.Console(quiet=True)`` suppresses progress.

    Raises
    ------
    UsageError: the study, its data, its directory or an option cannot be used.
    """
    from ablations.sessions.reentry import only_session

    overrides = [overrides] if isinstance(overrides, str) else list(overrides)
    with only_session():
        from ablations.sessions import launch, screening
        from ablations.spec.study import read_study

        launch.refuse_unknown_executor(executor)
        compute = launch.run if read_study(study, overrides).spec.search is None else screening.search_and_confirm
        return compute(
            study,
            out,
            overrides,
            address=address,
            executor=executor,
            until=until,
            prune=prune,
            until_verdict=until_verdict,
            track=track,
            reuse=reuse,
            budget=budget,
            wait_for_nodes=wait_for_nodes,
            trust=trust,
            console=_progress_console() if console is None else console,
        )


def _progress_console() -> Console:
    """Return the console on which a call from Python shows its progress: the notebook cell, or standard error."""
    from ablations.commands.safe_console import SafeConsole
    from ablations.progress.views.notebook import NotebookConsole, in_notebook

    return NotebookConsole() if in_notebook() else SafeConsole(emoji=False, stderr=True)
