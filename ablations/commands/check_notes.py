"""Notes in the output of `ablate check` for a valid plan: useful to know, but not obstacles to running the study."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable
from typing import TYPE_CHECKING

from ablations.estimation import numerics
from ablations.planning import networks
from ablations.planning.arms import Arm, differences, shape_of
from ablations.planning.data_facts import shared_images_of
from ablations.planning.networks import has_network
from ablations.planning.plan import Plan
from ablations.planning.protocol import reference
from ablations.spec.resources import idle_gpus
from aimlib.errors import counted
from aimlib.registry import datasets
from aimlib.training.own.config import OwnRunConfig
from analysis.findings import folds
from analysis.wording.number_format import option as written
from analysis.wording.number_format import significant

if TYPE_CHECKING:
    from ablations.estimation.estimate import Cost
    from aimlib.paths import Place

_SHOWN = 3
"""Maximum number of unread layers for which the reason is shown."""


def notes(plan: Plan) -> Iterable[str]:
    """Yield the notes on a plan, one sentence each."""
    yield from dict.fromkeys(note for arm in plan.arms if (note := idle_gpus(arm.resources)))
    yield from numerics.differing_notes(plan)
    yield from dict.fromkeys(note for arm in plan.arms for note in datasets.create(arm.config.data).notes())
    yield from (f"data: {text}" for text in shared_images_of(plan))
    for arm in plan.arms:
        yield from _attachment(arm, plan)
        yield from _start(arm, plan)
        yield from _gradients(arm)
        yield from _loss(arm)
        yield from _tuning(arm)
    yield from _subject(plan)
    yield from _standing_for(plan)
    yield from _same_networks(plan)
    yield from _seeds(plan)
    yield from _roles(plan)
    if (text := folds.sentence(arm.config.model_dump(mode="json") for arm in plan.arms)) is not None:
        yield f"data.split: {text[:1].lower()}{text[1:].rstrip('.')}"
    yield from _nondeterministic(plan)
    yield from _unchecked(plan)
    yield from _training_code(plan)


def _subject(plan: Plan) -> Iterable[str]:
    """Yield a note if `what` is a sentence, because the report's sentences require a noun phrase."""
    what = plan.study.spec.what
    if what is not None and what.rstrip()[-1:] in ("?", "."):
        yield (
            f"what: {what!r} is a sentence, but the texts read 'Does … cause a gain?'; use a noun phrase, such as "
            "'a blur'"
        )


def _training_code(plan: Plan) -> Iterable[str]:
    """Yield what a study's own training code does not guarantee."""
    if plan.study.spec.train is None:
        return
    again = (
        "the first run is computed twice, and the two sets of predictions are compared"
        if plan.study.spec.integrity == "spot"
        else "no run is computed twice to test this (integrity: off)"
    )
    yield (
        f"train: {plan.study.spec.training_code()} replaces the training loop. Nothing ensures that arms share "
        "their initial values and image order, or that a repeated run is bitwise identical. Use run.seed and "
        f"run.generator; {again}"
    )
    yield (
        "checkpoints: when a run is resumed, it starts from the beginning unless it has saved a checkpoint with "
        "run.checkpoint"
    )


def reuse_notes(plan: Plan, costs: Iterable[Cost], given: Iterable[str | Place], own: Place) -> Iterable[str]:
    """Yield how many of the missing runs would be copied from other studies, and how much that saves.

    Parameters
    ----------
    costs : costs on every kind of device that was timed, the most common kind first.
    given, own : see `ablations.sessions.reuse.find`.
    """
    from ablations.sessions.reuse import find, missing_runs

    missing = missing_runs(plan, own)
    if not missing:
        yield "reuse: no run is missing"
        return
    found = find(plan, missing, given, own)
    yield from found.notices
    if not found.runs:
        yield f"reuse: no other study contains any of the {counted(len(missing), 'missing run')}"
        return
    runs = f"{len(found.runs)} of {counted(len(missing), 'missing run')}"
    yield f"reuse: {runs} would be copied from {found.origins}{_saved(plan, costs, found.runs)}"


def _saved(plan: Plan, costs: Iterable[Cost], run_ids: Container[str]) -> str:
    """Return the device-hours that runs would take, as the end of a sentence; empty if the runs were not timed."""
    cost = next(iter(costs), None)
    runs = Counter(run.arm for run in plan.runs if run.run_id in run_ids)
    if cost is None or not runs.keys() <= cost.arms.keys():
        return ""
    hours = sum(cost.hours_of(arm) * number for arm, number in runs.items())
    return f", which saves {significant(hours)} of the {significant(cost.hours)} {cost.unit}"


def _attachment(arm: Arm, plan: Plan) -> Iterable[str]:
    attachment = plan.summaries[arm.name].attachment
    skipped = list(attachment.skipped.items())
    for layer, reason in skipped[:_SHOWN]:
        yield f"arms.{arm.name}: layer {layer} does not read the memory: {reason}"
    if len(skipped) > _SHOWN:
        names = ", ".join(layer for layer, _ in skipped[_SHOWN:])
        yield (
            f"arms.{arm.name}: {len(skipped) - _SHOWN} more layers do not read the memory, for similar reasons: {names}"
        )
    static = sum(reading.memory == "static" for reading in attachment.readers)
    if static:
        yield (
            f"arms.{arm.name}: {static} of {len(attachment.readers)} reads use the second memory, which is never "
            "updated (routing: as_run)"
        )
    for unread in attachment.unread_updates:
        yield f"arms.{arm.name}: no update after {unread}, because no later layer would read the updated memory"
    if _widened(arm, plan):
        yield (
            f"arms.{arm.name}: this arm is widened, so the initial values of its layers differ from those of the "
            "other arms"
        )


def _start(arm: Arm, plan: Plan) -> Iterable[str]:
    """Yield the sources of initial values other than the rules, and the values that are not paired."""
    from aimlib.weights import starts
    from aimlib.weights.fitting import few

    if not has_network(arm.config):
        return
    shape, baseline = shape_of(arm.config), reference(plan.arms)
    yield from (f"arms.{arm.name}: {each}" for each in starts.sentences(arm.config.model, shape))
    if arm is baseline or not has_network(baseline.config) or shape_of(baseline.config) != shape:
        return
    models = arm.config.model, baseline.config.model
    if not any(map(starts.foreign_parts, models)):
        return
    names, common = starts.unpaired(*models, shape, arm.config.seed)
    if names:
        yield (
            f"arms.{arm.name}: {len(names)} of {counted(common, 'parameter')} shared with arms.{baseline.name} "
            f"start with different values for the same seed ({few(names)}); set initial_values = 'rules' in the "
            "class so that the study's rules set them in both arms"
        )


def _gradients(arm: Arm) -> Iterable[str]:
    """Yield a note on parameters that would never be trained, if an arm has parts that are not from this package."""
    from aimlib.memory.gradients import untrained
    from aimlib.weights import starts
    from aimlib.weights.fitting import few, plain

    if not has_network(arm.config) or not starts.foreign_parts(arm.config.model):
        return
    shape = shape_of(arm.config)
    try:
        names = untrained(networks.network(arm.config.model, shape), (shape.channels, shape.height, shape.width))
    except NotImplementedError:  # an operation that torch does not implement for tensors without values
        return
    except RuntimeError as error:
        yield f"arms.{arm.name}: gradients cannot be computed: {str(error).partition(' Hint')[0]}"
        return
    if names:
        what = counted(len(names), "parameter gets none", "parameters get none")
        yield (
            f"arms.{arm.name}: gradients: {what}, so training would never change values that count as parameters "
            f"({few(plain(names))}); use each parameter in the forward pass, without detach, or remove it"
        )


def _loss(arm: Arm) -> Iterable[str]:
    """Yield a note if one of the user's own losses is a sum over the batch."""
    loss = None if isinstance(arm.config, OwnRunConfig) else arm.config.training.loss
    if loss is None or not type(loss).code:
        return
    from aimlib.training.losses.base import is_sum

    if is_sum(loss, shape_of(arm.config).classes):
        yield (
            f"arms.{arm.name}: loss: {loss.name!r} doubles if every image appears twice in a batch, so its "
            "gradient grows with training.batch_size; return the mean over the batch"
        )


def _tuning(arm: Arm) -> Iterable[str]:
    """Yield what fine-tuning freezes, how learning rates differ, and which network is evaluated."""
    if not networks.is_tuned(arm.config):
        return
    found = networks.tuning(arm.config, shape_of(arm.config))
    yield from (f"arms.{arm.name}: {each}" for each in found.sentences())
    options = arm.config.training.fine_tuning
    if options is not None and options.ema is not None:
        yield f"arms.{arm.name}: the average of the weights (ema) is evaluated, used for selecting an epoch, and kept"


def _seeds(plan: Plan) -> Iterable[str]:
    seeds, looks = len(plan.study.spec.seeds), plan.study.spec.reading
    if (unbounded := looks.unbounded) > 0:
        yield (
            f"looks: with mixture_width {looks.mixture_width:g}, `looks: any` does not provide a bounded interval "
            f"up to {counted(unbounded, 'pair')}, and therefore no verdict"
        )
    if seeds < looks.numbers[0]:
        pairs = counted(seeds, "pair")
        yield f"seeds: {pairs} can only be used for screening; a verdict requires at least {looks.numbers[0]}"
    elif seeds not in looks.numbers:
        yield (
            f"seeds: {seeds} is between two looks; the verdict uses the first {looks.reached(seeds)[-1]} and does "
            f"not use the others (looks: {', '.join(map(str, looks.numbers))})"
        )


_SEVERAL = "control", "other"
"""Roles that several arms can have."""


def _roles(plan: Plan) -> Iterable[str]:
    roles = {arm.role for arm in plan.arms}
    if len(plan.arms) == 1:
        yield (
            "the study has only one arm, so there is nothing to compare, and there will be no verdict; add an arm "
            "under arms"
        )
        return
    for role, name in (("baseline", "baseline"), ("aim", "treatment")):
        if role not in roles:
            yield f"no arm has the role {name}, so there will be no verdict; give one arm `role: {name}`"
    given: dict[str, list[str]] = {}
    for name, arm in plan.study.spec.arms.items():
        if arm.role is not None and arm.role not in _SEVERAL:
            given.setdefault("treatment" if arm.role == "aim" else arm.role, []).append(name)
    for role, (first, *others) in given.items():
        if others:
            yield (
                f"arms {', '.join([first, *others])} have the role {role}, and the verdict uses the first of them, "
                f"{first}; give the others a different role, such as `role: other`"
            )


def _nondeterministic(plan: Plan) -> Iterable[str]:
    for arm in plan.arms:
        if arm.resources.trained_on == "cuda":
            for layer in plan.summaries[arm.name].nondeterministic_on_gpu:
                yield (
                    f"arms.{arm.name}: layer {layer}: CUDA has no deterministic backward pass for this pooling, so "
                    "a repeated run may differ in its last bits; choose an image size at which the layer has "
                    "nothing to pool"
                )


def _unchecked(plan: Plan) -> Iterable[str]:
    """Yield the reasons why wrong numbers computed by a device would not be detected."""
    from ablations.sessions.tasks import integrity_of

    if plan.study.spec.train is not None:
        return
    if all(arm.integrity == "off" for arm in plan.arms):
        yield "integrity: off: there is no check for wrong numbers computed by a device"
        return
    for arm in plan.arms:
        integrity = integrity_of(plan, arm)
        if integrity == "spot":
            continue
        if integrity == arm.integrity:
            yield (
                f"arms.{arm.name}: no step is repeated to detect wrong numbers, because the study sets integrity: off"
            )
        else:
            yield (
                f"arms.{arm.name}: no step is repeated to detect wrong numbers, because not all of the arm's "
                "kernels are deterministic on a GPU"
            )


def _widened(arm: Arm, plan: Plan) -> bool:
    """Return whether an arm's widths differ from those of the arm from which it is derived."""
    origin = next((other for other in plan.arms if other.name == arm.of), None)
    if origin is None:
        return False
    if not (has_network(arm.config) and has_network(origin.config)):
        return False
    widths = [getattr(each.config.model.backbone, "widths", None) for each in (arm, origin)]
    return widths[0] != widths[1]


def _standing_for(plan: Plan) -> Iterable[str]:
    """Yield the combinations of factor levels that are represented by an arm with the same configuration."""
    for arm in plan.arms:
        for levels in arm.also:
            combination = ", ".join(f"{factor}={label}" for factor, label in levels.items())
            yield f"factors: the combination {combination} has the configuration of arm {arm.name}, which represents it"


def _same_networks(plan: Plan) -> Iterable[str]:
    """Yield pairs of arms whose placements have different names but choose the same layers to read and to update."""
    groups: dict[str, list[Arm]] = defaultdict(list)
    for arm in plan.arms:
        attachment = plan.summaries[arm.name].attachment
        if attachment.readers:
            model = arm.config.model.model_dump(mode="json", exclude={"placement", "update_after"})
            rest = arm.config.model_dump(mode="json", exclude={"model"})
            layers = [str(attachment.readers), str(attachment.updates)]
            groups[json.dumps([model, rest, layers], sort_keys=True)].append(arm)
    pairs: dict[str, list[str]] = defaultdict(list)
    for first, *others in groups.values():
        for other in others:
            ways = ", ".join(
                f"{item['option']} {written(item['baseline'])} and {written(item['value'])}"
                for item in differences(other, first)
            )
            pairs[ways].append(f"{first.name} and {other.name}")
    for ways, found in pairs.items():
        more = f" (and {counted(len(found) - 1, 'more pair')} of arms)" if len(found) > 1 else ""
        yield (
            f"{ways} choose the same layers in this network, so the networks and results of {found[0]} are the "
            f"same{more}; remove one of the two"
        )


def in_arms(names: Collection[str], every: Collection[str], whole: bool = False) -> str:
    """Return which arms a note is about: all of them, all except a few, or a few names and a count."""
    others = [name for name in every if name not in names]
    if len(names) == len(every) and len(every) > 1:
        return f"all {len(every)} arms"
    if whole or len(names) <= _SHOWN:
        return ", ".join(names)
    of = f"{len(names)} of {len(every)} arms"
    if len(others) <= _SHOWN - 1:
        return f"{of}, all but {' and '.join(others)}"
    first, second, *rest = names
    return f"{of}: {first}, {second} and {len(rest)} more"


def aggregated(notes: Iterable[str], arms: Collection[str], whole: bool = False) -> list[str]:
    """Return the notes, with identical notes for several arms combined into one.

    Parameters
    ----------
    whole : list the names of all arms to which a note applies.
    """
    by_text: dict[str, list[str]] = {}
    for note in notes:
        arm = next((name for name in arms if note.startswith(f"arms.{name}: ")), None)
        names = by_text.setdefault(note if arm is None else note.removeprefix(f"arms.{arm}: "), [])
        names += [] if arm is None else [arm]
    return [_of_arms(text, names, arms, whole) for text, names in by_text.items()]


def _of_arms(text: str, names: Collection[str], arms: Collection[str], whole: bool) -> str:
    if len(names) == 1:
        return f"arms.{next(iter(names))}: {text}"
    return f"{in_arms(names, arms, whole)}: {text}" if names else text


def differing_options(plan: Plan) -> dict[str, tuple[str, dict[str, int]]]:
    """Return, for each option, the baseline's value and every other value with the number of arms that have it."""
    baseline = reference(plan.arms)
    found: dict[str, tuple[str, dict[str, int]]] = {}
    for arm in plan.arms:
        for item in differences(arm, baseline):
            _, values = found.setdefault(item["option"], (written(item["baseline"]), {}))
            value = written(item["value"])
            values[value] = values.get(value, 0) + 1
    return found


def differing(plan: Plan) -> dict[str, list[str]]:
    """Return each arm's differences from the baseline, as ``option: baseline's value -> arm's value``."""
    baseline = reference(plan.arms)
    return {
        arm.name: [
            f"{item['option']}: {written(item['baseline'])} -> {written(item['value'])}"
            for item in differences(arm, baseline)
        ]
        for arm in plan.arms
    }
