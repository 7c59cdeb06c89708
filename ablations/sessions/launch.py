"""Running a study: settled runs are kept, missing runs are computed, and runs that were already started continue."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from ablations.execution.signals import Interrupted, Stop
from ablations.planning import own_code
from ablations.planning.approval import Trust
from ablations.sessions import sequential_looks
from ablations.sessions.budget import Budget
from ablations.sessions.result import SessionResult
from ablations.sessions.session import SessionOptions, run_session
from ablations.spec.durations import parse_seconds
from ablations.spec.study import StudyFile, StudySource, read_study
from ablations.store import ResultStore
from ablations.store.outages import Outages
from ablations.store.repair import repair
from ablations.trackers.base import refuse_unusable
from aimlib.errors import StoreError, UsageError, unknown_name
from aimlib.paths import Place, place
from aimlib.records.escaping import printable

Executor = Literal["ray", "inline"]


def refuse_unknown_executor(executor: object) -> None:
    """Raise an error for an unknown executor; without this check, a misspelled name would silently select one."""
    if executor not in get_args(Executor):
        raise UsageError(f"--executor {unknown_name('executor', str(executor), get_args(Executor))}")


def run(
    study: StudySource,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Executor = "ray",
    until: Mapping[str, int] | None = None,
    prune: Collection[str] = (),
    until_verdict: bool = False,
    track: str | Collection[str] = (),
    reuse: str | Place | Iterable[str | Place] = (),
    budget: str | None = None,
    wait_for_nodes: str | None = None,
    trust: Trust = (),
    console: Console | None = None,
) -> SessionResult:
    """Compute the missing runs of a study without a search; `ablations.run` does this for all studies.

    Ctrl-C or SIGTERM ends the session after every run has saved its state; a second signal ends it immediately, with
    KeyboardInterrupt.

    Parameters
    ----------
    study : path of a study file, the name of a shipped study, a mapping of its keys, or an `ablations.Study`.
    out : study directory, or its URL in object storage; None means ``results/<name>``.
    overrides : each of the form ``key.path=value``, see `ablations.spec.study.read_study`.
    address : address of a Ray cluster; None starts Ray on this machine.
    executor : ``inline`` computes the runs in this process, one after another.
    until : number of epochs after which a run pauses, by run id; these runs are listed in `SessionResult.paused`.
    prune : ids of paused runs that are settled unchanged, with the status ``pruned``, instead of being continued.
    until_verdict : add the seeds of the next look after every look, until no question is open; see `sequential_looks`.
    track : trackers to which every run is also written: tensorboard, mlflow, wandb.
    reuse : directories of other studies, or folders that contain study directories. Results with the same run ids are
        verified and copied instead of being computed again; see `ablations.sessions.reuse`. The directories that the
        study itself names are searched after these.
    budget : limit on the study's device hours in all its sessions, such as ``20gpuh`` or ``90cpumin``; looks that would
        exceed the limit are not started; see `ablations.sessions.budget`. None sets no limit.
    wait_for_nodes : how long to wait for nodes that can hold the runs, such as ``30min`` or ``2h``, while an autoscaler
        adds them. If None, a study that does not fit on any current node raises an error.
    trust : hashes of the user's own code that is approved, from files that the study names; True approves all of this
        code; see `ablations.planning.approval`.
    console : where progress is shown; None shows nothing.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used; nothing has been computed.
    """
    refuse_unknown_executor(executor)
    if address is not None and executor == "inline":
        raise UsageError("--address names a Ray cluster; it needs --executor ray")
    track = (track,) if isinstance(track, str) else track
    for name in track:
        refuse_unusable(name)
    limit = Budget.parse(budget) if budget is not None else None
    wait = _seconds_to_wait(wait_for_nodes, address)
    console = console or Console(quiet=True)
    file = read_study(study, overrides)
    if file.spec.search is not None:
        raise UsageError(f"{file.where}: search: this study starts with a search; run it with ablations.run")
    enter(file, trust, console)
    directory = place(out if out is not None else Path("results") / file.spec.name)
    stop = Stop()
    outages = waits_of(file, stop, console)
    others = (reuse,) if isinstance(reuse, (str, Place)) else tuple(reuse)
    options = SessionOptions(
        directory,
        address,
        executor,
        until or {},
        prune,
        track,
        (*others, *file.spec.reuse),
        limit,
        wait,
        stop,
        console,
        outages,
    )

    def with_seeds(seeds: Sequence[int]) -> SessionResult:
        return run_session(StudyFile(file.spec.model_copy(update={"seeds": tuple(seeds)}), file.path), options)

    with stop.on_signals(), _interruptible(options):
        outages.wait_out(lambda: _repair(directory, console))
        if not until_verdict:
            return with_seeds(file.spec.seeds)
        before = ResultStore(directory, outages=outages).read_plan() or {} if options.has_plan() else {}
        return sequential_looks.until_verdict(file, before.get("seeds", ()), with_seeds, console)


def _seconds_to_wait(text: str | None, address: str | None) -> float:
    if text is None:
        return 0.0
    if address is None:
        raise UsageError("--wait-for-nodes: no nodes are added to this machine; set --address to a Ray cluster as well")
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--wait-for-nodes: {error}") from error


def enter(file: StudyFile, trust: Trust, console: Console) -> None:
    """Register the user's own code in a study, and print notes on the code and on overrides."""
    for line in (*file.notes, *own_code.enter(file, trust).notes):
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def waits_of(file: StudyFile, stop: Stop, console: Console) -> Outages:
    """Return the object with which a session waits for its storage.

    Notices are printed until the session can show them.
    """

    def say(text: str) -> None:
        console.print(printable(text), soft_wrap=True, markup=False, highlight=False)

    limit = file.spec.resources.outage_hours * 3600
    return Outages(limit, notify=say, interrupted=lambda: stop.requested)


@contextmanager
def _interruptible(options: SessionOptions) -> Iterator[None]:
    """If a stop request interrupted the wait for the storage, exit with the code that belongs to this request."""
    try:
        yield
    except StoreError as error:
        if not options.stop.requested or not options.outages.passes(error):
            raise
        text = printable(f"{options.stop.reason}: the storage is unavailable: {error}")
        options.console.print(text, soft_wrap=True, markup=False, highlight=False)
        raise Interrupted(options.stop.code) from None


def _repair(directory: Place, console: Console) -> None:
    """Set aside the damaged files of an earlier session, and print what is lost and what was done."""
    if isinstance(directory, Path) and not directory.is_dir():
        return
    with console.status("verifying the stored results"):
        lines = repair(directory, networks=False, obstructions=False)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
