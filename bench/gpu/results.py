"""Store outcomes in ``bench/results/gpu-<step>.json``; outcomes from a CPU are never stored as outcomes from a card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.gpu.report import Outcome


class NoCard(ValueError):  # noqa: N818 -- the message says what is missing
    """Figures from a card would be stored or shown without the name of the card."""


def file_of(name: str, device: str, folder: Path) -> Path:
    """Return the path of the file for a step's outcome. Rehearsals have a separate file."""
    return folder / f"gpu-{name}{'.rehearsal' if device == 'cpu' else ''}.json"


def keep(outcome: Outcome, how: dict[str, Any], folder: Path) -> Path:
    """Store an outcome atomically; return the path of the file.

    Parameters
    ----------
    how : time, command, commit and machine.

    Raises
    ------
    NoCard: figures are declared as coming from a card, but no card is named.
    """
    if outcome.device != "cpu" and (outcome.rows or outcome.goals) and not outcome.card.get("name"):
        raise NoCard(f"{outcome.name}: figures without the name of a card are not stored")
    target = file_of(outcome.name, outcome.device, folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    content = {"rehearsal": outcome.device == "cpu", **asdict(outcome), **how}
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(target)
    return target


def of_cards(folder: Path) -> list[dict[str, Any]]:
    """Return the stored results for cards in the order of the steps, without rehearsals.

    Raises
    ------
    NoCard: a file for one card contains results from a different card.
    """
    found = []
    for path in sorted(folder.glob("gpu-*.json")):
        if path.name.endswith(".rehearsal.json"):
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        has_figures = content["rows"] or content["goals"]
        if content["rehearsal"] or content["device"] == "cpu" or (has_figures and not content["card"].get("name")):
            raise NoCard(f"{path}: the results do not name their card; remove the file")
        found.append(content)
    return sorted(found, key=lambda content: content["number"])


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the final lines of `make gpu`."""
    lines = []
    for each in outcomes:
        lines.append(f"{each.number:>3}  {each.status:<7}  {each.seconds:>6.1f} s  {each.title}")
        if each.reason:
            lines.append(f"     {'':<7}  {'':>6}    {each.reason}")
    return "\n".join(lines)
