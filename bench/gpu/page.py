"""Write the title and the tables of docs/gpu.md from the stored results for cards, never from a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import harness
from bench.gpu import results
from bench.gpu.catalogue import STEPS
from bench.summary import _number

PAGE = harness.ROOT / "docs" / "gpu.md"
BEGIN, END = "<!-- gpu: written by `make gpu` -->\n", "<!-- gpu: end -->\n"
NOTHING = "# GPUs: none of this project has run on a card yet\n"


def title(found: Sequence[dict[str, Any]]) -> str:
    """Return the first line of the page, which names the GPUs on which steps have run."""
    cards = sorted({content["card"]["name"] for content in found if content["card"].get("name")})
    return f"# GPUs: what ran on {' and '.join(cards)}\n" if cards else NOTHING


def tables(found: Sequence[dict[str, Any]]) -> str:
    """Return the text that belongs between the marks."""
    by_name = {content["name"]: content for content in found}
    lines = ["| | step | card | result | seconds | date, commit |", "|---:|---|---|---|---:|---|"]
    for step in STEPS:
        content = by_name.get(step.name)
        lines.append(_line(step.number, step.title, content))
    beyond = [content for content in found if content["number"] > len(STEPS)]
    lines += [_line(content["number"], content["title"], content) for content in beyond]
    return "\n".join([*lines, "", *(section(content) for content in found)]) + "\n"


def _line(number: int, title: str, content: dict[str, Any] | None) -> str:
    if content is None:
        return f"| {number} | {title} | | not tried yet | | |"
    card, reason = content["card"].get("name", "none"), content["reason"].replace("|", "\\|")
    result = f"{content['status']}{': ' if reason else ''}{reason}"
    seconds, when = f"{content['seconds']:.0f}", f"{content['when']}, {content['commit']}"
    return f"| {number} | {title} | {card} | {result} | {seconds} | {when} |"


def section(content: dict[str, Any]) -> str:
    """Return the measurements of a step, with the GPU on which they were made."""
    if not (content["rows"] or content["goals"] or content["notes"]):
        return ""
    lines = [f"### {content['number']}. {content['title']}", "", _where(content), ""]
    if content["goals"]:
        lines += ["| goal | reached | limit | |", "|---|---:|---:|---|"]
        lines += [_goal(goal) for goal in content["goals"]] + [""]
        lines += [
            f"Not met: {goal['text']}. {goal['why']}\n" for goal in content["goals"] if goal["why"] and not goal["met"]
        ]
    if content["rows"]:
        lines += ["| case | what | median | lowest to highest | rounds |", "|---|---|---:|---:|---:|"]
        lines += [_row(row) for row in content["rows"]] + [""]
    return "\n".join([*lines, *(f"{note}\n" for note in content["notes"])])


def _where(content: dict[str, Any]) -> str:
    card, names = content["card"], ("torch", "torchvision", "ray")
    if not card:
        return f"No card was seen; {content['when']}; `{content['command']}`."
    known = ", ".join(f"{name} {content['versions'][name]}" for name in names if name in content["versions"])
    return (
        f"{card['name']}, {card['memory_gib']} GiB, driver {card['driver']}, CUDA {card['cuda']}; {known}; "
        f"{content['machine']['cores']} cores; {content['when']}; `{content['command']}`."
    )


def _goal(goal: dict[str, Any]) -> str:
    sign, verdict = "≤" if goal["sense"] == "most" else "≥", "met" if goal["met"] else "**not met**"
    return f"| {goal['text']} | {_number(goal['reached'])} | {sign} {_number(goal['limit'])} | {verdict} |"


def _row(row: dict[str, Any]) -> str:
    spread = f"{_number(row['low'])} to {_number(row['high'])}"
    return f"| {row['case']} | {row['subject']} | {_number(row['figure'])} {row['unit']} | {spread} | {row['rounds']} |"


def page(folder: Path = harness.RESULTS) -> str:
    """Return the expected content of docs/gpu.md.

    Raises
    ------
    NoCard: a result does not name its card.
    """
    found = results.of_cards(folder)
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("\n")
    before, _, after = rest.partition(BEGIN)
    return title(found) + before + BEGIN + "\n" + tables(found) + "\n" + END + after.partition(END)[2]


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
