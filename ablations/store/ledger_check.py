"""Comparison of the stored rows with the ledger; see `aimlib.records.ledger`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from aimlib.errors import UsageError, counted
from aimlib.records.ledger import LEDGER, LEDGER_GONE, Entry, Ledger, kept_a_ledger, rows_of
from aimlib.records.row_digests import row_digests

_HEAD = re.compile(r"[0-9a-f]{32,64}")


@dataclass
class StoredRows:
    """The digests of the currently stored rows, as read by an inspection.

    Attributes
    ----------
    digests : for each run, the digest by file. A run whose row is being moved to a segment has two files.
    had_ledger : whether any row shows that its session kept a ledger.
    """

    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    had_ledger: bool = False

    def add(self, name: str, rows: pa.Table) -> None:
        """Add the rows of a file."""
        self.had_ledger = self.had_ledger or kept_a_ledger(rows)
        for run_id, digest in zip(rows.column("run_id").to_pylist(), row_digests(rows), strict=True):
            self.digests.setdefault(run_id, {})[name] = digest


@dataclass(frozen=True)
class LedgerCheck:
    """Result of the comparison.

    Attributes
    ----------
    head : the hash that covers the most rows; None if the ledger is empty.
    sessions, entered : number of chains, and number of runs with an entry.
    contradictions : one sentence for each difference between the ledger and the store.
    notes : one sentence for each fact that the ledger cannot prove.
    """

    head: str | None
    sessions: int
    entered: int
    contradictions: tuple[str, ...]
    notes: tuple[str, ...]


def checked_head(text: str) -> str:
    """Convert a head to lower case for comparison.

    Raises
    ------
    UsageError: the head does not consist of 32 to 64 hexadecimal digits.
    """
    head = text.strip().lower()
    if _HEAD.fullmatch(head) is None:
        raise UsageError(
            f"--head {text}: use the head as printed by `ablate run`, `ablate verify` or a report, at least its first "
            f"32 hexadecimal digits"
        )
    return head


def compare(ledger: Ledger, stored: StoredRows, plan: str | None, *, damaged: bool, head: str = "") -> LedgerCheck:
    """Return the differences between the ledger and the stored files.

    Parameters
    ----------
    plan : SHA-256 of the stored analysis plan; None if there is no plan.
    damaged : whether run files or segments are damaged; missing rows then have a known reason.
    head : a hash that was kept elsewhere, as returned by `checked_head`; empty if there is none.
    """
    found = [f"{name}: {problem}" for name, problem in sorted(ledger.problems.items())]
    if not ledger.chains and not ledger.damaged and stored.had_ledger:
        found.append(f"{LEDGER}/: {LEDGER_GONE}")
    found += _plans(ledger, plan)
    found += _rows(ledger, stored, damaged=damaged)
    if head:
        found += _under(ledger, stored, plan, head)
    return LedgerCheck(
        ledger.head, len(ledger.chains), len(ledger.rows), tuple(dict.fromkeys(found)), tuple(_notes(ledger, stored))
    )


def _plans(ledger: Ledger, plan: str | None) -> list[str]:
    if ledger.plans and ledger.plans != {plan}:
        return ["analysis_plan.json: it is not the analysis plan in the ledger, or the ledger contains several plans"]
    return []


def _rows(ledger: Ledger, stored: StoredRows, *, damaged: bool) -> list[str]:
    found = []
    for run_id, expected in sorted(ledger.standing.items()):
        files = stored.digests.get(run_id, {})
        found += _replaced(run_id, files, expected, "the ledger contains")
        if not files and not damaged and expected - ledger.lost.get(run_id, set()):
            found.append(f"run {run_id}: the ledger contains its row, but no file does; `ablate run` computes it again")
        if len(expected) > 1:
            found.append(
                f"run {run_id}: the ledger contains {len(expected)} different rows, and no lost row explains this"
            )
    return found


def _replaced(run_id: str, files: Mapping[str, str], expected: set[str], by: str) -> list[str]:
    return [
        f"run {run_id}: its row in {name} is not the row that {by}, so it was replaced or changed"
        for name, digest in sorted(files.items())
        if digest not in expected
    ]


def _under(ledger: Ledger, stored: StoredRows, plan: str | None, head: str) -> list[str]:
    """Return messages about everything that a head covers but the store no longer contains."""
    known = ledger.find(head)
    if known is None:
        return [
            f"--head {head}: no entry in the ledger has this hash; the ledger was rewritten or is incomplete, or the "
            "head belongs to a different study"
        ]
    entries = ledger.before(known)
    found = _unknown_joins(ledger, entries)
    plans = {each.digest for each in entries if each.kind == "plan"}
    if plans and plans != {plan}:
        found.append("analysis_plan.json: it is not the analysis plan that the head covers")
    for run_id, digests in sorted(rows_of(entries).items()):
        files = stored.digests.get(run_id, {})
        if not files:
            found.append(f"run {run_id}: the head covers its row, but no intact file contains it")
        elif ledger.lost.get(run_id, set()) >= digests:
            found.append(
                f"run {run_id}: the row that the head covers was damaged or deleted, and the run was computed again"
            )
        else:
            found += _replaced(run_id, files, digests, "the head covers")
    return found


def _unknown_joins(ledger: Ledger, entries: Collection[Entry]) -> list[str]:
    hashes = {each.hash for each in ledger.entries}
    # Gaps that were known when the head was printed.
    recorded = {each.what.partition(".")[0] for each in entries if each.kind == "gap"}
    return [
        f"{LEDGER}/{each.what}: the head covers entries of this session that the ledger no longer contains"
        for each in entries
        if each.kind == "join" and each.digest not in hashes and each.what not in recorded
    ]


def _notes(ledger: Ledger, stored: StoredRows) -> list[str]:
    notes = []
    if missing := len(stored.digests.keys() - ledger.rows.keys()):
        runs = counted(missing, "settled run is", "settled runs are")
        notes.append(f"{runs} not in the ledger yet; the current session or the next one enters them")
    if ledger.head is not None:
        rest = len(ledger.rows) - len(rows_of(ledger.before(ledger.head)))
        if rest:
            runs = counted(rest, "run was", "runs were")
            notes.append(f"{runs} entered by sessions that the head does not include; the next session joins them")
    if ledger.lost:
        runs = counted(len(ledger.lost), "run was", "runs were")
        notes.append(f"{runs} computed again or will be, because a row was damaged or deleted")
    if ledger.gaps:
        pages = counted(len(ledger.gaps), "page")
        notes.append(f"{pages} of the ledger {'is' if len(ledger.gaps) == 1 else 'are'} missing")
    return notes
