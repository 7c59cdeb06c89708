"""Generates the fault table in docs/reliability.md from the tests' records: `python tests/faults/table.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kinds import COUNTS, KINDS, RESULTS, read

PAGE = RESULTS.parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by tests/faults/table.py -->\n", "<!-- end of faults -->\n"


def table(recorded: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the table: one row for each kind, with the sums over its variants and the oldest of their dates."""
    lines = [
        "| fault | injected | runs | lost | doubled | wrong | run on | commit |",
        "|---|" + "---:|" * 5 + "---|---|",
    ]
    for kind, text in KINDS.items():
        variants = recorded.get(kind, {}).values()
        if not variants:
            lines.append(f"| {text} |" + " |" * 5 + " not yet | |")
            continue
        counts = [_sum([variant[count] for variant in variants]) for count in COUNTS]
        oldest = min(variants, key=lambda variant: variant["date"])
        lines.append(f"| {text} | {' | '.join(counts)} | {oldest['date']} | {oldest['commit']} |")
    return "\n".join(lines) + "\n"


def _sum(numbers: list[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    return f"{sum(known):,}" if known else "–"


def page(text: str, recorded: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the page with the table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(
            f"{PAGE}: the lines {BEGIN.strip()} and {END.strip()} are missing; put them where the table belongs"
        )
    return f"{before}{BEGIN}\n{table(recorded)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")
