"""What the commands print: tables and sentences from the results of their Python calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aimlib.errors import UsageError, counted

if TYPE_CHECKING:
    import pandas as pd

    from ablations.commands.check import Check
    from ablations.commands.doctor.finding import Finding
    from ablations.estimation.estimate import ArmCost, Cost
    from ablations.estimation.numerics import Numerics
    from ablations.estimation.power import PowerAnalysis
    from ablations.sessions.result import Session
    from ablations.sessions.screening import Trial
    from aimlib.registry import PluginInfo


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: control characters, and marks that turn the direction of text."""


def printable(text: str) -> str:
    """Return a text of unknown origin as it may be printed: what a terminal would obey becomes a replacement sign."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table(headings: Iterable[str], rows: Iterable[Iterable[Any]], right: Iterable[str] = ()) -> Table:
    """Return a plain table; cells are shown as they are, never read as markup."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    right = set(right)
    for heading in headings:
        shown.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in row))
    return shown


def check(result: Check, console: Console) -> None:
    """Print what a study will run and cost."""
    from ablations.commands.check_notes import differing

    plan = result.plan
    spec = plan.study.spec
    arms, seeds = counted(len(plan.arms), "arm"), counted(len(spec.seeds), "seed")
    console.print(
        f"{plan.study.path}: study {spec.name}: {arms} x {seeds} = {counted(len(plan.runs), 'run')}",
        markup=False,
        highlight=False,
    )
    counts = ("parameters", "mult-adds", "memory", "free", "reads", "updates")
    timed = tuple(f"s/{what}{_of(number, result)}" for number in range(len(result.costs)) for what in ("step", "run"))
    numbers = (*counts, *(timed or ("s/step", "s/run")))
    rows = []
    for arm in plan.arms:
        s = plan.summaries[arm.name]
        found = [cost.arms.get(arm.name) for cost in result.costs] or [None]
        seconds = [text for each in found for text in _seconds(each)]
        costs = (
            f"{s.parameters:,}",
            _short(s.multiply_adds),
            _short(s.memory_values),
            _short(s.memory_degrees_of_freedom),
        )
        rows.append((arm.name, arm.role, *costs, len(s.attachment.readers), len(s.attachment.updates), *seconds))
    console.print(table(("arm", "role", *numbers), rows, right=numbers))
    for name, changes in differing(plan).items():
        if changes:
            console.print(Text(f"{name} differs from the baseline in"), highlight=False)
            for change in changes:
                console.print(Text(f"  {change}"), highlight=False)
    for number, cost in enumerate(result.costs):
        console.print(Text(f"cost{_of(number, result)}: {_cost(cost)}"), highlight=False, soft_wrap=True)
    for reason in result.untimed:
        console.print(Text(f"not timed: {reason}"), highlight=False, soft_wrap=True)
    console.print(Text(f"disk: {_disk(result)}"), highlight=False, soft_wrap=True)
    for tried in result.numerics:
        _numerics(tried, console)
    for note in result.notes:
        console.print(Text(f"note: {note}"), highlight=False)
    console.print("no problems")


def _short(count: int) -> str:
    """Return a count with three significant digits: 256, 5.35 M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1000 if letter == 'k' else size):.3g} {letter}"
    return str(count)


def _of(number: int, result: Check) -> str:
    """Return which of several kinds of device is meant; nothing where there is one."""
    return f" [{number + 1}]" if len(result.costs) > 1 else ""


def _seconds(cost: ArmCost | None) -> tuple[str, str]:
    return ("–", "–") if cost is None else (f"{cost.step_seconds:.3g}", f"{cost.run_seconds:.3g}")


def _cost(cost: Cost) -> str:
    from ablations.progress import duration

    at_once = f"with {counted(cost.parallel, 'run')} at once"
    return (
        f"{cost.hours:.2g} {cost.unit} of {cost.kind or cost.device}; about {duration(cost.wall_seconds)} on "
        f"{cost.where} {at_once} (from timed steps; without start-up)"
    )


def _disk(result: Check) -> str:
    found = result.disk
    arms: dict[str, list[str]] = {}
    for arm, size in found.checkpoints.items():
        arms.setdefault(_bytes(size), []).append(arm)
    each = ", ".join(f"{size} ({', '.join(names)})" for size, names in arms.items())
    together = f"up to {_bytes(found.at_once)} at once" if found.at_once else "one of each run that is under way"
    return f"checkpoints of {each}, {together}; predictions of {_bytes(found.predictions)} before compression"


def _bytes(count: int) -> str:
    """Return a number of bytes with three significant digits: 1.94 GB, 12.3 kB."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _numerics(tried: Numerics, console: Console) -> None:
    arms = list(tried.seconds[tried.stated])
    rows = [
        (numerics, *(f"{by_arm[arm]:.3g}" for arm in arms), f"{tried.gain(numerics):.2f} ×")
        for numerics, by_arm in tried.seconds.items()
    ]
    headings = ("training", *(f"s/step {arm}" for arm in arms), "as fast")
    console.print(table(headings, rows, right=headings[1:]))
    console.print(Text(tried.proposal), highlight=False, soft_wrap=True)


def power(found: PowerAnalysis, console: Console) -> None:
    """Print what a study can be expected to find out."""
    looks = ", ".join(map(str, found.looks.numbers))
    console.print(f"looks after {looks} pairs, each at {100 * (1 - found.looks.levels[0]):.4g} %", highlight=False)
    if found.seen is not None:
        console.print(
            f"differences vary between seeds by {found.seen:.2f} pp (SD; upper 80 % end in the given results)",
            highlight=False,
        )
    console.print(
        "seed SD: of either arm, and true gain: in percentage points; pairs: for 80 % power of one look, and until the "
        "study stops; verdict: a stopping one with the planned seeds; finally: by the last look, if seeds are added; "
        "shown: interval above 0 then",
        highlight=False,
    )
    headings = ["seed SD", "true gain", "pairs, 80 %", "verdict", "finally", "shown", "mean pairs"]
    known = [name for name in ("device_hours", "price") if found.table[name].notna().any()]
    headings += [found.unit if name == "device_hours" else name for name in known]
    rows = [
        [
            f"{row['seed_sd']:.2f}",
            f"{row['effect']:.2f}",
            _pairs(row),
            f"{100 * row['verdict']:.0f} %",
            f"{100 * row['finally']:.0f} %",
            f"{100 * row['shown']:.0f} %",
            f"{row['pairs']:.1f}",
            *(f"{row[name]:.2f}" for name in known),
        ]
        for row in found.table.to_dict("records")
    ]
    console.print(table(headings, rows, headings))
    for warning in found.warnings:
        console.print(f"- {warning}", markup=False, highlight=False)


def _pairs(row: Mapping[Any, Any]) -> str:
    if not row["effect"]:
        return "–"
    return "> 10,000" if row["pairs_80"] < 0 else str(row["pairs_80"])


def power_curves(found: PowerAnalysis, path: Path) -> None:
    """Draw the power curves, a panel per seed SD, into an SVG or PNG file; UsageError if that cannot be written."""
    from analysis.figures import png, svg
    from analysis.figures import power as power_figure

    figure = power_figure.draw_by_spread(found.curves, found.looks.numbers[-1])
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {path}: give a file that ends in .svg or .png")
    try:
        path.write_bytes(png(figure) if path.suffix == ".png" else svg(figure, "power").encode())
    except OSError as error:
        raise UsageError(f"--figure {path}: cannot be written ({error}); give another file") from error


def session(result: Session, console: Console) -> None:
    """Print what came of a session, and what to do about what is missing."""
    console.print(
        f"{counted(result.planned, 'run')}: {result.computed} computed now, {result.settled_before} settled before, "
        f"{len(result.failed)} failed, {len(result.open)} open",
        highlight=False,
    )
    if result.failed:
        console.print(
            Text(
                f"failed runs are tried again by the same command; why they failed: "
                f"ablate results {result.directory} --where status=failed --columns arm,seed,reason"
            )
        )
    for arm_reason, count in Counter(result.withheld.values()).items():
        console.print(Text(f"not begun: {counted(count, 'run')} of an arm that failed twice with {arm_reason}"))
    if result.cut_off:
        console.print("interrupted: the same command goes on from here")


def trials(found: Iterable[Trial], console: Console) -> None:
    """Print the trials of a screening, the best first, and how many draws could not be built."""
    found = list(found)
    passed_over = sum(not trial.buildable for trial in found)
    if passed_over:
        console.print(f"{passed_over} of {len(found)} configurations that were drawn cannot be built; passed over.")
    found = [trial for trial in found if trial.buildable]
    ranked = sorted(found, key=lambda trial: (trial.value is None, -(trial.value or 0.0), trial.number))
    rows = [
        (
            trial.name,
            f"{100 * trial.value:.2f} %" if trial.value is not None else trial.reason,
            ", ".join(f"{name.removeprefix('model.')}={_drawn(value)}" for name, value in trial.drawn.items()),
        )
        for trial in ranked
    ]
    console.print(table(("Trial", "Validation accuracy", "What was drawn"), rows, right=("Validation accuracy",)))


def _drawn(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def frame(data: pd.DataFrame, console: Console) -> None:
    """Print a frame as a table; fractions and other numbers with four significant digits."""
    right = [str(name) for name in data.columns if data[name].dtype.kind in "iuf"]
    shown = data.astype(object).where(data.notna(), None)  # NA, NaN and NaT alike
    rows = ([_cell(value) for value in row] for row in shown.itertuples(index=False))
    console.print(table(map(str, data.columns), rows, right=right))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plugins(found: Iterable[PluginInfo], console: Console) -> None:
    """Print every plugin of every family."""
    rows = [(info.family, info.name, info.distribution, info.module) for info in found]
    console.print(table(("family", "name", "distribution", "module"), rows))


def findings(found: Iterable[Finding], console: Console) -> None:
    """Print what the doctor found, a line each; what to do about it stands below."""
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in found:
        line = Text(f"{finding.state:8}", style=styles[finding.state])
        console.print(line + Text(f"{finding.subject}: {finding.message}", style=""), highlight=False)
        if finding.remedy:
            console.print(Padding(Text(finding.remedy, style="dim"), (0, 0, 0, 8)))
