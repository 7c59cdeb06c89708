"""`make gpu`: test, step by step, what cannot be tested without a GPU, and store the results."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import harness
from bench.gpu import about, page, results
from bench.gpu.catalogue import STEPS, BadSteps, Step, chosen
from bench.gpu.report import Outcome, as_goal, as_row
from bench.gpu.runner import run

_NO_FIGURES = "rehearsal on a CPU: the logic runs on small networks, and the figures say nothing about a card"


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; return 0 if all steps passed or were skipped, 1 if a step failed, 2 if arguments are invalid."""
    asked = _asked(arguments)
    try:
        steps = chosen(asked.steps)
    except BadSteps as error:
        print(error, file=sys.stderr)
        return 2
    folder = _folder(asked)
    how = {"when": time.strftime("%Y-%m-%d", time.gmtime()), "command": _command(asked), "commit": about.commit()}
    how["machine"] = harness.machine()
    if asked.device == "cpu":
        print(_NO_FIGURES)
    outcomes = _tried(steps, asked, how, folder)
    print(f"\n{results.table(outcomes)}\n\nstored in {folder}")
    if asked.device != "cpu" and folder == harness.RESULTS:
        page.write()
    return int(any(each.status == "FAIL" for each in outcomes))


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", default="", help="steps to run, e.g. 1-5 or 2,4,8; if empty, all steps run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu runs a rehearsal without a card")
    parser.add_argument(
        "--results", default="", help="folder for the results; by default, a rehearsal uses a temporary folder"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="minutes for all steps together; 0 means 8 on a card and no limit on a CPU",
    )
    return parser.parse_args(arguments)


def _folder(asked: argparse.Namespace) -> Path:
    if asked.results:
        return Path(asked.results).absolute()
    return Path(tempfile.mkdtemp(prefix="gpu-rehearsal.")) if asked.device == "cpu" else harness.RESULTS


def _command(asked: argparse.Namespace) -> str:
    given = {"STEPS": asked.steps, "DEVICE": asked.device if asked.device == "cpu" else ""}
    return " ".join(["make gpu", *(f"{name}={value}" for name, value in given.items() if value)])


def _tried(steps: list[Step], asked: argparse.Namespace, how: dict[str, Any], folder: Path) -> list[Outcome]:
    minutes = asked.minutes or (8.0 if asked.device == "cuda" else float("inf"))
    ends, outcomes, fatal = time.monotonic() + 60 * minutes, [], ""
    for step in steps:
        print(f"\n== {step.number} {step.title}", flush=True)
        if fatal:
            outcome = Outcome(step.number, step.name, step.title, "SKIPPED", fatal, device=asked.device)
        else:
            outcome = run(step, asked.device, ends - time.monotonic())
        if outcome.status == "FAIL" and step.fatal and asked.device == "cuda" and not outcome.card:
            fatal = f"no usable device (step {step.number})"
        outcomes.append(outcome)
        results.keep(outcome, how, folder)
        show(outcome)
    return outcomes


def show(outcome: Outcome) -> None:
    """Print the result of a step."""
    rows, goals = [as_row(each) for each in outcome.rows], [as_goal(each) for each in outcome.goals]
    harness.show(harness.Answer(rows, goals, outcome.notes))
    for each in outcome.expected:
        if each["holds"]:
            print(f"holds   {each['text']}")
    if outcome.log:
        print(f"--- end of the step's output\n{outcome.log}\n---")
    print(f"{outcome.status} {outcome.reason} ({outcome.seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    if len(STEPS) and "COLUMNS" not in os.environ:
        os.environ["COLUMNS"] = "120"
    sys.exit(main())
