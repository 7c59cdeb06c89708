"""Write docs/performance.md and, in the header of every module, the parts Measured and Reached, from bench/results."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

from bench.harness import RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.md"
TABLES = "<!-- tables: written by `make bench` -->\n"
ORDER = (
    "training_step",
    "step_memory",
    "training_loop",
    "input_pipeline",
    "shared_data",
    "launch",
    "resume",
    "startup",
    "check",
    "large_results",
    "integrity",
    "own_code",
    "driver_memory",
    "reports",
    "calibration",
)


def header(name: str) -> dict[str, str]:
    """Return the parts of a module's docstring, by name."""
    text = (ROOT / "bench" / f"{name}.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    found = re.findall(r"^(Question|Rivals|Measured|Reached): ((?:.|\n(?!\n|[A-Z]\w+: ))*)", docstring, flags=re.M)
    return {part: " ".join(content.split()) for part, content in found}


def measured(result: dict[str, Any]) -> str:
    """Return a sentence that states how the results were measured."""
    machine = result["machine"]
    rounds = sorted({row["rounds"] for row in result["rows"]})
    often = f"{rounds[0]}" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    names = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{result['when']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; {names}; "
        f"medians of {often} rounds, {result['seconds']} s in all."
    )


def reached(result: dict[str, Any]) -> str:
    """Return a sentence that states the results for all goals."""
    return "; ".join(_goal(goal) for goal in result["goals"]) + "."


def _goal(goal: dict[str, Any]) -> str:
    sign = "≤" if goal["sense"] == "most" else "≥"
    verdict = "" if goal["met"] else "NOT MET: "
    return f"{verdict}{goal['text']}: {_number(goal['reached'])} ({sign} {_number(goal['limit'])})"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def section(name: str, result: dict[str, Any]) -> str:
    """Return the section of the page about a module."""
    about = header(name)
    lines = [f"## {about['Question']}", "", f"Against: {about['Rivals']}", "", f"`python -m bench.{name}`", ""]
    lines += ["| goal | reached | limit | |", "|---|---:|---:|---|"]
    for goal in result["goals"]:
        sign = "≤" if goal["sense"] == "most" else "≥"
        verdict = "met" if goal["met"] else "**not met**"
        lines.append(f"| {goal['text']} | {_number(goal['reached'])} | {sign} {_number(goal['limit'])} | {verdict} |")
    lines += [""] + [f"Not met: {goal['text']}. {goal['why']}\n" for goal in result["goals"] if not goal["met"]]
    lines += ["| case | who | median | lowest to highest | rounds |", "|---|---|---:|---:|---:|"]
    for row in result["rows"]:
        spread = f"{_number(row['low'])} to {_number(row['high'])}"
        figure = f"{_number(row['figure'])} {row['unit']}"
        lines.append(f"| {row['case']} | {row['subject']} | {figure} | {spread} | {row['rounds']} |")
    lines += ["", *[f"{note}\n" for note in result["notes"]], f"<sub>{measured(result)}</sub>", ""]
    return "\n".join(lines)


def results() -> dict[str, dict[str, Any]]:
    """Return the stored results on CPUs, by module, in the order of the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")}
    return {name: found[name] for name in ORDER if name in found}


def page() -> str:
    """Return the expected content of docs/performance.md."""
    before = PAGE.read_text(encoding="utf-8").partition(TABLES)[0]
    return before + TABLES + "\n" + "\n".join(section(name, result) for name, result in results().items())


def rewritten(name: str, result: dict[str, Any]) -> str:
    """Return a module's source with the measurements in its header."""
    path = ROOT / "bench" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    for part, content in (("Measured", measured(result)), ("Reached", reached(result))):
        new = _wrapped(part, content).replace("\\", "\\\\")
        text = re.sub(rf"^{part}: (?:.|\n(?!\n|[A-Z]\w+: |\"\"\"))*", new, text, count=1, flags=re.M)
    return text


def _wrapped(part: str, content: str) -> str:
    # Do not break lines at hyphens, because lines are joined with spaces when the header is read.
    whole: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.wrap(f"{part}: {content}", 118, subsequent_indent="    ", **whole))


def main() -> None:
    """Write the page and the headers."""
    for name, result in results().items():
        (ROOT / "bench" / f"{name}.py").write_text(rewritten(name, result), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    missed = [
        f"{name}: {goal['text']}" for name, result in results().items() for goal in result["goals"] if not goal["met"]
    ]
    print("\n".join(["not met:", *missed] if missed else ["every goal is met"]))


if __name__ == "__main__":
    main()
