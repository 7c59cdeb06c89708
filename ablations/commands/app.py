"""The command line. Each command calls the Python function of the same name and prints what it returns.

Exit codes: 0 all is well; 1 the study has failed runs (or a check found something); 2 the input cannot be
used; 130 interrupted. Nothing heavy is imported before it is needed, so that --help answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ablations.commands.data import app as data_app
from aimlib.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from aimlib.paths import Place

app = typer.Typer(
    name="ablate",
    help="Ablation studies that settle a claim: check, run, query and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")

_ALLOCATIONS = 100_000
"""Objects between two collections of garbage: importing torch makes many that all stay."""

Study = Annotated[str, typer.Argument(help="A study file, or the name of a shipped study.", show_default=False)]
Directory = Annotated[
    str, typer.Argument(help="A study directory, as `ablate run` writes it, or s3://bucket/folder.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the study; repeatable."),
]
Out = Annotated[
    str | None,
    typer.Option(help="Study directory, or s3://bucket/folder; default: results/<study>.", show_default=False),
]


TimedAt = Annotated[
    str | None,
    typer.Option(
        help="Time on a worker of this Ray cluster ('auto': the running one); default: on this machine, or for GPUs "
        "that it lacks, on the cluster that it belongs to.",
        show_default=False,
    ),
]


@app.command("check")
def check_command(
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
    from ablations.commands import console_tables  # noqa: PLC0415

    if claim:
        from ablations.commands.full_size_page import lines  # noqa: PLC0415
        from ablations.estimation.full_size import full_size  # noqa: PLC0415

        if overrides or out or numerics:
            raise UsageError("--claim shows shipped studies as they are; it goes with --timing and --address alone")
        found = full_size(study, timing=timing, address=address) if study else full_size(timing=timing, address=address)
        typer.echo("\n".join(lines(found)))
        return
    if study is None:
        raise UsageError("check: give a study file or the name of a shipped study, or --claim")
    from ablations.commands.check import check  # noqa: PLC0415

    checked = check(study, overrides or (), timing=timing, address=address, out=out, try_numerics=numerics)
    console_tables.check(checked, _console())


@app.command("plan")
def plan_command(
    study: Study,
    overrides: Overrides = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Plan with the spread seen in this study directory.", show_default=False),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(help="Price of an hour of a GPU (or CPU, where the study has none).", show_default=False),
    ] = None,
    timing: Annotated[bool, typer.Option(help="Time a few steps of every arm, for GPU-hours or CPU-hours.")] = True,
    address: TimedAt = None,
    figure: Annotated[
        Path | None, typer.Option(help="Write the power curves here, as .svg or .png.", show_default=False)
    ] = None,
) -> None:
    """Tell whether a study can reach a verdict, how many seeds it takes, and what they cost."""
    from ablations.commands import console_tables  # noqa: PLC0415
    from ablations.commands.plan import prospects  # noqa: PLC0415

    found = prospects(study, overrides or (), results=results, price=price, timing=timing, address=address)
    console_tables.prospects(found, _console())
    if figure is not None:
        console_tables.power_curves(found, figure)


@app.command("run")
def run_command(
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
    import analysis  # noqa: PLC0415
    from ablations.commands import console_tables  # noqa: PLC0415
    from ablations.sessions.launch import run  # noqa: PLC0415
    from ablations.spec.study import read_study  # noqa: PLC0415

    console = _console()
    options: dict[str, Any] = {
        "address": address,
        "executor": executor,
        "until_verdict": until_verdict,
        "track": track or (),
        "console": console,
    }
    try:
        if read_study(study, overrides or ()).spec.search is None:
            session = run(study, out, overrides or (), **options)
        else:
            from ablations.sessions import screening  # noqa: PLC0415

            found = screening.run(study, out, overrides or (), **options)
            console_tables.trials(found.trials, console)
            session = found.session
            if not found.confirmed:
                console_tables.session(session, console)
                raise typer.Exit(session.code or 1)
    except KeyboardInterrupt as interruption:
        console.print("interrupted: the same command goes on from here")
        raise typer.Exit(getattr(interruption, "code", 130)) from None
    console_tables.session(session, console)
    if session.interrupted:  # whoever ended it may not wait for a report
        raise typer.Exit(session.code)
    _conclude(session.directory, console)
    console.print(f"report: {analysis.report(session.directory)}", soft_wrap=True, highlight=False)
    if session.failed or session.open:
        raise typer.Exit(1)


def _conclude(directory: str | Place, console: Console) -> None:
    import analysis  # noqa: PLC0415

    headline = analysis.examine(analysis.load(directory)).headline
    console.print(f"\n{headline}\n", style="bold", markup=False, highlight=False)


@app.command("status")
def status_command(directory: Directory) -> None:
    """Show how many runs of a study are done, failed and missing."""
    import analysis  # noqa: PLC0415
    from ablations.commands import console_tables  # noqa: PLC0415

    results = analysis.load(directory)
    counts = results.runs.groupby(["arm", "status"], observed=True).size().unstack(fill_value=0)
    counts = counts.reindex([arm.name for arm in results.plan.arms], fill_value=0)
    counts["missing"] = results.missing.groupby("arm").size().reindex(counts.index, fill_value=0)
    console = _console()
    console_tables.frame(counts.reset_index(), console)
    _conclude(directory, console)


@app.command("watch")
def watch_command(
    directory: Directory,
    file: Annotated[
        Path | None,
        typer.Argument(help="With --html: where the page goes; default: DIRECTORY/overview.html.", show_default=False),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Keep an overview page for a browser, too.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Show it once and exit, for scripts.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between looks.")] = 2.0,
) -> None:
    """Watch a study from another terminal or machine, until it is complete. Ctrl-C leaves the study alone."""
    from ablations.progress.monitor import watch  # noqa: PLC0415

    if file is not None and not html:
        raise UsageError(f"{file}: a file is for the page; give --html, too")
    console = _console()
    if html and file is None and "://" in str(directory):
        raise UsageError(f"{directory}: is no directory of this machine; give --html a file")
    page = (file or Path(directory) / "overview.html") if html else None
    if page is not None:
        console.print(f"page: {page.absolute()}", soft_wrap=True, highlight=False, markup=False)
    try:
        shown = watch(directory, console, once=once, interval=interval, html=page)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if shown.count("failed"):
        raise typer.Exit(1)


@app.command("results")
def results_command(
    directory: Directory,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Keep rows, e.g. arm=aim or seed>=2; repeatable."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns to show, separated by commas; 'all' for every one.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Group by these columns: mean, SD, n, interval.", show_default=False)
    ] = None,
    value: Annotated[str, typer.Option(help="Column that is summarised with --by.")] = "test_accuracy",
    table: Annotated[
        Literal["trials", "epochs", "predictions", "models"], typer.Option(help="Which table to show.")
    ] = "trials",
    csv: Annotated[
        Path | None, typer.Option(help="Write CSV to this file ('-': print it).", show_default=False)
    ] = None,
) -> None:
    """Show, filter, group and export the results of a study."""
    import analysis  # noqa: PLC0415
    from ablations.commands import console_tables  # noqa: PLC0415
    from analysis.query import refuse_unknown  # noqa: PLC0415

    frame = analysis.select(getattr(analysis.load(directory), "runs" if table == "trials" else table), where or [])
    if by is not None:
        frame = analysis.summarise(frame, by=by.split(","), value=value)
    elif columns != "all":
        shown = columns.split(",") if columns else list(_SHOWN if table == "trials" and csv is None else frame.columns)
        refuse_unknown(frame, shown)
        frame = frame[shown]
    if csv is None:
        console_tables.frame(frame, _console())
    else:
        try:
            frame.to_csv(sys.stdout if str(csv) == "-" else csv, index=False)
        except OSError as error:
            raise UsageError(f"--csv {csv}: cannot be written ({error}); give another file, or - to print") from error


_SHOWN = (
    "arm",
    "seed",
    "status",
    "test_accuracy",
    "validation_accuracy",
    "selected_epoch",
    "epochs_run",
    "seconds",
    "run_id",
)


@app.command("report")
def report_command(
    directory: Directory, out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None
) -> None:
    """Write the report: HTML, Markdown, figures and tables."""
    import analysis  # noqa: PLC0415

    console = _console()
    _conclude(directory, console)
    console.print(f"report: {analysis.report(directory, out)}", soft_wrap=True, highlight=False)


@app.command("across")
def across_command(
    first: Directory,
    second: Annotated[str, typer.Argument(help="Directory of the study on another backbone.", show_default=False)],
) -> None:
    """Put two studies on different backbones together: a verdict each, their mean, their difference."""
    import analysis  # noqa: PLC0415

    found = analysis.across(*(analysis.examine(analysis.load(directory)) for directory in (first, second)))
    _console().print(found.sentence, markup=False, highlight=False)


@app.command("cluster")
def cluster_command(
    name: Annotated[
        str | None, typer.Argument(help="Which file; without it, all are listed.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set what is listed with it; repeatable.")
    ] = None,
) -> None:
    """Print a file to start a study on a cluster with: ablate cluster slurm > study.sbatch."""
    from ablations import cluster  # noqa: PLC0415

    if name is None:
        typer.echo("\n\n".join(template.summary for template in cluster.templates().values()))
    else:
        typer.echo(cluster.template(name).render(settings or ()), nl=False)


@app.command("plugins")
def plugins_command() -> None:
    """List every plugin of every family with its distribution."""
    from ablations.commands import console_tables  # noqa: PLC0415
    from aimlib.registry import FAMILIES  # noqa: PLC0415

    console_tables.plugins([info for family in FAMILIES for info in family.plugins()], _console())


@app.command("doctor")
def doctor_command(
    out: Annotated[Path, typer.Option(help="Where results will go.")] = Path("results"),
    ray: Annotated[bool, typer.Option(help="Start Ray for a moment.")] = True,
) -> None:
    """Examine this machine and say what to do about each problem."""
    from ablations.commands import console_tables  # noqa: PLC0415
    from ablations.commands.doctor.machine import doctor  # noqa: PLC0415

    found = doctor(out, with_ray=ray)
    console_tables.findings(found, _console())
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(emoji=False)  # ":x:" in a name or a message is text


def main() -> None:
    """Run the command line; a user's mistake ends with its message and code 2, never with a traceback."""
    try:
        app()
    except UsageError as error:
        from ablations.commands.console_tables import printable  # noqa: PLC0415

        for line in map(printable, str(error).splitlines()):
            typer.echo(f"error: {line}", err=True)
        sys.exit(2)


def command() -> None:
    """Run the command line as a process of its own, which ends here."""
    gc.set_threshold(_ALLOCATIONS)
    try:
        main()
    except SystemExit as ending:
        if not isinstance(ending.code, int | None):
            raise
        _leave(ending.code or 0)


def _leave(code: int) -> None:
    """End as `sys.exit` does, but without taking every module down: with torch loaded that takes up to a second.

    What was registered for the end is done, and output is written; where a thread still works, or nobody takes the
    output, this ends in the usual way.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        sys.exit(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command()
