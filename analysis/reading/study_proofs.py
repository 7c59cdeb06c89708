"""Proof of a stored study before a verdict: whether its rows, ledger, plans and predictions agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import ANALYSIS_PLAN, IMAGES, MODELS_FILE, PLANS, STUDY_FILE
from aimlib.records.ledger import LEDGER, LEDGER_GONE, Ledger, kept_a_ledger
from aimlib.records.row_digests import row_digests
from analysis import analysis_plan
from analysis.plan import Plan, plan_differs
from analysis.reading import ledger
from analysis.reading.consistency import Consistency, Contradiction, other_option, sessions_alone
from analysis.reading.files import collect, read_rows
from analysis.reading.frames import parsed_json
from analysis.reading.proofs import NO_IMAGES, TestImages, proofs, test_images

if TYPE_CHECKING:
    from analysis.results import Results

_SIZES = ("parameters", "trainable_parameters")
"""Columns of a run that repeat those of the arm's model."""
_MEND = "restore it from a copy, or delete it and run `ablate run` to compute the run again"
_WRITE_PLAN = f"restore {STUDY_FILE} from a copy, or run `ablate run` with the study file to write it again"


def prove(results: Results, arms: Collection[str] | None = None) -> list[Contradiction]:
    """Read the rows of a plan's settled runs, and refuse rows that contradict their predictions or the ledger.

    Four things are refused: rows whose accuracies do not follow from their predictions; rows that differ from their
    ledger entries or are missing although the ledger lists them; a ledger with missing or damaged pages; and a plan
    that is neither the frozen one nor one that a session stored. Rows that contradict themselves in a different way, or
    each other, are returned: a verdict cannot be based on those runs.

    Parameters
    ----------
    arms : names of the arms whose runs are to be proven; None: all arms.

    Raises
    ------
    StoreError: a row is refused, and the message states its run id and file; or a file is damaged.
    """
    directory, planned = results.directory, results.plan.runs
    wanted = set(planned["run_id"] if arms is None else planned["run_id"][planned["arm"].isin(arms)])
    known = ledger.whole(directory)  # read before the rows, because each row exists before its entry
    _check_plans(directory, known)
    images, consistency = test_images(directory), Consistency()

    def check(rows: pa.Table) -> tuple[list[str], list[tuple[str, str]]]:
        if not known.chains and kept_a_ledger(rows):
            raise StoreError(f"{directory / LEDGER}: {LEDGER_GONE}")
        chosen = rows.filter(pc.is_in(rows["run_id"], value_set=pa.array(sorted(wanted), type=pa.string())))
        digests = row_digests(chosen)
        consistency.add(chosen, digests)
        problems = [*_problems(chosen, digests, images, known), *against_plan(chosen, results.plan)]
        return chosen.column("run_id").to_pylist(), problems

    seen: set[str] = set()
    for path, groups in collect(directory, lambda path: (path, read_rows(path, check, wanted))):
        for run_ids, problems in groups:
            seen.update(run_ids)
            for run_id, problem in problems:
                raise StoreError(f"{path}: run {run_id}: {problem}")
    for run_id in sorted(known.standing.keys() & wanted - seen):
        if known.standing[run_id] - known.lost.get(run_id, set()):
            raise StoreError(
                f"{directory}: run {run_id}: the ledger contains its row, but no file does; restore its file from a "
                f"copy, or run `ablate run` to compute the run again"
            )
    return consistency.contradictions(sessions_alone(directory))


def _check_plans(directory: Place, known: Ledger) -> None:
    """Raise StoreError if the frozen plan is not the one in the ledger, or if no session stored the plan."""
    frozen = analysis_plan.read(directory)
    # A plan that was frozen again after runs had begun makes the study exploratory anyway.
    is_known = frozen is not None and (frozen.sha256 in known.plans or frozen.runs_before > 0)
    if known.plans and not is_known:
        raise StoreError(
            f"{directory / ANALYSIS_PLAN}: it is not the analysis plan in the ledger; restore it from a copy"
        )
    if plan_differs(directory):
        raise StoreError(
            f"{directory / STUDY_FILE}: it is not one of the plans in {PLANS}/, so it was changed; {_WRITE_PLAN}"
        )


def check_models(results: Results) -> None:
    """Raise StoreError if sizes in the table of models differ from those in the rows of its arms."""
    sizes = list(_SIZES)
    try:
        models = results.models.set_index("arm")[sizes]
    except StoreError:
        return
    rows = results.runs[["arm", *sizes]].dropna()
    known = rows[rows["arm"].isin(models.index)]
    wrong = known[(known[sizes].to_numpy(float) != models.loc[known["arm"]].to_numpy(float)).any(axis=1)]
    if len(wrong):
        arm = wrong["arm"].iloc[0]
        raise StoreError(
            f"{results.directory / MODELS_FILE}: {' or '.join(_SIZES)} of arm {arm} differ from those of its runs; "
            "delete this file, and run `ablate run` to write it again"
        )


def against_plan(rows: pa.Table, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield planned runs whose seed or configuration differs from that of their arm in the plan, and why.

    The text that a run id hashes contains whatever differs from the defaults, so plugins are not needed.
    """
    if "identity" not in rows.column_names:
        return
    planned = (plan.runs[name].tolist() for name in ("run_id", "arm", "seed"))
    listed = {run_id: (arm, seed) for run_id, arm, seed in zip(*planned, strict=True)}
    configs = {arm.name: arm.config for arm in plan.arms}
    for run_id, text in zip(rows.column("run_id").to_pylist(), rows.column("identity").to_pylist(), strict=True):
        content, (arm, seed) = parsed_json(text, {}).get("run"), listed.get(run_id, ("", 0))
        if not isinstance(content, dict) or not configs.get(arm):
            continue
        if content.get("seed") != seed:
            yield (
                run_id,
                f"its seed is {content.get('seed')}, but {STUDY_FILE} lists it with seed {seed}; {_WRITE_PLAN}",
            )
        elif option := other_option({**content, "seed": None}, {**configs[arm], "seed": None}):
            yield run_id, f"its {option} differs from that of arm {arm}, which {STUDY_FILE} gives for it; {_WRITE_PLAN}"


def _problems(
    rows: pa.Table, digests: Sequence[str], images: Callable[[str], TestImages | None], known: Ledger
) -> Iterator[tuple[str, str]]:
    expected = known.standing
    for proof in proofs(rows, images):
        if proof.problem:
            yield proof.run_id, f"{proof.problem}; {_MEND}"
        if proof.unproven == NO_IMAGES and known.chains:  # studies without a ledger may never have stored images
            yield proof.run_id, f"{NO_IMAGES}: restore {IMAGES}/ from a copy, or run `ablate run` to write them again"
    for run_id, digest in zip(rows.column("run_id").to_pylist(), digests, strict=True):
        entered = expected.get(run_id, {digest})
        if digest not in entered:
            yield run_id, f"its row differs from the one in the ledger, so it was replaced or changed; {_MEND}"
        elif len(entered) > 1:
            yield (
                run_id,
                f"the ledger contains {len(entered)} different rows for it, as if separately continued copies of a "
                "study had been merged; delete its file, and run `ablate run` to compute the run again",
            )
