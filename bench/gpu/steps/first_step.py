"""In a warm worker, how many seconds pass from the start of a run to the end of its first step?"""

from __future__ import annotations

import contextlib
import time

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.training.loop import Paused, train
from bench.gpu.arms import arms_of_study, changed, noise, wait_for
from bench.gpu.report import Report
from bench.harness import Goal

_GOAL_S = 3.0


def check(told: Report) -> None:
    """Start two runs of every arm of `controlled` in a process that was warmed up by a different run.

    The first run of an arm may have to verify that a captured graph computes the same bits as eager steps.
    """
    arms = arms_of_study(told, "controlled")
    cold = _seconds(told, changed(arms["baseline"].run(0), epochs=1))
    told.row("controlled baseline", "first step in a cold worker", [cold], "s")
    found = {}
    for name, arm in arms.items():
        if told.left() < 3 * cold + 1:
            told.unmeasured(name, "no time was left")
            continue
        first, second = (_seconds(told, changed(arm.run(seed), epochs=1)) for seed in (1, 2))
        if name != "baseline":  # the run in the cold worker was the first run of its arm
            told.row(f"controlled {name}", "first step in a warm worker, first run of the arm", [first], "s")
        found[name] = told.row(f"controlled {name}", "first step in a warm worker", [second], "s")
    if found:
        slowest = max(found, key=lambda name: found[name])
        text = f"seconds to the first step in a warm worker, controlled {slowest}"
        told.goal(Goal(text, found[slowest], _GOAL_S, "most"))


def _seconds(told: Report, config: RunConfig) -> float:
    """Return the seconds from the call of `train` to the end of the first training step."""
    data = noise(shape_of(config), 2 * config.training.batch_size)
    done: list[float] = []

    def pause() -> bool:
        wait_for(told.device)
        done.append(time.perf_counter())
        return True

    began = time.perf_counter()
    with contextlib.suppress(Paused):
        train(config, data, device=told.device, pause=pause)
    return done[0] - began
