"""`ablate check`: what a study will run and cost, and what is wrong with it, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablations.estimation import disk, numerics
from ablations.estimation.disk import Disk
from ablations.estimation.estimate import Cost, Estimate, estimate, packing
from ablations.estimation.numerics import Numerics
from ablations.planning import plan as planning
from ablations.planning.arms import Arm, differences
from ablations.planning.plan import Plan
from ablations.planning.protocol import reference
from ablations.spec.resources import idle_gpus
from ablations.spec.study import StudyFile, read_study
from aimlib.paths import place
from analysis.looks import Looks
from analysis.number_format import option as written


@dataclass(frozen=True)
class Check:
    """Result of checking a study that has no problem.

    Attributes
    ----------
    plan : what will run.
    costs : on every kind of device that was timed; empty where timing was not asked for, or not possible.
    untimed : why something was not timed, and how to have it timed.
    disk : what the study writes.
    notes : what is worth knowing and stops nothing.
    numerics : what precision and memory format would bring on every kind of device, where that was asked for.
    """

    plan: Plan
    costs: tuple[Cost, ...]
    untimed: tuple[str, ...]
    disk: Disk
    notes: tuple[str, ...]
    numerics: tuple[Numerics, ...] = ()

    @property
    def cost(self) -> Cost | None:
        """The cost on the kind of device that there is most of; None where nothing was timed."""
        return self.costs[0] if self.costs else None


def check(
    study: str | Path,
    overrides: Iterable[str] = (),
    *,
    timing: bool = True,
    address: str | None = None,
    out: str | Path | None = None,
    try_numerics: bool = False,
) -> Check:
    """Validate a study whole, without running it.

    Parameters
    ----------
    timing : time a few steps of every arm, see `ablations.estimation.estimate.estimate`.
    address : of a Ray cluster on whose devices they are timed; None: on this machine, or for a study on GPUs, where
        there is none here, on the cluster that it belongs to.
    out : study directory, whose storage runs save their state to; None is ``results/<name>``.
    try_numerics : time precision and memory format, too.

    Raises
    ------
    ConfigError: with one message per problem; those of missing data come only when there is no other.
    UsageError: there is no cluster at the address.
    """
    file = read_study(study, overrides)
    plan = planning.plan(file)
    found = estimate(plan, address) if timing else Estimate()
    notes = [*_notes(plan), *_nondeterministic(plan)]
    if file.spec.search is not None:
        from ablations.sessions import screening  # noqa: PLC0415 -- imports optuna and the launcher

        notes += screening.check(file)
    resources = {arm.name: arm.resources for arm in plan.arms}
    for cost in found.costs:
        notes += packing(cost, resources)
    written_bytes = disk.disk(plan, max((cost.parallel for cost in found.costs), default=None))
    notes += disk.saving_notes(written_bytes, file.spec.resources.grace_seconds, place(out or _default(file)))
    tried, untried = numerics.measure(plan, address) if try_numerics else ([], ())
    untimed = tuple(dict.fromkeys((*found.untimed, *untried)))
    return Check(plan, found.costs, untimed, written_bytes, tuple(notes), tuple(tried))


def _default(file: StudyFile) -> Path:
    return Path("results") / file.spec.name


def _notes(plan: Plan) -> Iterable[str]:
    yield from dict.fromkeys(note for arm in plan.arms if (note := idle_gpus(arm.resources)))
    yield from numerics.differing_notes(plan)
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
        for unread in attachment.unread_updates:
            yield f"arms.{arm.name}: no update after {unread}: no later layer would read it"
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
