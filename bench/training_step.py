"""How much longer does a training step with memory take?

Question: How much longer does an AiM training step take than a baseline training step?

Rivals: The same networks as described in the post, in the same run: the memory is repeated for every image and
    concatenated with the input of every layer that reads it and of every update block. A step consists of the forward
    pass, the backward pass and the optimizer. Two arms are measured: one with a memory that every layer reads and that
    no update rewrites (`every_layer`), and the arm of the shipped studies, whose memory `conv_ones` is rewritten by
    `conv_sigmoid` after every stage. The limit is the ratio of multiply-adds per image, as printed by `ablate check`.
    Batches and memories are the same as in studies: 16 images for ResNet50, as in `as_described`, and 32 for the small
    ResNet, as in `controlled_small`. AdamW uses fused steps (`training.optimizer.fused: true`), and all networks use
    channels last. If a goal is not met, the reason is shown by the forward pass, backward pass and optimizer of the
    same rounds, by a copy of memory, by the number of operator calls, and by a large batch. Two methods that torch
    offers are also tried: `torch.compile`, and updates that are recomputed in the backward pass.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 1 to 15 rounds, 454 s in all.

Reached: NOT MET: time of every_layer / baseline, resnet50, 128 px, float32, batch 16: the ratio of multiply-adds +
    0.05: 1.34 (≤ 1.17); time of every_layer / concatenated, resnet50, 128 px, float32, batch 16: 0.366 (≤ 0.92); time
    of every_layer, conv_sigmoid / baseline, resnet50, 128 px, float32, batch 16: the ratio of multiply-adds + 0.05:
    2.48 (≤ 2.84); time of every_layer, conv_sigmoid / concatenated, resnet50, 128 px, float32, batch 16: 0.75 (≤
    0.92); NOT MET: time of every_layer / baseline, resnet50, 128 px, bfloat16, batch 16: the ratio of multiply-adds +
    0.05: 1.37 (≤ 1.17); time of every_layer / concatenated, resnet50, 128 px, bfloat16, batch 16: 0.425 (≤ 0.92);
    time of every_layer, conv_sigmoid / baseline, resnet50, 128 px, bfloat16, batch 16: the ratio of multiply-adds +
    0.05: 2.71 (≤ 2.84); time of every_layer, conv_sigmoid / concatenated, resnet50, 128 px, bfloat16, batch 16: 0.893
    (≤ 0.92); NOT MET: time of every_layer / baseline, small_resnet, 64 px, float32, batch 32: the ratio of
    multiply-adds + 0.05: 1.2 (≤ 1.06); time of every_layer / concatenated, small_resnet, 64 px, float32, batch 32:
    0.726 (≤ 0.92); time of every_layer, conv_sigmoid / baseline, small_resnet, 64 px, float32, batch 32: the ratio of
    multiply-adds + 0.05: 2.2 (≤ 3.62); time of every_layer, conv_sigmoid / concatenated, small_resnet, 64 px,
    float32, batch 32: 0.903 (≤ 0.92); NOT MET: time of every_layer / baseline, small_resnet, 64 px, bfloat16, batch
    32: the ratio of multiply-adds + 0.05: 1.29 (≤ 1.06); time of every_layer / concatenated, small_resnet, 64 px,
    bfloat16, batch 32: 0.796 (≤ 0.92); time of every_layer, conv_sigmoid / baseline, small_resnet, 64 px, bfloat16,
    batch 32: the ratio of multiply-adds + 0.05: 2.43 (≤ 3.62); NOT MET: time of every_layer, conv_sigmoid /
    concatenated, small_resnet, 64 px, bfloat16, batch 32: 0.927 (≤ 0.92).
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch.autograd.profiler import profile

from aimlib.training.heap import kept_heap
from bench.harness import Answer, Asked, Goal, Row, main, ratios, rounds_of, row, timed
from bench.networks import ARMS, BASELINE, RECOMPUTED, Case, Step, by_concatenation, cases, step

_OVER_BASELINE, _OVER_RIVAL = 0.05, 0.92
_PARTS = ("forward", "backward", "optimizer")
_MANY = 64
"""Number of images in the large batch, as in the protocol `controlled`."""

_PASSES = 10
"""Number of times per step that a tensor as large as the weights is read or written. The forward and the backward pass
read the weights, and the backward pass writes the gradients. Then the optimizer reads weights, gradients and both
moments, and writes weights and moments."""

_WHY_RIVAL = (
    "The update blocks account for most of this arm's multiply-adds, and in these blocks the two differ only in "
    "how they take in the memory."
)

Parts = tuple[float, float, float]


@dataclass(frozen=True)
class _Found:
    """Seconds per round for each subject of a case, and facts about the networks.

    Attributes
    ----------
    parts : mean seconds per step in each round, for the forward pass, the backward pass and the optimizer.
    weights : size of the parameters, in MiB.
    multiply_adds : multiply-adds per image in the batch.
    operators : number of operators called in a step, including operators called by others.
    """

    case: Case
    parts: Mapping[str, Sequence[Parts]]
    weights: Mapping[str, float]
    multiply_adds: Mapping[str, int]
    operators: Mapping[str, int]

    def seconds(self, subject: str) -> list[float]:
        return [sum(parts) for parts in self.parts[subject]]

    def ratio(self, of: str, to: str) -> list[float]:
        return ratios(self.seconds(of), self.seconds(to))

    def counted(self, arm: str) -> float:
        """Return the ratio of the arm's multiply-adds to the baseline's."""
        return self.multiply_adds[arm] / self.multiply_adds[BASELINE]

    def rows(self) -> list[Row]:
        case, subjects = str(self.case), [name for name in (BASELINE, *ARMS) if name in self.parts]
        found = [row(case, name, [1000 * value for value in self.seconds(name)], "ms") for name in self.parts]
        for name in subjects:
            for part, values in zip(_PARTS, zip(*self.parts[name], strict=True), strict=True):
                found.append(row(case, f"{name}: {part}", [1000 * value for value in values], "ms"))
        return found + [row(case, f"{arm} / {BASELINE}", self.ratio(arm, BASELINE), "×") for arm in subjects[1:]]


def measure(asked: Asked) -> Answer:
    """Time steps case by case, with the heap settings of a run; the subjects of a case take turns."""
    device = torch.device(asked.device)
    with kept_heap(device):
        return _measured(asked, device)


def _measured(asked: Asked, device: torch.device) -> Answer:
    asked_about = cases(asked.quick)
    speed = _bytes_per_second(device, asked.quick)
    rows = [row("memory", "copy", [value / 1e9 for value in speed], "GB/s")]
    large: _Found | None = None
    if not asked.quick:
        large = _find(replace(asked_about[0], batch=_MANY), (BASELINE, ARMS[0]), device, rounds=5, steps=1, warm_up=5)
        rows += large.rows()
    goals: list[Goal] = []
    for case in asked_about:
        small = case.name != "resnet50"
        subjects = (BASELINE, *ARMS, *map(by_concatenation, ARMS), *([RECOMPUTED] if small else []))
        rounds, steps = (1, 1) if asked.quick else (15, 5) if small else (5, 1)
        found = _find(case, subjects, device, rounds, steps)
        rows += found.rows()
        goals += _goals(found, statistics.median(speed), large)
    notes = [_recomputing(rows, case) for case in asked_about if case.name != "resnet50"]
    if large is not None and device.type == "cpu":
        compiled, said = _compiled(asked_about[2], device)
        rows, notes = rows + compiled, notes + said
    return Answer(rows, goals, notes)


def _find(
    case: Case, subjects: Sequence[str], device: torch.device, rounds: int, steps: int, warm_up: int = 1
) -> _Found:
    """Time steps after `warm_up` rounds, because large batches are slow until the process has mapped enough RAM."""
    taken = {subject: step(case, subject, device) for subject in subjects}
    found: dict[str, list[Parts]] = {subject: [] for subject in subjects}

    def one(subject: str) -> Callable[[], float]:
        def call() -> float:
            parts = [taken[subject].take() for _ in range(steps)]
            found[subject].append(tuple(statistics.fmean(of) for of in zip(*parts, strict=True)))  # type: ignore[arg-type]
            return sum(found[subject][-1])

        return call

    operators = {subject: _operators(taken[subject]) for subject in subjects}
    rounds_of({subject: one(subject) for subject in subjects}, rounds, warm_up=warm_up if rounds > 1 else 0)
    weights = {
        subject: sum(p.numel() * p.element_size() for p in taken[subject].network.parameters()) / 2**20
        for subject in subjects
    }
    counted = {subject: case.multiply_adds(subject) for subject in subjects if subject in (BASELINE, *ARMS)}
    return _Found(case, {name: parts[-rounds:] for name, parts in found.items()}, weights, counted, operators)


def _operators(taken: Step) -> int:
    taken.take()
    with profile() as profiler:
        taken.take()
    return sum(event.name.startswith("aten::") for event in profiler.function_events)


def _bytes_per_second(device: torch.device, quick: bool) -> list[float]:
    """Return how many bytes per second are read and written while a large tensor is copied."""
    source = torch.ones(2**22 if quick else 2**26, device=device)
    target = torch.ones_like(source)

    def copy() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    copy()
    once = timed(copy)
    return [2 * source.numel() * source.element_size() / once() for _ in range(1 if quick else 9)]


def _goals(found: _Found, speed: float, large: _Found | None) -> list[Goal]:
    goals = []
    for arm in ARMS:
        limit = found.counted(arm) + _OVER_BASELINE
        time_ratio = row("", "", found.ratio(arm, BASELINE), "×").figure
        goals.append(
            Goal(
                f"time of {arm} / {BASELINE}, {found.case}: the ratio of multiply-adds + {_OVER_BASELINE}",
                time_ratio,
                limit,
                "most",
                "" if time_ratio <= limit else _why(found, arm, speed, large),
            )
        )
        rival = row("", "", found.ratio(arm, by_concatenation(arm)), "×").figure
        goals.append(
            Goal(
                f"time of {arm} / concatenated, {found.case}",
                rival,
                _OVER_RIVAL,
                "most",
                "" if rival <= _OVER_RIVAL else _WHY_RIVAL,
            )
        )
    return goals


def _why(found: _Found, arm: str, speed: float, large: _Found | None) -> str:
    """Return why the step takes longer than its multiply-adds suggest, with figures from these rounds."""
    longer = [
        statistics.median(
            [1000 * (a[part] - b[part]) for a, b in zip(found.parts[arm], found.parts[BASELINE], strict=True)]
        )
        for part in range(3)
    ]
    base = 1000 * statistics.median(found.seconds(BASELINE))
    counted = (found.counted(arm) - 1) * base
    said = (
        f"{_ms(sum(longer))} ms more: {_ms(longer[0])} in the forward pass, {_ms(longer[1])} in the backward pass, "
        f"{_ms(longer[2])} in the optimizer. At the baseline's rate, the additional multiply-adds take "
        f"{_ms(counted)} ms."
    )
    if found.case.name != "resnet50":
        return (
            f"{said} Multiply-adds do not include passes over outputs and small operations: a step calls "
            f"{found.operators[arm]:,} operators instead of {found.operators[BASELINE]:,}."
        )
    more = found.weights[arm] - found.weights[BASELINE]
    moved = 1000 * _PASSES * more * 2**20 / speed
    said += (
        f" Nor do they include that {more:.0f} MiB of additional weights are moved {_PASSES} times per step, with "
        f"gradients and moments, for one image as for 1,000: {_ms(moved)} ms at {speed / 1e9:.3g} GB/s, the speed "
        "of a copy on this machine."
    )
    if large is None or arm != ARMS[0] or found.case.precision != large.case.precision:
        return said
    ratio = statistics.median(large.ratio(arm, BASELINE))
    return (
        f"{said} With {_MANY} images, the ratio is {ratio:.3g}, and that of the multiply-adds is "
        f"{large.counted(arm):.3g}."
    )


def _ms(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _recomputing(rows: Sequence[Row], case: Case) -> str:
    time_of = {found.subject: found.figure for found in rows if found.case == str(case)}
    ratio = time_of[RECOMPUTED] / time_of[ARMS[1]]
    return (
        f"{case}: if the backward pass recomputes the updates instead of keeping their maps (`bench.step_memory`), "
        f"a step of {ARMS[1]} takes {ratio:.3g} times as long. This is not offered as an option."
    )


def _compiled(case: Case, device: torch.device) -> tuple[list[Row], list[str]]:
    """Return the cost and the benefit of `torch.compile` for the network of `every_layer`, and a conclusion."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        return [], ["torch.compile was not tried: there is no C++ compiler on this machine."]
    name = f"{case}, torch.compile"
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
        plain, compiled = (step(case, ARMS[0], device) for _ in range(2))
        compiled.network.compile()
        began = time.perf_counter()
        compiled.take()
        first = time.perf_counter() - began
        plain.take()
        weights = zip(plain.network.parameters(), compiled.network.parameters(), strict=True)
        equal = all(torch.equal(one, other) for one, other in weights)
        seconds = rounds_of({"plain": timed(plain.take, 5), "compiled": timed(compiled.take, 5)}, 10)
    rows = [row(name, f"{ARMS[0]}: first step", [first], "s")]
    rows += [
        row(name, f"{ARMS[0]}, {who}", [1000 * value for value in values], "ms") for who, values in seconds.items()
    ]
    gain = statistics.median(seconds["plain"]) - statistics.median(seconds["compiled"])
    pays = f"pays off after {first / gain:,.0f} steps" if gain > 0 else "never pays off"
    return rows, [
        f"{name}: with an empty cache, compilation {pays} (a typical run of this network has about 1,200). After "
        f"one step, the weights are {'bitwise identical' if equal else 'not bitwise identical'}. Every attempt of "
        "a run, in a new process or on a different node, would compile again, and its results would depend on the "
        "compiler's choices. This is not offered as an option."
    ]


if __name__ == "__main__":
    main(__doc__, measure)
