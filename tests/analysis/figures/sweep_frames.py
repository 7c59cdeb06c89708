"""Data frames with the runs and epochs of sweeps of any size, with known effects."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

PLACEMENTS = ("block_entry", "stage_only", "every_layer", "input_only", "deep_convolutions")
UPDATES = ("none", "gated", "conv_sigmoid", "residual")
BATCHES = (16, 32, 64, 128, 256)
RATES = (1e-4, 3e-4, 1e-3, 1e-2)
FACTORS = ["placement", "update", "batch_size", "learning_rate", "amp"]
GAIN = dict(zip(PLACEMENTS, (0.0, 0.01, 0.02, 0.03, 0.04), strict=True))


def sweep(arms: int, seeds: int = 3, draw: int = 0) -> pd.DataFrame:
    """Return the runs of a baseline without options and of `arms` - 1 combinations; placements gain 0 to 4 pp."""
    rng = np.random.default_rng(draw)
    combinations = list(itertools.product(PLACEMENTS, UPDATES, BATCHES, RATES))
    chosen = rng.permutation(len(combinations))[: arms - 1]
    rows = []
    for number in range(arms):
        placement, update, batch, rate = combinations[chosen[number - 1]] if number else (None, None, None, 1e-3)
        name = f"aim[placement={placement},update={update},batch_size={batch},lr={rate}]" if number else "baseline"
        gain = GAIN[placement] if placement else -0.01
        for seed in range(seeds):
            accuracy = 0.6 + gain + 0.002 * seed + rng.normal(0, 0.003)
            options = (placement, update, batch, rate, number % 2 == 0 if number else None)
            rows.append(
                (f"{number}-{seed}", name, seed, "finished", accuracy, accuracy - 0.01, 1e6 + 9e4 * number, *options)
            )
    names = ["run_id", "arm", "seed", "status", "validation_accuracy", "test_accuracy", "parameters", *FACTORS]
    frame = pd.DataFrame(rows, columns=names)
    frame = frame.assign(multiply_adds=4e9, seconds=20.0 + frame["parameters"] / 1e6, epochs_run=4)
    return frame.astype({"placement": "str", "update": "str", "batch_size": "Int64", "amp": "boolean"})


def curves_of(runs: pd.DataFrame, epochs: int = 4) -> pd.DataFrame:
    """Return the epochs of runs; the accuracy rises in equal steps to its final value."""
    rows = [
        (run.run_id, run.arm, run.seed, epoch, run.validation_accuracy * epoch / epochs)
        for run in runs.itertuples()
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows, columns=["run_id", "arm", "seed", "epoch", "validation_accuracy"])
