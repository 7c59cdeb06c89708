"""How much longer is a training step with memory?

Question: How much longer is a training step (forward, backward, optimizer) of AiM than of the baseline, with a memory
    that every layer reads and no update rewrites (`every_layer`), and in the arm of the shipped studies, whose memory
    `conv_ones` is rewritten by `conv_sigmoid` after every stage?

Rivals: The same networks as the post describes them, in the same run: the memory, repeated for every image,
    concatenated to the input of every layer that reads and of every update block. The limit is the ratio of
    multiply-adds per image that `ablate check` prints. Batches and memories are those of studies: ResNet50 16 images
    as in `as_described`, the small ResNet 32 as in `controlled_small`; AdamW in fused steps
    (`training.optimizer.fused: true`), channels last for all.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 5 to 15 rounds, 362 s in all.

Reached: NOT MET: time of every_layer / baseline, resnet50, 128 px, float32, batch 16: the ratio of multiply-adds +
    0.05: 1.73 (≤ 1.17); time of every_layer / concatenated, resnet50, 128 px, float32, batch 16: 0.457 (≤ 0.92); time
    of every_layer, conv_sigmoid / baseline, resnet50, 128 px, float32, batch 16: the ratio of multiply-adds + 0.05:
    2.78 (≤ 2.84); time of every_layer, conv_sigmoid / concatenated, resnet50, 128 px, float32, batch 16: 0.835 (≤
    0.92); NOT MET: time of every_layer / baseline, resnet50, 128 px, bfloat16, batch 16: the ratio of multiply-adds +
    0.05: 1.51 (≤ 1.17); time of every_layer / concatenated, resnet50, 128 px, bfloat16, batch 16: 0.478 (≤ 0.92); NOT
    MET: time of every_layer, conv_sigmoid / baseline, resnet50, 128 px, bfloat16, batch 16: the ratio of
    multiply-adds + 0.05: 2.92 (≤ 2.84); time of every_layer, conv_sigmoid / concatenated, resnet50, 128 px, bfloat16,
    batch 16: 0.877 (≤ 0.92); NOT MET: time of every_layer / baseline, small_resnet, 64 px, float32, batch 32: the
    ratio of multiply-adds + 0.05: 1.19 (≤ 1.06); time of every_layer / concatenated, small_resnet, 64 px, float32,
    batch 32: 0.729 (≤ 0.92); time of every_layer, conv_sigmoid / baseline, small_resnet, 64 px, float32, batch 32:
    the ratio of multiply-adds + 0.05: 2.19 (≤ 3.62); time of every_layer, conv_sigmoid / concatenated, small_resnet,
    64 px, float32, batch 32: 0.905 (≤ 0.92); NOT MET: time of every_layer / baseline, small_resnet, 64 px, bfloat16,
    batch 32: the ratio of multiply-adds + 0.05: 1.28 (≤ 1.06); time of every_layer / concatenated, small_resnet, 64
    px, bfloat16, batch 32: 0.801 (≤ 0.92); time of every_layer, conv_sigmoid / baseline, small_resnet, 64 px,
    bfloat16, batch 32: the ratio of multiply-adds + 0.05: 2.42 (≤ 3.62); NOT MET: time of every_layer, conv_sigmoid /
    concatenated, small_resnet, 64 px, bfloat16, batch 32: 0.923 (≤ 0.92).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from bench.harness import Answer, Asked, Goal, Row, main, ratios, rounds_of, row, timed
from bench.networks import ARMS, BASELINE, Case, by_concatenation, cases, step

_OVER_BASELINE, _OVER_RIVAL = 0.05, 0.92

_WHY = {
    "resnet50": "The network has 105 million parameters instead of the baseline's 24 million: their gradients and "
    "moments are read and written once per step, for 16 images as for 1,000, which multiply-adds do not count.",
    "small_resnet": "Multiply-adds do not count passes over outputs and small operations; reading adds several.",
}

_WHY_RIVAL = (
    "The update blocks are most of this arm's multiply-adds, and the two differ there only in how they take the memory."
)


def measure(asked: Asked) -> Answer:
    """Time steps case by case; the subjects of a case take turns."""
    rows: list[Row] = []
    goals: list[Goal] = []
    for case in cases(asked.quick):
        found = _rounds(case, torch.device(asked.device), asked.quick)
        rows += [row(str(case), name, [1000 * value for value in values], "ms") for name, values in found.items()]
        for arm in ARMS:
            rows.append(row(str(case), f"{arm} / {BASELINE}", ratios(found[arm], found[BASELINE]), "×"))
        goals += _goals(case, found)
    return Answer(rows, goals)


def _rounds(case: Case, device: torch.device, quick: bool) -> dict[str, list[float]]:
    subjects = {}
    for subject in (BASELINE, *ARMS, *map(by_concatenation, ARMS)):
        taken = step(case, subject, device).take
        taken()
        subjects[subject] = timed(taken, 1 if quick or case.name == "resnet50" else 5)
    return rounds_of(subjects, 1 if quick else 5 if case.name == "resnet50" else 15, warm_up=0 if quick else 1)


def _goals(case: Case, found: Mapping[str, Sequence[float]]) -> list[Goal]:
    goals = []
    for arm in ARMS:
        limit = case.multiply_adds(arm) / case.multiply_adds(BASELINE) + _OVER_BASELINE
        time = row("", "", ratios(found[arm], found[BASELINE]), "×").figure
        goals.append(
            Goal(
                f"time of {arm} / {BASELINE}, {case}: the ratio of multiply-adds + {_OVER_BASELINE}",
                time,
                limit,
                "most",
                "" if time <= limit else _WHY[case.name],
            )
        )
        rival = row("", "", ratios(found[arm], found[by_concatenation(arm)]), "×").figure
        goals.append(
            Goal(
                f"time of {arm} / concatenated, {case}",
                rival,
                _OVER_RIVAL,
                "most",
                "" if rival <= _OVER_RIVAL else _WHY_RIVAL,
            )
        )
    return goals


if __name__ == "__main__":
    main(__doc__, measure)
