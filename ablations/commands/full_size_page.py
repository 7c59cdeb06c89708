"""Output of `ablate check --claim` as Markdown, for the terminal and for `docs/full-size.md`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ablations.estimation.full_size import GPUS, PEAKS, FullSize, Part
from ablations.estimation.power import SEED_SDS
from aimlib.errors import counted
from analysis.claims import Claim
from analysis.looks import FEWEST_PAIRS
from analysis.statistics.simulation import pairs_for_power

_PHOTOS_BYTES = 0.8e9
"""Size of the Stanford Dogs photos as downloaded."""
_LAST = 10
"""Number of final epochs for which a reported run's spread is shown."""


def lines(found: FullSize) -> Iterator[str]:
    """Yield the page line by line."""
    yield f"**{found.claim.statement}**"
    yield ""
    yield from _runs_table(found.parts)
    yield ""
    yield from _hours_table(found)
    yield ""
    yield from _disk_lines(found.parts)
    yield ""
    yield from _pairs_lines(found)
    yield ""
    yield from _order_lines(found.parts)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    rule = ["---:" if rows[0][column][:1] in "≥>0123456789" else "---" for column in range(len(headings))]
    for cells in (headings, rule, *rows):
        yield f"| {' | '.join(cells)} |"


def _runs_table(parts: Sequence[Part]) -> Iterator[str]:
    rows = []
    for part in parts:
        for arm in part.plan.arms:
            summary, training = part.plan.summaries[arm.name], arm.config.training
            rows.append(
                (
                    part.name,
                    arm.name,
                    str(part.seeds),
                    f"{training.epochs}",
                    f"{training.batch_size}",
                    f"{summary.parameters / 1e6:.1f} M",
                    f"{summary.multiply_adds / 1e9:.2f} G",
                )
            )
    yield from _table(("study", "arm", "runs", "epochs", "batch", "parameters", "multiply-adds per image"), rows)
    total = sum(part.seeds * len(part.plan.arms) for part in parts)
    yield ""
    yield f"{total} runs in total. The numbers of epochs are upper limits; runs that stop early need fewer."


def _hours_table(found: FullSize) -> Iterator[str]:
    columns = [(card, precision) for card, peaks in PEAKS.items() for precision in peaks]
    rows = []
    for part in found.parts:
        bounds = [f"≥ {_hours(part.hours(PEAKS[card][precision]))}" for card, precision in columns]
        rows.append((part.name, *bounds, part.precision))
    yield (
        "Hours on one card for the maximum number of epochs. These are lower bounds, not measurements: 6 × "
        "multiply-adds × images / peak for training, 2 × for evaluation. Until the hours are measured, plan for "
        "twice as many."
    )
    yield ""
    yield from _table(("study", *(f"{card} {precision}" for card, precision in columns), "stated"), rows)
    yield ""
    yield (
        f"Hours on a node with {GPUS} such cards, in the precision that the study specifies. These are also lower "
        "bounds."
    )
    yield ""
    rows = [
        (part.name, *(f"≥ {_hours(_on_node(part, peaks[part.precision]))}" for peaks in PEAKS.values()))
        for part in found.parts
    ]
    yield from _table(("study", *PEAKS), rows)
    yield ""
    yield from _measured(found)


def _on_node(part: Part, peak: float) -> float:
    return max(part.hours(peak) / GPUS, part.longest_hours(peak))


def _measured(found: FullSize) -> Iterator[str]:
    costs = [(part, cost) for part in found.parts for cost in part.costs]
    if not costs:
        yield "Nothing has been measured yet."
    for part, cost in costs:
        share = f"{_hours(cost.hours)} {cost.unit} of {cost.kind}"
        yield f"Measured: {part.name}: {share}, {_hours(cost.wall_seconds / 3600)} h on {cost.where}."
    for reason in found.untimed:
        yield f"Not timed: {reason}."


def _disk_lines(parts: Sequence[Part]) -> Iterator[str]:
    packs: dict[str, int] = {}
    for part in parts:
        packs |= part.pack_bytes
    yield (
        f"Disk: the photos take {_gigabytes(_PHOTOS_BYTES)} on shared storage, and twice that during unpacking. "
        f"Packed photos take {_gigabytes(sum(packs.values()))} on every node "
        f"({counted(len(packs), 'resized version')})."
    )
    yield ""
    rows = [
        (
            part.name,
            _gigabytes(max(part.disk.checkpoints.values())),
            _gigabytes(part.disk.at_once or 0),
            f"{part.disk.predictions / 1e6:.0f} MB",
        )
        for part in parts
    ]
    yield from _table(("study", "largest checkpoint", f"{GPUS} runs at a time", "predictions before compression"), rows)


def _pairs_lines(found: FullSize) -> Iterator[str]:
    spec = found.parts[0].plan.study.spec
    looks, gain = spec.reading, next(iter(found.claim.gains_pp.values()))
    yield (
        f"The spread between seeds is unknown because only one run of each arm was reported. Over the last {_LAST} "
        f"epochs, the SD between epochs is {' and '.join(_spread(found.claim))} percentage points."
    )
    yield f"Verdicts are read {looks.text}. Pairs for 80 % power at one look, at least {FEWEST_PAIRS}:"
    yield ""
    effects = (spec.delta_pp, gain / 2, gain)
    rows = [
        (f"{sd:g} pp", *(_pairs(pairs_for_power(effect, math.sqrt(2) * sd, looks.levels[0])) for effect in effects))
        for sd in SEED_SDS
    ]
    yield from _table(("SD between seeds of either arm", *(f"true gain {effect:.2f} pp" for effect in effects)), rows)


_WHY = {
    "replication": (
        "can the reported numbers be reproduced, and how large is the spread between seeds? The answer decides "
        "whether the other studies are worth running"
    ),
    "controlled": (
        "does memory cause a gain? This study requires the baseline, a network with as many parameters, and a "
        "memory that never learns"
    ),
    "confounds": "which change causes the gap? This study is worth running if `replication` found a gap",
}
"""Question that each study answers; the questions determine the order of the studies."""


def _order_lines(parts: Sequence[Part]) -> Iterator[str]:
    seeds = parts[0].plan.study.spec.reading.numbers[0]
    yield f"Order of the studies, with the number of runs up to the first look ({seeds} seeds):"
    yield ""
    for number, part in enumerate(parts, 1):
        runs = part.seeds * len(part.plan.arms)
        yield f"{number}. `ablate run {part.name} --out results/{part.name}` ({runs} runs): {_WHY[part.name]}."
    yield ""
    yield (
        "To resume a study after any interruption, run the same command again. First check `ablate status DIR` "
        "for failed runs. Then run `ablate plan STUDY --results DIR`, which shows how many pairs are needed given "
        "the spread between seeds. `ablate run --until-verdict` adds the pairs look by look."
    )


def _spread(claim: Claim) -> Iterator[str]:
    for arm, rows in claim.curves.groupby("arm", sort=False):
        last = rows.sort_values("epoch")["val_accuracy"].tail(_LAST)
        yield f"{100 * last.std(ddof=1):.2f} ({arm})"


def _pairs(count: int | None) -> str:
    return "> 10,000" if count is None else f"{max(count, FEWEST_PAIRS):,}"


def _hours(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
