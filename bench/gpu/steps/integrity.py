"""Do spot checks and the reference step detect wrong bits, and only wrong bits, and what do they cost?"""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.errors import ComputingError
from aimlib.training import reference_step
from aimlib.training.loop import train
from aimlib.training.reproducibility import reproducible
from aimlib.training.spot_checks import SHARE, SpotBudget, SpotChecks
from bench.gpu.arms import Trainer, arms_of_study, changed, graphs, has, noise, wait_for
from bench.gpu.report import Report
from bench.gpu.steps.same_bits import _BATCHES, CASES, _digests, config_of
from bench.harness import Goal

_REFERENCE_GOAL_S = 0.05
_ROUNDS = 5


def check(told: Report) -> None:
    """Repeat every step in every step mode; inject an error; time a check and the reference step."""
    _reference(told)
    modes = ["eager", "graph"] if has("step") else ["eager"]
    for mode in modes:
        for case, model in CASES.items():
            name = case if mode == "eager" else f"{case}, {mode}"
            _same_with_and_without(told, name, config_of(model, mode), mode)
    _planted(told)
    _cost(told)


def _trained(told: Report, config: RunConfig, mode: str, budget: SpotBudget | None, folder: str) -> tuple[Any, Any]:
    data = noise(shape_of(config), _BATCHES * config.training.batch_size)
    place = told.scratch / folder
    with graphs(told.device) if mode == "graph" else contextlib.nullcontext():
        outcome = train(
            config,
            data,
            device=told.device,
            threads=1,
            checkpoint_directory=place,
            checkpoint_share=math.inf,
            spot_budget=budget,
        )
    return outcome, _digests(place, outcome)


def _same_with_and_without(told: Report, name: str, config: RunConfig, mode: str) -> None:
    folder = name.replace(" ", "-").replace(",", "")
    _, plain = _trained(told, config, mode, None, f"{folder}-plain")
    try:
        outcome, checked = _trained(told, config, mode, SpotBudget(math.inf), f"{folder}-checked")
    except ComputingError as error:
        told.expect(False, f"{name}: every repeated step is bitwise identical", str(error))
        return
    steps = 2 * _BATCHES
    told.expect(outcome.spot_checks == steps, f"{name}: all {steps} steps are repeated", f"{outcome.spot_checks}")
    differing = [part for part in plain if plain[part] != checked[part]]
    told.expect(not differing, f"{name}: bitwise identical with and without spot checks", f"different: {differing}")


def _planted(told: Report) -> None:
    """Flip the last bit of a parameter after one of the steps."""
    taken = [0]

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        taken[0] += 1
        if taken[0] == 5:
            parameter = next(each for each in optimizer.param_groups[0]["params"] if each.dim() == 1).detach()
            parameter[:1] = torch.nextafter(parameter[:1], parameter[:1] + 1)

    hook = register_optimizer_step_post_hook(stepped)
    found = "no error was raised"
    try:
        _trained(told, config_of(CASES["dropout"], "eager"), "eager", SpotBudget(math.inf), "planted")
    except ComputingError as error:
        found = str(error)
    finally:
        hook.remove()
    told.expect("step 3 of epoch 1" in found, "a flipped bit in a parameter is detected", found)


def _reference(told: Report) -> None:
    device = told.device
    with reproducible(threads=1, tf32=False):
        digests = {precision: set() for precision in ("float32", "bfloat16")}  # type: ignore[var-annotated]
        seconds = []
        for precision, found in digests.items():
            for _ in range(_ROUNDS + 1):
                began = time.perf_counter()
                found.add(reference_step.digest_of(device, precision))
                wait_for(device)
                seconds.append(time.perf_counter() - began)
    for precision, found in digests.items():
        told.expect(len(found) == 1, f"the reference step in {precision} is bitwise identical every time", f"{found}")
    usual = told.row("float32", "reference step", seconds[1 : _ROUNDS + 1], "s")
    told.goal(Goal("seconds of a reference step", usual, _REFERENCE_GOAL_S, "most"))


def _cost(told: Report) -> None:
    """Time steps of `controlled` that are all repeated, and steps that are not repeated."""
    rounds = told.choose(_ROUNDS, 1)
    for name, arm in arms_of_study(told, "controlled").items():
        if told.left() < 10:
            told.unmeasured(name, "no time was left")
            continue
        config = changed(arm.run(0))
        with graphs(told.device):
            trainer = Trainer(config, told.device, batches=4)
            trainer.epoch()
            plain = [trainer.epoch() / 4 for _ in range(rounds)]
            checks = SpotChecks(SpotBudget(math.inf), told.device, None, told.note)
            trainer.run.spot_checks = checks
            checked = [trainer.epoch() / 4 for _ in range(rounds)]
        once = told.row(f"controlled {name}", "a step", plain, "s")
        twice = told.row(f"controlled {name}", "a step that is repeated", checked, "s")
        told.expect(checks.made + checks.skipped == 4 * rounds, f"{name}: every step is checked or counted as skipped")
        told.note(
            f"controlled {name}: a check takes {(twice - once) / once:.2f} steps, so one step in "
            f"{(twice - once) / once / SHARE:.0f} is repeated; {checks.skipped} were skipped for lack of memory"
        )
