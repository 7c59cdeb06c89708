"""What `ablate check` prints: factors, arms, differences, cost, disk space, numerics and notes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ablations.commands.check_notes import aggregated, differing, differing_options
from ablations.commands.check_result import Check
from ablations.commands.console_tables import Table, readable_bytes, room, show
from ablations.commands.fact_table import say, show_facts, summary
from ablations.planning.factors import combinations
from ablations.planning.networks import has_network
from ablations.planning.protocol import reference
from ablations.spec.designs import factor_labels
from ablations.spec.levels import labels_of
from aimlib.errors import counted
from aimlib.records import role
from analysis.wording.number_format import significant

if TYPE_CHECKING:
    from ablations.estimation.estimate import ArmCost, Cost
    from ablations.estimation.numerics import Numerics
    from ablations.planning.plan import Plan


_MOST_ARMS = 24
"""Maximum number of arms in a table on a terminal."""
_FEW_ARMS = 5
"""Maximum number of arms for which each arm's differences are listed."""
_MOST_VALUES = 6


def check(result: Check, console: Console, *, wide: bool = False) -> None:
    """Print what a study will run and what it will cost."""
    plan = result.plan
    spec = plan.study.spec
    arms, seeds = counted(len(plan.arms), "arm"), counted(len(spec.seeds), "seed")
    file = "" if plan.study.path is None else f"{plan.study.path}: "
    console.print(
        f"{file}study {spec.name}: {arms} x {seeds} = {counted(len(plan.runs), 'run')}",
        markup=False,
        highlight=False,
    )
    _factors(plan, console, wide)
    _arms(result, console, wide)
    _differences(plan, console, wide)
    _facts(result, console, wide)
    _costs(result, console, wide)
    for reason in result.untimed:
        console.print(Text(f"not timed: {reason}"), highlight=False, soft_wrap=True)
    if any(result.disk.checkpoints.values()):
        say(f"disk: {_disk(result)}", console, wide)
    for tried in result.numerics:
        _numerics(tried, console, wide)
    for note in aggregated(result.notes, [arm.name for arm in plan.arms], whole=wide):
        say(f"note: {note}", console, wide)
    console.print("no problems")


def _factors(plan: Plan, console: Console, wide: bool) -> None:
    """Print the factors of a study with their levels, and how many combinations of levels are arms."""
    spec = plan.study.spec
    if not spec.factors:
        return
    names = factor_labels(spec.factors)
    rows = [(names[factor], ", ".join(labels_of(levels))) for factor, levels in spec.factors.items()]
    show(Table(("factor", "levels"), rows, prose=("levels",)), console, wide=wide)
    chosen, every = len(combinations(spec)), prod(map(len, spec.factors.values()))
    say(
        f"design: {spec.design or 'full_factorial'}, {chosen} of {every} combinations, based on arm {spec.vary}",
        console,
        wide,
    )


def _arms(result: Check, console: Console, wide: bool) -> None:
    plan = result.plan
    with_memory = any(summary.memory_values for summary in plan.summaries.values())
    counts = ("parameters", "mult-adds", *(("memory", "free", "reads", "updates") if with_memory else ()))
    timed = tuple(f"s/{what}{_of(number, result)}" for number in range(len(result.costs)) for what in ("step", "run"))
    rows = []
    for arm in plan.arms:
        s = plan.summaries[arm.name]
        seconds = [text for cost in result.costs for text in _seconds(cost.arms.get(arm.name))]
        sizes = [f"{s.parameters:,}", _short(s.multiply_adds)]
        if with_memory:
            sizes += [_short(s.memory_values), _short(s.memory_degrees_of_freedom)]
            sizes += [str(len(s.attachment.readers)), str(len(s.attachment.updates))]
        if not has_network(arm.config):
            sizes = ["–"] * len(sizes)
        rows.append((arm.name, role(arm.role) or arm.role, *sizes, *seconds))
    steps = [name for name in timed if name.startswith("s/step")]
    table = Table(
        ("arm", "role", *counts, *timed),
        rows,
        right=(*counts, *timed),
        fixed=("role",),
        droppable=("updates", "free", "reads", *steps, "memory", "mult-adds", "role"),
        name_width=40,
    )
    most = _MOST_ARMS if len(rows) > _MOST_ARMS + 4 else None
    show(table, console, wide=wide, most=most, what="arm")
    if most is not None and room(console, wide) is not None:
        parameters = [plan.summaries[arm.name].parameters for arm in plan.arms]
        say(f"all {len(rows)} arms: {min(parameters):,} to {max(parameters):,} parameters", console, wide)


def _differences(plan: Plan, console: Console, wide: bool) -> None:
    """Print how arms differ from the baseline: arm by arm if there are only a few arms, otherwise option by option."""
    found = {name: changes for name, changes in differing(plan).items() if changes}
    if len(found) <= _FEW_ARMS or wide:
        for name, changes in found.items():
            say(f"{name} differs from the baseline in", console, wide)
            for change in changes:
                say(f"  {change}", console, wide)
        return
    say(f"{len(found)} arms differ from the baseline ({reference(plan.arms).name}) in", console, wide)
    for option, (before, values) in differing_options(plan).items():
        shown = [f"{value} in {counted(number, 'arm')}" for value, number in list(values.items())[:_MOST_VALUES]]
        more = len(values) - len(shown)
        say(f"  {option}: {before} -> {'; '.join(shown)}{f'; and {more} more values' if more else ''}", console, wide)


def _facts(result: Check, console: Console, wide: bool) -> None:
    """Print the claim's facts; on a terminal, print only how many differ if the study uses a different data set."""
    claim = result.plan.study.spec.claim
    if not result.facts or claim is None:
        return
    if room(console, wide) is None or _is_on_the_data_of(claim, result.plan):
        show_facts(result.facts, claim, console, wide=wide)
    else:
        say(f"claim {claim}: {summary(result.facts)} (use --wide to list all facts)", console, wide)


def _is_on_the_data_of(claim: str, plan: Plan) -> bool:
    from analysis.claims import accepts, read_claim

    return accepts(read_claim(claim).scope["dataset"], reference(plan.arms).config.data.name)


def _costs(result: Check, console: Console, wide: bool) -> None:
    from ablations.estimation import host_memory

    resources = {arm.name: arm.resources for arm in result.plan.arms}
    for number, cost in enumerate(result.costs):
        say(f"cost{_of(number, result)}: {cost_in_words(cost)}", console, wide)
        if text := host_memory.sentence(cost, resources):
            say(f"host memory{_of(number, result)}: {text}", console, wide)


def _short(count: int) -> str:
    """Return a number with three significant digits, such as 256 or 5.35 M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1000 if letter == 'k' else size):.3g} {letter}"
    return str(count)


def _of(number: int, result: Check) -> str:
    """Return a suffix that identifies a device if there are several kinds; empty if there is only one kind."""
    return f" [{number + 1}]" if len(result.costs) > 1 else ""


def _seconds(cost: ArmCost | None) -> tuple[str, str]:
    return ("–", "–") if cost is None else (f"{cost.step_seconds:.3g}", f"{cost.run_seconds:.3g}")


def cost_in_words(cost: Cost) -> str:
    """Return the cost on one kind of device, and the approximate duration of the study."""
    from ablations.progress import duration

    at_once = f"with {counted(cost.parallel, 'run')} at once"
    return (
        f"{significant(cost.hours)} {cost.unit} of {cost.kind or cost.device}; about {duration(cost.wall_seconds)} "
        f"on {cost.where} {at_once} (from timed steps, excluding startup)"
    )


def _disk(result: Check) -> str:
    found = result.disk
    arms: dict[str, list[str]] = {}
    for arm, size in found.checkpoints.items():
        arms.setdefault(readable_bytes(size), []).append(arm)
    each = ", ".join(f"{size} ({', '.join(names)})" for size, names in arms.items())
    if len(found.checkpoints) > _FEW_ARMS:
        sizes = found.checkpoints.values()
        each = " to ".join(dict.fromkeys((readable_bytes(min(sizes)), readable_bytes(max(sizes)))))
    together = f"up to {readable_bytes(found.at_once)} at a time" if found.at_once else "one for each active run"
    together += ", and the same amount again for the previous checkpoint, which is also kept"
    return f"checkpoints of {each}, {together}; {readable_bytes(found.predictions)} of predictions before compression"


def _numerics(tried: Numerics, console: Console, wide: bool) -> None:
    arms = list(tried.seconds[tried.stated])
    headings = ("s/step", *tried.seconds)
    rows = [(arm, *(f"{by_arm[arm]:.3g}" for by_arm in tried.seconds.values())) for arm in arms]
    rows.append(("as fast as stated", *(f"{tried.gain(numerics):.2f} ×" for numerics in tried.seconds)))
    if len(arms) <= _FEW_ARMS:  # one line per setting, because settings have longer names than most arms
        columns = zip(*rows, strict=True)
        next(columns)
        headings = ("training", *(f"s/step {arm}" for arm in arms), "as fast")
        rows = [(setting, *column) for setting, column in zip(tried.seconds, columns, strict=True)]
    show(Table(headings, rows, right=headings[1:]), console, wide=wide)
    console.print(Text(tried.proposal), highlight=False, soft_wrap=True)
