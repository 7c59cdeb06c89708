"""What `ablate check` says about a plan that has no problem: what is worth knowing and stops nothing."""

from __future__ import annotations

from collections.abc import Iterable

from ablations.estimation import numerics
from ablations.planning.arms import Arm, differences
from ablations.planning.plan import Plan
from ablations.planning.protocol import reference
from ablations.spec.resources import idle_gpus
from analysis.looks import Looks
from analysis.number_format import option as written

_SHOWN = 3
"""So many layers that do not read are told with their reasons."""


def notes(plan: Plan) -> Iterable[str]:
    """Yield what is worth knowing, a sentence each."""
    yield from dict.fromkeys(note for arm in plan.arms if (note := idle_gpus(arm.resources)))
    yield from numerics.differing_notes(plan)
    for arm in plan.arms:
        yield from _attachment(arm, plan)
    yield from _seeds(plan)
    yield from _roles(plan)
    yield from _nondeterministic(plan)


def _attachment(arm: Arm, plan: Plan) -> Iterable[str]:
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
    for unread in attachment.unread_updates:
        yield f"arms.{arm.name}: no update after {unread}: no later layer would read it"
    if _widened(arm, plan):
        yield f"arms.{arm.name}: widened, so its layers do not start as those of the other arms do"


def _seeds(plan: Plan) -> Iterable[str]:
    seeds, looks = len(plan.study.spec.seeds), Looks(plan.study.spec.looks, further_block=plan.study.spec.further_block)
    if seeds < looks.numbers[0]:
        yield f"seeds: {seeds} pairs are a screening; a verdict needs at least {looks.numbers[0]}"
    elif seeds not in looks.numbers:
        yield (
            f"seeds: {seeds} lie between looks; the verdict is that of the first {looks.reached(seeds)[-1]}, and the "
            f"others decide nothing (looks: {', '.join(map(str, looks.numbers))})"
        )


def _roles(plan: Plan) -> Iterable[str]:
    roles = {arm.role for arm in plan.arms}
    yield from (
        f"no arm has the role {role!r}, so there is no verdict" for role in ("baseline", "aim") if role not in roles
    )


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
