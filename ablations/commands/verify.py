"""`ablate verify`: read everything that a study stores, and list damaged files. In Python: `ablations.verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory, PluginFiles, TrustedCode, console
from aimlib.errors import StoreError, UsageError, counted

if TYPE_CHECKING:
    import pyarrow as pa

    from ablations.execution.repetition import Repetition
    from ablations.planning.approval import Trust
    from ablations.store.inspection import Inspection
    from ablations.store.ledger_check import LedgerCheck
    from aimlib.paths import Place
    from analysis.plan import Plan


@dataclass(frozen=True)
class Verified:
    """Result of `verify`.

    Attributes
    ----------
    inspection : the files that were read and those that were damaged before any repair.
    missing : ids of planned runs without an intact row, in the order of the plan; None if the plan is not readable.
    repairs : what was done, one sentence for each damaged file; empty without `repair`.
    ledger : the result of comparing the rows with the ledger.
    contradictions : rows that contradict themselves or other rows, each with run id and file; and a plan that no
        session stored. A row is listed if its accuracies, configuration or selected epoch contradict its predictions,
        run id or curve; if it is stored twice with different content; if it has the results of a different seed; or if
        its times are impossible.
    proven : number of rows whose accuracies follow from their predictions.
    unproven : for each reason why accuracies could not be proven, the number of rows.
    lost_networks : files of trained networks that are named in rows but missing.
    confirmed : the head that was given, if the study still contains everything that the head covers; otherwise empty.
    deviations : how the plan deviates from the frozen one; the report calls such a study exploratory.
    reruns : the runs that were computed again; empty without `rerun`.
    """

    inspection: Inspection
    missing: tuple[str, ...] | None
    repairs: tuple[str, ...]
    ledger: LedgerCheck
    contradictions: tuple[str, ...] = ()
    proven: int = 0
    unproven: Mapping[str, int] = field(default_factory=dict)
    confirmed: str = ""
    lost_networks: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    reruns: tuple[Repetition, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether no file is damaged, no row contradicts itself or the ledger, and reruns gave the stored results."""
        is_reproduced = all(each.is_reproduced for each in self.reruns)
        return is_reproduced and not (self.inspection.damages or self.ledger.contradictions or self.contradictions)


def command(
    directory: Directory,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside, so that `ablate run` computes their runs again.")
    ] = False,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            help="A head of the ledger that you stored elsewhere; verify confirms everything that this head covers.",
        ),
    ] = None,
    rerun: Annotated[
        int,
        typer.Option(
            "--rerun",
            metavar="N",
            min=0,
            help="Number of settled runs to compute again, one at a time, and to compare; the ledger's head "
            "selects the runs.",
            show_default=False,
        ),
    ] = 0,
    plugin: PluginFiles = None,
    trust: TrustedCode = None,
) -> None:
    """Read and verify every stored file of a study; the exit code is 1 if anything is damaged or contradictory."""
    from aimlib.records.escaping import printable

    found = verify(directory, repair, head, rerun, plugin=plugin or (), trust=trust or ())
    shown_on = console()
    for line in lines(found):
        shown_on.print(printable(line), soft_wrap=True, markup=False, highlight=False)
    if not found.is_intact:
        raise typer.Exit(1)


def verify(
    directory: str | Place,
    repair: bool = False,
    head: str | None = None,
    rerun: int = 0,
    *,
    plugin: Iterable[str | Path] = (),
    trust: Trust = (),
) -> Verified:
    """Read everything that a study stores, and return what is damaged or contradictory.

    Rows are compared with their checksums and with the ledger. Every accuracy is computed again from the predictions,
    the run id from the configuration, and the selected epoch from the curve; the run id and the selected epoch require
    the run's plugins. If class scores are stored, the class with the highest score must be the predicted one. Without
    `repair`, the study is not changed.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    repair : set damaged files aside under ``damaged/``; the next `ablate run` computes their runs again.
    head : a head of the ledger that was printed earlier and stored elsewhere, or its first 32 digits. The head reveals
        even rows that were rewritten together with the ledger.
    rerun : number of settled runs to compute again, one after another in this process, and to compare with the stored
        results: bit by bit on the same kind of device, and within a tolerance on a different kind; see
        `ablations.execution.repetition`. The study is not changed. A SHA-256 hash of the ledger's head and the run ids
        selects the runs.
    plugin : files with the user's own code that the runs use; for the user's own training code, ``FILE:FUNCTION``.
    trust : hashes of approved code; True approves all of it.

    Raises
    ------
    StoreError: this is not a study directory, the storage does not answer, or a newer version of this package wrote the
        study.
    UsageError: `head` is not a hash, `rerun` is negative, or the user's own code cannot be used.
    """
    from ablations.execution.row_proofs import RowProofs
    from ablations.store import repair as store_repair
    from ablations.store.ledger_check import StoredRows, checked_head, compare
    from aimlib.paths import place
    from aimlib.records import PLANS, RUNS, SEGMENTS, STUDY_FILE

    where, expected = place(directory), checked_head(head) if head is not None else ""
    if rerun < 0:
        raise UsageError(f"rerun: give the number of runs to compute again, 0 or more; got {rerun}")
    _enter(plugin, trust)
    # Read before the rows, because each row exists before its ledger entry.
    ledger, frozen = store_repair.ledger_of(where)
    plan, unreadable = _plan(where)
    stored, proofs, stated = StoredRows(), RowProofs(where, plan), set[str]()

    def visit(name: str, rows: pa.Table) -> None:
        stored.add(name, rows)
        proofs.add(name, rows)
        stated.update(_networks_of(rows))

    inspection = store_repair.inspected(where, visit=visit)
    if not inspection.read:
        raise StoreError(f"{where}: contains no files of a study; give the directory that `ablate run` wrote")
    damaged = any(damage.kind in (RUNS, SEGMENTS) for damage in inspection.damages)
    found = compare(ledger, stored, frozen, damaged=damaged, head=expected)
    repairs = tuple(store_repair.repair(where)) if repair and inspection.damages else ()
    lost = tuple(sorted(name for name in stated if not (where / name).exists()))
    wrong = proofs.found()
    problems, deviations = _on_plan(where) if plan and not (inspection.damages or wrong) else ((), ())
    had_plan = inspection.read[STUDY_FILE] or inspection.read[PLANS]
    if had_plan and STUDY_FILE not in {damage.name for damage in inspection.damages}:
        problems += unreadable
    result = Verified(
        inspection,
        _missing(plan, inspection),
        repairs,
        found,
        (*problems, *wrong),
        proofs.proven,
        dict(proofs.unproven),
        lost_networks=lost,
        deviations=deviations,
        reruns=_reruns(where, plan, rerun, found.head or frozen) if rerun and plan and not damaged else (),
    )
    return replace(result, confirmed=expected) if result.is_intact else result


def _enter(files: Iterable[str | Path], trust: Trust) -> None:
    """Register the user's own code in files that a caller names."""
    if files := list(files):
        from ablations.planning.own_code import enter_files

        enter_files(files, trust)


def _reruns(where: Place, plan: Plan, number: int, key: str | None) -> tuple[Repetition, ...]:
    """Use the key to select up to `number` of the plan's finished and diverged runs, and compute them again."""
    from ablations.execution.repetition import REPEATED, drawn, repeated
    from analysis.reading.files import read_settled

    settled = read_settled(where, ["run_id", "status"]).to_pylist()
    ended = {row["run_id"] for row in settled if row["status"] in REPEATED}
    planned = {
        run_id: (arm, seed) for run_id, arm, seed in plan.runs[["run_id", "arm", "seed"]].itertuples(index=False)
    }
    chosen = drawn(ended & planned.keys(), number, key or plan.name)
    return tuple(repeated(where, chosen, planned))


def _networks_of(rows: pa.Table) -> Iterator[str]:
    """Yield the files of trained networks that are named in rows."""
    from ablations.store.networks import name_of

    if "network" in rows.column_names:
        for run_id, digest in zip(rows["run_id"].to_pylist(), rows["network"].to_pylist(), strict=True):
            if digest is not None:
                yield name_of(run_id, digest)


def _plan(where: Place) -> tuple[Plan | None, tuple[str, ...]]:
    """Return the plan of a study, or why the plan cannot be read: intact files alone do not make a study."""
    from analysis.plan import read_plan

    try:
        return read_plan(where), ()
    except StoreError as error:
        return None, (str(error),)


def _on_plan(where: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what contradicts the plan, and how the plan deviates from the frozen one; empty for unreadable results."""
    import analysis
    from aimlib.records import PLANS, STUDY_FILE
    from analysis.plan import plan_differs
    from analysis.reading.study_proofs import check_models
    from analysis.statistics.planned import gated_arms

    if plan_differs(where):
        return (f"{STUDY_FILE}: it is not one of the plans in {PLANS}/, so it was changed",), ()
    try:
        results = analysis.load(where, epochs=gated_arms)
        deviations = analysis.examine(results, further=False, unproven=True).deviations
        check_models(results)
    except StoreError as error:
        return (str(error),), ()
    except UsageError:  # the study's claim is not available on this machine
        return (), ()
    return (), tuple(deviation.text for deviation in deviations)


def _missing(plan: Plan | None, inspection: Inspection) -> tuple[str, ...] | None:
    if plan is None:
        return None
    return tuple(run_id for run_id in plan.runs["run_id"] if run_id not in inspection.settled)


def lines(found: Verified) -> list[str]:
    """Return the lines to print."""
    from aimlib.records.escaping import on_one_line

    inspection = found.inspection
    damaged = {damage.kind for damage in inspection.damages}
    text = []
    for kind, number in sorted(inspection.read.items()):
        count = sum(damage.kind == kind for damage in inspection.damages)
        text.append(f"{kind}: {number:,} read, {f'{count:,} damaged' if kind in damaged else 'none damaged'}")
    text += [inspection.without_checksums] if inspection.without_checksums else []
    text += [repair for repair in found.repairs if repair != inspection.without_checksums]
    if not found.repairs:
        text += map(str, inspection.damages)
    if number := len(inspection.strays):
        named = ", ".join(map(on_one_line, inspection.strays[:10])) + (", ..." if number > 10 else "")
        text.append(
            f"{counted(number, 'file is', 'files are')} ignored, because a study does not use such file names: "
            f"{named}; if one of them contains the row of a run, restore its name (<run id>.parquet); otherwise, "
            "move it elsewhere."
        )
    if found.missing is None:
        text.append("Without a readable plan, it is unknown which runs are missing.")
    elif found.missing:
        number = len(found.missing)
        text.append(f"{counted(number, 'planned run')} {'has' if number == 1 else 'have'} no intact row.")
    if number := len(found.lost_networks):
        named = ", ".join(found.lost_networks[:3]) + (", ..." if number > 3 else "")
        text.append(f"{counted(number, 'trained network')} {'is' if number == 1 else 'are'} missing: {named}")
    text += [f"The study deviates from its frozen plan: {each}." for each in found.deviations]
    text += _on_rows(found)
    text += map(str, found.reruns)
    text += _on_ledger(found)
    if inspection.damages and not found.repairs:
        or_run = "" if any(damage.is_obstructed for damage in inspection.damages) else " or `ablate run`"
        text.append(f"Run `ablate verify --repair`{or_run} to set damaged files aside.")
    return text


def _on_rows(found: Verified) -> list[str]:
    text = list(found.contradictions)
    if found.proven:
        text.append(f"The accuracies in {counted(found.proven, 'row')} follow from the predictions.")
    for why, number in sorted(found.unproven.items()):
        text.append(f"Not proven for {counted(number, 'row')}: {why if number == 1 else _of_several(why)}.")
    return text


def _of_several(why: str) -> str:
    """Return a reason worded for one row, reworded for several rows."""
    for one, several in (("its ", "their "), ("it has ", "they have ")):
        if why.startswith(one):
            return several + why.removeprefix(one)
    return why


def _on_ledger(found: Verified) -> list[str]:
    ledger = found.ledger
    text = [f"ledger: {each}" for each in (*ledger.contradictions, *ledger.notes)]
    if ledger.head is None:
        text.append("The ledger is empty: `ablate run` will enter the settled runs.")
    else:
        runs, sessions = counted(ledger.entered, "run"), counted(ledger.sessions, "session")
        text.append(f"The ledger contains {runs} from {sessions}. Its head is {ledger.head}")
    if found.confirmed:
        text.append("The study still contains everything that the given head covers, unchanged.")
    return text
