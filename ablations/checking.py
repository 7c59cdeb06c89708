"""`ablate check`: what a study will run and cost, and what is wrong with it, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablations import planning
from ablations.arms import Arm, differences
from ablations.estimate import Cost, estimate, packing
from ablations.planning import Plan
from ablations.resources import Resources
from ablations.scope import reference
from ablations.study import read_study
from analysis.looks import Looks
from analysis.options import written


@dataclass(frozen=True)
class Check:
    """Result of checking a study that has no problem.

    Attributes
    ----------
    plan : what will run.
    cost : None where timing was not asked for.
    notes : what is worth knowing and stops nothing.
    """

    plan: Plan
    cost: Cost | None
    notes: tuple[str, ...]


def check(study: str | Path, overrides: Iterable[str] = (), *, timing: bool = True) -> Check:
    """Validate a study whole, without running it.

    Raises
    ------
    ConfigError: with one message per problem; those of missing data come only when there is no other.
    """
    file = read_study(study, overrides)
    plan = planning.plan(file)
    cost = estimate(plan, min(parallel_here(arm.resources) for arm in plan.arms)) if timing else None
    notes = [*_notes(plan), *_nondeterministic(plan)]
    if file.spec.search is not None:
        from ablations import screening  # noqa: PLC0415 -- imports optuna and the launcher

        notes += screening.check(file)
    if cost is not None:
        notes += packing(cost, {arm.name: arm.resources.gpus for arm in plan.arms})
    if cost is not None and file.spec.resources.gpus > 0 and cost.device == "cpu":
        notes.append("cost: timed on this machine's CPU, as it has no GPU; the study asks for one and will be faster")
    return Check(plan, cost, tuple(notes))


def parallel_here(resources: Resources) -> int:
    """Return how many runs this machine computes at once."""
    fitting = (os.cpu_count() or 1) // resources.cpus
    if resources.gpus > 0:
        import torch  # noqa: PLC0415

        fitting = min(fitting, int(torch.cuda.device_count() / resources.gpus + 1e-9))
    return max(1, fitting)


def _notes(plan: Plan) -> Iterable[str]:
    for arm in plan.arms:
        attachment = plan.summaries[arm.name].attachment
        skipped = list(attachment.skipped.items())
        for layer, reason in skipped[:_SHOWN]:
            yield f"arms.{arm.name}: layer {layer} does not read the memory: {reason}"
        if len(skipped) > _SHOWN:
            names = ", ".join(layer for layer, _ in skipped[_SHOWN:])
            yield f"arms.{arm.name}: nor do {len(skipped) - _SHOWN} others, for such reasons: {names}"
        static = sum(reading.memory == "static" for reading in attachment.readers)
        if static:
            yield (
                f"arms.{arm.name}: {static} of {len(attachment.readers)} reads are of the second memory, which no "
                f"update reaches (routing: as_run)"
            )
        for place in attachment.unread_updates:
            yield f"arms.{arm.name}: no update after {place}: no later layer would read it"
        if _widened(arm, plan):
            yield f"arms.{arm.name}: widened, so its layers do not start as those of the other arms do"
    seeds, looks = len(plan.study.spec.seeds), Looks(plan.study.spec.looks, further_block=plan.study.spec.further_block)
    if seeds < looks.numbers[0]:
        yield f"seeds: {seeds} pairs are a screening; a verdict needs at least {looks.numbers[0]}"
    elif seeds not in looks.numbers:
        yield (
            f"seeds: {seeds} lie between looks; the verdict is that of the first {looks.reached(seeds)[-1]}, and the "
            f"others decide nothing (looks: {', '.join(map(str, looks.numbers))})"
        )
    roles = {arm.role for arm in plan.arms}
    yield from (
        f"no arm has the role {role!r}, so there is no verdict" for role in ("baseline", "aim") if role not in roles
    )


_SHOWN = 3
"""So many layers that do not read are told with their reasons."""


def _nondeterministic(plan: Plan) -> Iterable[str]:
    for arm in plan.arms:
        if arm.resources.trained_on == "cuda":
            for layer in plan.summaries[arm.name].nondeterministic_on_gpu:
                yield (
                    f"arms.{arm.name}: layer {layer}: CUDA has no deterministic backward pass of this pooling, so a "
                    f"run that is repeated may differ in its last bits; choose a size of images at which it has "
                    f"nothing to pool"
                )


def _widened(arm: Arm, plan: Plan) -> bool:
    """Tell whether an arm has other widths than the arm that it is made from."""
    origin = next((other for other in plan.arms if other.name == arm.of), None)
    if origin is None:
        return False
    widths = [getattr(each.config.model.backbone, "widths", None) for each in (arm, origin)]
    return widths[0] != widths[1]


def differing(plan: Plan) -> dict[str, list[str]]:
    """Return, for every arm, what differs from the baseline, as ``option: baseline's value -> own value``."""
    baseline = reference(plan.arms)
    return {
        arm.name: [
            f"{item['option']}: {written(item['baseline'])} -> {written(item['value'])}"
            for item in differences(arm, baseline)
        ]
        for arm in plan.arms
    }
