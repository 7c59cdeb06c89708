"""The ledger: hash chains that record the rows that a study has settled.

Every session writes its own chain, so that sessions do not wait for each other. Each line in a chain consists of an
entry and a SHA-256 hash, which covers the previous line's hash and the entry::

    row <run id> <digest of the row> <hash>

=========  ============================  =========================================================================
kind       then                          meaning
=========  ============================  =========================================================================
session    its id, time (UTC)            the first entry of a chain
row        run id, digest                a settled row, see `aimlib.records.row_digests`
lost       run id, digest                an entered row is no longer there, because it was damaged or deleted
plan       ``analysis``, SHA-256         the frozen analysis plan
join       session id, hash              the chain of another session up to that hash
gap        page, time (UTC)              a page of the ledger is no longer there, because it was damaged
end        settled runs, time (UTC)      the end of a session
=========  ============================  =========================================================================

A session joins the chains of the other sessions when it begins and when it ends. The hash of an entry therefore stands
for all earlier entries in its own chain and in the chains joined so far. Every hash in the ledger can be used as the
head. Only a head that is kept elsewhere can reveal that somebody rewrote rows together with the ledger.

The files ``ledger/<session>.<nnnn>`` are the pages of a chain. Each page begins with its session, its number and the
hash that precedes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from aimlib.records.checksums import Damaged

if TYPE_CHECKING:
    import pyarrow as pa

LEDGER = "ledger"
"""The ledger's folder in a study directory."""
PAGE = re.compile(r"([0-9a-f]{12})\.([0-9]{4,})")
"""Matches the names of the ledger's files, which consist of the session and the page number."""
NO_HASH = "0" * 64
"""The hash that precedes the first entry of a chain."""

LEDGER_GONE = (
    "it is missing, although the sessions that computed these rows kept a ledger; restore it from a copy, or run "
    "`ablate run`, which enters the current rows"
)

_TITLE = "aim-ablations ledger 1"
_HASH = r"[0-9a-f]{64}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z"
_ENTRY = re.compile(
    rf"(?:(?:row|lost) [0-9a-f]{{20}} {_HASH}|plan analysis {_HASH}|join [0-9a-f]{{12}} {_HASH}"
    rf"|session [0-9a-f]{{12}} {_TIME}|gap {PAGE.pattern} {_TIME}|end [0-9]+ {_TIME}) {_HASH}"
)


def kept_a_ledger(rows: pa.Table) -> bool:
    """Return whether rows show that their sessions kept a ledger, as do all sessions that compute a reference step."""
    return "reference" in rows.column_names and rows.column("reference").null_count < len(rows)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a chain; see the module docstring for the kinds of entry."""

    kind: str
    what: str
    digest: str
    hash: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} {self.digest} {self.hash}"


def entry(previous: str, kind: str, what: str, digest: str) -> Entry:
    """Return the entry that follows the hash `previous` in a chain."""
    return Entry(kind, what, digest, _hash(previous, f"{kind} {what} {digest}"))


def _hash(previous: str, text: str) -> str:
    return hashlib.sha256(f"{previous}\n{text}".encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Page:
    """A file of the ledger.

    Attributes
    ----------
    previous : the hash that precedes the page's first entry.
    """

    session: str
    number: int
    previous: str
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The page's file name in the folder `LEDGER`."""
        return page_name(self.session, self.number)

    def text(self) -> str:
        """Return the content of the page's file."""
        first = f"{_TITLE} {self.session} {self.number} {self.previous}"
        return "\n".join([first, *map(str, self.entries)]) + "\n"


def page_name(session: str, number: int) -> str:
    """Return the file name of a page."""
    return f"{session}.{number:04d}"


def parsed(name: str, content: bytes) -> Page:
    """Return the page in a file, after comparing every entry with its hash.

    Raises
    ------
    Damaged: the file is not a page, or its entries do not match their hashes.
    """
    matched = PAGE.fullmatch(name)
    if matched is None:
        raise Damaged("its name is not the name of a ledger page")
    session, number = matched[1], int(matched[2])
    try:
        first, *lines, last = content.decode("ascii").split("\n")
    except ValueError:
        raise Damaged("it does not consist of complete lines of text") from None
    head = re.fullmatch(rf"{re.escape(_TITLE)} {session} {number} ({_HASH})", first)
    if head is None or last or not lines:
        raise Damaged("it is incomplete, or belongs to another session")
    return Page(session, number, head[1], tuple(_checked(lines, head[1])))


def _checked(lines: Iterable[str], previous: str) -> Iterator[Entry]:
    for number, line in enumerate(lines, 2):
        if _ENTRY.fullmatch(line) is None:
            raise Damaged(f"line {number} is not an entry of a ledger")
        text, _, found = line.rpartition(" ")
        if _hash(previous, text) != found:
            raise Damaged(f"line {number} does not match its hash")
        kind, what, digest = text.split(" ")
        yield Entry(kind, what, digest, found)
        previous = found


@dataclass
class Ledger:
    """All chains in a study.

    Attributes
    ----------
    chains : entries on intact pages, by session.
    damaged : the problem of each damaged file, keyed by the file's name in the study.
    problems : the problems that involve several files, keyed by the file or chain: missing pages, and joins with chains
        that are missing or were changed. Pages that a session has recorded as a gap are not included.
    """

    chains: dict[str, list[Entry]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Ledger:
        """Return the ledger contained in these files, which are keyed by name."""
        found = cls()
        pages: dict[str, list[Page]] = {}
        for name, content in files.items():
            try:
                page = parsed(name, content)
            except Damaged as damage:
                found.damaged[f"{LEDGER}/{name}"] = str(damage)
            else:
                pages.setdefault(page.session, []).append(page)
        for session, each in sorted(pages.items()):
            found.chains[session] = [one for page in each for one in page.entries]
        for session, each in sorted(pages.items()):
            found._check_pages(session, sorted(each, key=lambda page: page.number))
        found._check_joins()
        return found

    def _check_pages(self, session: str, pages: list[Page]) -> None:
        previous, expected = NO_HASH, 0
        for page in pages:
            missing = page_name(session, expected if page.number != expected else max(expected - 1, 0))
            if (page.number, page.previous) != (expected, previous) and missing not in self.gaps:
                self.problems[f"{LEDGER}/{missing}"] = f"it is missing or was changed, and {page.name} follows it"
            previous, expected = page.entries[-1].hash, page.number + 1

    def _check_joins(self) -> None:
        incomplete = {name.partition(".")[0] for name in self.gaps}
        for session, chain in self.chains.items():
            for each in chain:
                if each.kind == "join" and each.digest not in self._places and each.what not in incomplete:
                    self.problems.setdefault(
                        f"{LEDGER}/{each.what}", f"the chain that session {session} joined is missing or was changed"
                    )

    @cached_property
    def gaps(self) -> frozenset[str]:
        """Names of pages that sessions have recorded as missing."""
        return frozenset(each.what for each in self.entries if each.kind == "gap")

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """The session and position of every entry, keyed by the entry's hash."""
        return {
            each.hash: (session, position)
            for session, chain in self.chains.items()
            for position, each in enumerate(chain)
        }

    @cached_property
    def rows(self) -> dict[str, set[str]]:
        """Digests of the rows, by run; a run whose row was lost and computed again has several digests."""
        return rows_of(self.entries)

    @cached_property
    def plans(self) -> set[str]:
        """SHA-256 hashes of the frozen analysis plans that were entered; normally, there is exactly one."""
        return _digests(self.entries, "plan").get("analysis", set())

    @cached_property
    def lost(self) -> dict[str, set[str]]:
        """Digests of rows that sessions have recorded as lost, by run."""
        return _digests(self.entries, "lost")

    @cached_property
    def standing(self) -> dict[str, set[str]]:
        """Digests of the rows that are not recorded as lost, by run; all digests of a run if all its rows are lost."""
        return {run_id: digests - self.lost.get(run_id, set()) or digests for run_id, digests in self.rows.items()}

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries."""
        return (each for chain in self.chains.values() for each in chain)

    @cached_property
    def tips(self) -> dict[str, str]:
        """The last hash, by session, of every chain that no other chain has joined."""
        joined = {each.digest for each in self.entries if each.kind == "join"}
        return {session: chain[-1].hash for session, chain in self.chains.items() if chain[-1].hash not in joined}

    @cached_property
    def head(self) -> str | None:
        """Among the hashes in `tips`, the one that stands for the most rows; None if the ledger is empty."""
        return max(
            self.tips.values(),
            key=lambda tip: (len(rows_of(self.before(tip))), len(self.before(tip)), tip),
            default=None,
        )

    def find(self, head: str) -> str | None:
        """Return the entry hash that begins with `head`; None if there is no such hash, or more than one."""
        found = [each for each in self._places if each.startswith(head)]
        return found[0] if len(found) == 1 else None

    def before(self, head: str) -> list[Entry]:
        """Return the entries that a hash stands for: its own, and earlier ones in its chain and in joined chains."""
        reached: dict[str, int] = {}
        waiting = [head]
        found: list[Entry] = []
        while waiting:
            session, position = self._places.get(waiting.pop(), ("", -1))
            begin = reached.get(session, 0)
            if position < begin:
                continue
            reached[session] = position + 1
            part = self.chains[session][begin : position + 1]
            found += part
            waiting += [each.digest for each in part if each.kind == "join"]
        return found


def rows_of(entries: Iterable[Entry]) -> dict[str, set[str]]:
    """Return the digests of the rows among these entries, by run."""
    return _digests(entries, "row")


def _digests(entries: Iterable[Entry], kind: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in entries:
        if each.kind == kind:
            found.setdefault(each.what, set()).add(each.digest)
    return found
