"""Notes of `ablate check` on a valid plan: worth knowing, but no obstacle to running it."""

from __future__ import annotations

from collections.abc import Iterable

from ablations.estimation import numerics
from ablations.planning.arms import Arm, differences
from ablations.planning.plan import Plan
from ablations.planning.protocol import reference
from ablations.spec.resources import idle_gpus
from aimlib.errors import counted
from analysis.looks import Looks
from analysis.number_format import option as written

_SHOWN = 3
"""Number of layers whose reason for not reading the memory is shown."""


def notes(plan: Plan) -> Iterable[str]:
    """Yield the notes on a plan, one sentence each."""
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
        yield f"arms.{arm.name}: {len(skipped) - _SHOWN} more layers do not read it, for similar reasons: {names}"
    static = sum(reading.memory == "static" for reading in attachment.readers)
    if static:
        yield (
            f"arms.{arm.name}: {static} of {len(attachment.readers)} reads use the second memory, which no "
            f"update reaches (routing: as_run)"
        )
    for unread in attachment.unread_updates:
        yield f"arms.{arm.name}: no update after {unread}, because no later layer would read it"
    if _widened(arm, plan):
        yield f"arms.{arm.name}: widened, so its layers start with other values than those of the other arms"


def _seeds(plan: Plan) -> Iterable[str]:
    seeds, looks = len(plan.study.spec.seeds), Looks(plan.study.spec.looks, further_block=plan.study.spec.further_block)
    if seeds < looks.numbers[0]:
        pairs = counted(seeds, "pair")
        yield f"seeds: {pairs} can only serve for screening; a verdict needs at least {looks.numbers[0]}"
    elif seeds not in looks.numbers:
        yield (
            f"seeds: {seeds} is between two looks; the verdict uses the first {looks.reached(seeds)[-1]}, and the "
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
                    f"arms.{arm.name}: layer {layer}: CUDA has no deterministic backward pass for this pooling, so a "
                    f"repeated run may differ in its last bits; choose an image size at which it has nothing to pool"
                )


def _widened(arm: Arm, plan: Plan) -> bool:
    """Return whether an arm differs in its widths from the arm that it is derived from."""
    origin = next((other for other in plan.arms if other.name == arm.of), None)
    if origin is None:
        return False
    widths = [getattr(each.config.model.backbone, "widths", None) for each in (arm, origin)]
    return widths[0] != widths[1]


def differing(plan: Plan) -> dict[str, list[str]]:
    """Return each arm's differences from the baseline, as ``option: baseline's value -> own value``."""
    baseline = reference(plan.arms)
    return {
        arm.name: [
            f"{item['option']}: {written(item['baseline'])} -> {written(item['value'])}"
            for item in differences(arm, baseline)
        ]
        for arm in plan.arms
    }
