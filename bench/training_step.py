"""How much longer is a training step with memory?

Question: How much longer is a training step (forward, backward, optimizer) of AiM than of the baseline, with a memory
    that every layer reads and no update rewrites (`every_layer`), and in the arm of the shipped studies, whose memory
    `conv_ones` is rewritten by `conv_sigmoid` after every stage?

Rivals: The same networks as the post describes them, in the same run: the memory, repeated for every image,
    concatenated to the input of every layer that reads and of every update block. The limit is the ratio of
    multiply-adds per image that `ablate check` prints. Batches and memories are those of studies: ResNet50 16 images
    as in `as_described`, the small ResNet 32 as in `controlled_small`; AdamW in fused steps
    (`training.optimizer.fused: true`), channels last for all.

Measured: not yet.

Reached: nothing yet.
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
