"""How much memory does a training step take?

Question: How much memory does a training step of AiM hold at its peak, in units of the baseline's?

Rivals: The same networks by concatenation, and the steps of `bench.training_step`. On a CPU counted is every allocation
    of torch in one step after a first one, with weights and optimizer state (`aimlib.training.footprint.on_cpu`); on a
    GPU it is `torch.cuda.max_memory_allocated`. Allocations repeat exactly, so one round is enough.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 1 rounds, 92 s in all.

Reached: NOT MET: peak memory of every_layer / baseline, resnet50, 128 px, float32, batch 16: 2.57 (≤ 1.05); NOT MET:
    peak memory of every_layer, conv_sigmoid / baseline, resnet50, 128 px, float32, batch 16: 2.76 (≤ 1.05); NOT MET:
    peak memory of every_layer / baseline, resnet50, 128 px, bfloat16, batch 16: 3.14 (≤ 1.05); NOT MET: peak memory
    of every_layer, conv_sigmoid / baseline, resnet50, 128 px, bfloat16, batch 16: 3.29 (≤ 1.05); peak memory of
    every_layer / baseline, small_resnet, 64 px, float32, batch 32: 1.02 (≤ 1.05); NOT MET: peak memory of
    every_layer, conv_sigmoid / baseline, small_resnet, 64 px, float32, batch 32: 1.6 (≤ 1.05); peak memory of
    every_layer / baseline, small_resnet, 64 px, bfloat16, batch 32: 1.04 (≤ 1.05); NOT MET: peak memory of
    every_layer, conv_sigmoid / baseline, small_resnet, 64 px, bfloat16, batch 32: 1.61 (≤ 1.05).
"""

from __future__ import annotations

import gc

import torch

from aimlib.training.footprint import on_cpu, on_gpu
from bench.harness import Answer, Asked, Goal, Row, main, row
from bench.networks import ARMS, BASELINE, Case, by_concatenation, cases, step

_LIMIT = 1.05


def measure(asked: Asked) -> Answer:
    """Account for one step of every subject."""
    rows: list[Row] = []
    goals: list[Goal] = []
    for case in cases(asked.quick):
        found = {}
        held = {}
        for subject in (BASELINE, *ARMS, *map(by_concatenation, ARMS)):
            found[subject], held[subject] = _peak(case, subject, torch.device(asked.device))
            gc.collect()
        rows += [row(str(case), name, [value], "MiB") for name, value in found.items()]
        for arm in ARMS:
            ratio = found[arm] / found[BASELINE]
            rows.append(row(str(case), f"{arm} / {BASELINE}", [ratio], "×"))
            rows.append(row(str(case), f"{arm} / concatenated", [found[arm] / found[by_concatenation(arm)]], "×"))
            more = held[arm] - held[BASELINE]
            why = (
                f"{found[arm] - found[BASELINE]:.1f} MiB more. Parameters of memory, readers, updates, with gradients "
                f"and AdamW's two moments, come to {more:.1f} MiB; the backward pass keeps the rest."
            )
            goals.append(
                Goal(
                    f"peak memory of {arm} / {BASELINE}, {case}", ratio, _LIMIT, "most", "" if ratio <= _LIMIT else why
                )
            )
    return Answer(rows, goals)


def _peak(case: Case, subject: str, device: torch.device) -> tuple[float, float]:
    """Return the peak of a step, and what parameters, their gradients and two moments come to, in MiB."""
    taken = step(case, subject, device)
    taken.take()
    found = (
        on_gpu([taken.take], device) if device.type == "cuda" else on_cpu([taken.take], taken.network, taken.optimizer)
    )
    if found is None:
        raise RuntimeError("this build of torch reports no allocations on the CPU")
    parameters = 4 * sum(p.numel() * p.element_size() for p in taken.network.parameters())
    return found.allocated / 2**20, parameters / 2**20


if __name__ == "__main__":
    main(__doc__, measure)
