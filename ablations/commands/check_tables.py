"""What `ablate check` prints: arms, cost, disk, numerics, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ablations.commands.check_notes import differing
from ablations.commands.check_result import Check
from ablations.commands.console_tables import table
from aimlib.errors import counted

if TYPE_CHECKING:
    from ablations.estimation.estimate import ArmCost, Cost
    from ablations.estimation.numerics import Numerics


def check(result: Check, console: Console) -> None:
    """Print what a study will run and cost."""
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
    """Return a count with three significant digits, such as 256 or 5.35 M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1000 if letter == 'k' else size):.3g} {letter}"
    return str(count)


def _of(number: int, result: Check) -> str:
    """Return a suffix that identifies one of several kinds of device; empty if there is only one."""
    return f" [{number + 1}]" if len(result.costs) > 1 else ""


def _seconds(cost: ArmCost | None) -> tuple[str, str]:
    return ("–", "–") if cost is None else (f"{cost.step_seconds:.3g}", f"{cost.run_seconds:.3g}")


def _cost(cost: Cost) -> str:
    from ablations.progress import duration

    at_once = f"with {counted(cost.parallel, 'run')} at once"
    return (
        f"{cost.hours:.2g} {cost.unit} of {cost.kind or cost.device}; about {duration(cost.wall_seconds)} on "
        f"{cost.where} {at_once} (from timed steps, without start-up)"
    )


def _disk(result: Check) -> str:
    found = result.disk
    arms: dict[str, list[str]] = {}
    for arm, size in found.checkpoints.items():
        arms.setdefault(_bytes(size), []).append(arm)
    each = ", ".join(f"{size} ({', '.join(names)})" for size, names in arms.items())
    together = f"up to {_bytes(found.at_once)} at once" if found.at_once else "one for each active run"
    return f"checkpoints of {each}, {together}; {_bytes(found.predictions)} of predictions before compression"


def _bytes(count: int) -> str:
    """Return a number of bytes with three significant digits, such as 1.94 GB or 12.3 kB."""
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
