"""A training step and an evaluation of every arm in every full-size study, under the conditions to be tested."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from ablations.planning.arms import shape_of
from aimlib.datasets.base import DataSet, ImageShape
from aimlib.training.epoch import Epoch
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run
from bench.gpu.arms import Named, any_start, changed, every_arm, give_back, has, noise, wait_for
from bench.gpu.report import Report

_RESERVE_S = 4.0
"""Number of seconds reserved for the messages at the end."""

Conditions = Callable[[Report], AbstractContextManager[None]]


def try_every_arm(told: Report, conditions: Conditions, text: str) -> None:
    """Test the arms one after another, and report those for which no time is left."""
    wanted, tried, broken = every_arm(told), 0, 0
    data: dict[ImageShape, DataSet] = {}
    for named in wanted:
        if told.left() < _RESERVE_S:
            break
        tried += 1
        try:
            _try(told, named, data, conditions)
        except Exception as error:  # noqa: BLE001 -- the other arms are tested nevertheless
            broken += 1
            first = next(iter(str(error).strip().splitlines()), "")
            told.expect(False, f"{text}, {named.name}", f"{type(error).__name__}: {first[:300]}")
        give_back(told.device)
    told.expect(broken == 0, f"{text}, in {tried} arms", f"not in {broken}")
    left = [named.name for named in wanted[tried:]]
    if left:
        told.unmeasured(f"{len(left)} arms", f"no time was left: {', '.join(left)}")


def _try(told: Report, named: Named, data: dict[ImageShape, DataSet], conditions: Conditions) -> None:
    """As a warm-up, take two steps and evaluate a batch; then do the same under the conditions to be tested."""
    # Steps are eager, because the work of a graph is already fixed when the graph is captured.
    eager = {"step": "eager"} if has("step") else {}
    config = changed(named.arm.config, batch_size=told.choose(4, 2), **eager)
    shape, device = shape_of(config), told.device
    if shape not in data:
        data.clear()  # except for the first arms, arms with equal shapes follow one another
        data[shape] = noise(shape, 16)
    with any_start(), reproducible(threads=None, tf32=config.training.tf32):
        run = Run(config, data[shape], device)
        under_way = Epoch(1, 0, device)
        size = config.training.batch_size
        run.network.train()
        for number in range(2):
            _step(run, under_way, number * size, size)
        _evaluate(run)
        wait_for(device)
        with conditions(told):
            run.network.train()
            _step(run, under_way, 2 * size, size)
            _evaluate(run)
        wait_for(device)
        if not torch.isfinite(under_way.loss):
            told.note(f"{named.name}: the loss is not finite; the networks start with torch's initial values here")


def _step(run: Run, under_way: Epoch, first: int, size: int) -> None:
    under_way.add(*run.step(run.training[first : first + size], 1), size)


class _Enough(Exception):
    """Ends an evaluation after its first batch, because the end of a complete evaluation waits for the device."""


def _evaluate(run: Run) -> None:
    def leave() -> None:
        raise _Enough

    with contextlib.suppress(_Enough):
        run.evaluate(Epoch(1, 0, run.device), leave)
