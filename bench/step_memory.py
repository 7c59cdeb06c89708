"""How much memory does a training step take?

Question: What is the peak memory of an AiM training step, in units of the baseline's peak?

Rivals: The same networks with concatenation, and the steps of `bench.training_step`. On a CPU, the peak covers all of
    torch's allocations in one step after an initial step, as well as weights and optimizer state
    (`aimlib.training.footprint.on_cpu`); on a GPU, it is `torch.cuda.max_memory_allocated`. Allocations are the same in
    every step, so one round is enough. The memory that forward passes keep is determined from autograd's graph. An
    additional arm is the shipped arm with updates that are recomputed in the backward pass.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 1 rounds, 132 s in all.

Reached: NOT MET: peak memory of every_layer / baseline, resnet50, 128 px, float32, batch 16: 2.56 (≤ 1.05); NOT MET:
    peak memory of every_layer, conv_sigmoid / baseline, resnet50, 128 px, float32, batch 16: 2.73 (≤ 1.05); NOT MET:
    peak memory of every_layer / baseline, resnet50, 128 px, bfloat16, batch 16: 3.14 (≤ 1.05); NOT MET: peak memory
    of every_layer, conv_sigmoid / baseline, resnet50, 128 px, bfloat16, batch 16: 3.27 (≤ 1.05); peak memory of
    every_layer / baseline, small_resnet, 64 px, float32, batch 32: 1.02 (≤ 1.05); NOT MET: peak memory of
    every_layer, conv_sigmoid / baseline, small_resnet, 64 px, float32, batch 32: 1.6 (≤ 1.05); peak memory of
    every_layer / baseline, small_resnet, 64 px, bfloat16, batch 32: 1.04 (≤ 1.05); NOT MET: peak memory of
    every_layer, conv_sigmoid / baseline, small_resnet, 64 px, bfloat16, batch 32: 1.61 (≤ 1.05).
"""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from aimlib.training.footprint import on_cpu, on_gpu
from bench.harness import Answer, Asked, Goal, Row, main, row
from bench.networks import ARMS, BASELINE, RECOMPUTED, Case, Step, by_concatenation, cases, step

_LIMIT = 1.05


@dataclass(frozen=True)
class _Held:
    """Device memory or RAM used by a step, in MiB.

    Attributes
    ----------
    peak : the maximum.
    weights : size of the weights, their gradients and both moments.
    kept : size of the tensors that the forward pass keeps for the backward pass, by the operator that needs them.
        Tensors that several operators need count for the operator that comes last in the forward pass.
    """

    peak: float
    weights: float
    kept: Counter[str]


def measure(asked: Asked) -> Answer:
    """Measure the memory use of one step for every subject."""
    rows: list[Row] = []
    goals: list[Goal] = []
    for case in cases(asked.quick):
        found = {}
        for subject in (BASELINE, *ARMS, *map(by_concatenation, ARMS), RECOMPUTED):
            found[subject] = _held(case, subject, torch.device(asked.device))
            gc.collect()
        rows += [row(str(case), name, [held.peak], "MiB") for name, held in found.items()]
        for name in (BASELINE, *ARMS):
            held = found[name]
            rows.append(row(str(case), f"{name}: weights, gradients, moments", [held.weights], "MiB"))
            rows.append(row(str(case), f"{name}: kept for the backward pass", [held.kept.total()], "MiB"))
        for arm in ARMS:
            ratio = found[arm].peak / found[BASELINE].peak
            rows.append(row(str(case), f"{arm} / {BASELINE}", [ratio], "×"))
            rows.append(
                row(str(case), f"{arm} / concatenated", [found[arm].peak / found[by_concatenation(arm)].peak], "×")
            )
            why = "" if ratio <= _LIMIT else _why(found[arm], found[BASELINE])
            if why and arm == ARMS[1]:
                again = found[RECOMPUTED].peak
                why += (
                    f" If the backward pass recomputed the updates, the peak would be {again:.4g} MiB, "
                    f"{again / found[BASELINE].peak:.3g} times that of the baseline (for the time, see "
                    "`bench.training_step`)."
                )
            goals.append(Goal(f"peak memory of {arm} / {BASELINE}, {case}", ratio, _LIMIT, "most", why))
    return Answer(rows, goals)


def _why(arm: _Held, base: _Held) -> str:
    more = arm.kept.copy()
    more.subtract(base.kept)
    most = ", ".join(f"{name} {amount:.3g}" for name, amount in more.most_common(4) if amount >= 0.05)
    weights = arm.weights - base.weights
    return (
        f"{arm.peak - base.peak:.4g} MiB more. The weights of memory, readers and updates, with gradients and "
        f"AdamW's two moments, take {weights:.4g} MiB, regardless of the batch; without them, the ratio is "
        f"{(arm.peak - weights) / base.peak:.3g}. Forward passes keep {arm.kept.total():.4g} MiB for the backward "
        f"pass instead of {base.kept.total():.4g}; the difference is needed by: {most}."
    )


def _held(case: Case, subject: str, device: torch.device) -> _Held:
    taken = step(case, subject, device)
    taken.take()
    found = (
        on_gpu([taken.take], device) if device.type == "cuda" else on_cpu([taken.take], taken.network, taken.optimizer)
    )
    if found is None:
        raise RuntimeError("this build of torch does not report allocations on the CPU")
    parameters = 4 * sum(p.numel() * p.element_size() for p in taken.network.parameters())
    kept = Counter() if subject == RECOMPUTED else _kept(taken)
    return _Held(found.allocated / 2**20, parameters / 2**20, kept)


def _kept(taken: Step) -> Counter[str]:
    """Return the size of the tensors in a forward pass's graph, without weights and buffers, by operator, in MiB."""
    loss = taken.loss()
    seen = {tensor.untyped_storage()._cdata for tensor in (*taken.network.parameters(), *taken.network.buffers())}
    kept: Counter[str] = Counter()
    waiting, met = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        waiting += [following for following, _ in node.next_functions]
        for name in dir(node):
            tensor = getattr(node, name) if name.startswith("_saved_") else None
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in seen:
                seen.add(tensor.untyped_storage()._cdata)
                kept[node.name().removesuffix("0").removesuffix("Backward")] += (
                    tensor.untyped_storage().nbytes() / 2**20
                )
    return kept


if __name__ == "__main__":
    main(__doc__, measure)
