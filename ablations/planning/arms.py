"""From a study to its arms: complete configurations, checked against each other, with their roles in the verdict."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, cast

from ablations.planning import networks, own_code, plugin_errors, training_code, training_parts, weights
from ablations.planning.factors import arm_specs, draws_nothing
from ablations.spec import yaml_documents
from ablations.spec.advice import advised
from ablations.spec.levels import RUN_KEYS, labels_of
from ablations.spec.resources import Resources
from ablations.spec.study import ArmSpec, StudyFile, StudySpec
from ablations.spec.study_fields import Checks
from aimlib.config import ModelConfig, RunConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.errors import ConfigError, PluginError, UsageError, checked, counted
from aimlib.registry import controls, datasets
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.protocols import PROTOCOLS


@dataclass(frozen=True)
class Arm:
    """One arm of a study.

    Attributes
    ----------
    name : unique in the study.
    role : ``baseline``, ``aim`` (the treatment), ``matched``, ``frozen``, ``permuted``, ``control`` or ``other``.
    of : the arm from which this arm is derived as a control or a variation; None if it starts from the base.
    config : configuration of the run with the study's first seed.
    levels : label of each factor's level, by factor; empty for arms without factors.
    resources : resources of the arm's runs.
    also : other combinations of levels that result in the same configuration and that this arm therefore represents.
    integrity : how wrong numbers computed by a device are detected; kernels that are not deterministic are considered
        later.
    question : question that the comparison between this arm and the treatment answers, as stated in the study; None
        means the default question for the arm's role.
    """

    name: str
    role: str
    of: str | None
    config: RunConfig
    levels: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    also: tuple[Mapping[str, str], ...] = ()
    integrity: Checks = "spot"
    question: str | None = None

    def run(self, seed: int) -> RunConfig:
        """Return the arm's run with a different seed."""
        return self.config.model_copy(update={"seed": seed})


def expand(study: StudyFile, without: Collection[str] = (), *, costs: bool = False) -> list[Arm]:
    """Return a study's arms, each of which is complete and can be built.

    Parameters
    ----------
    without : components, such as ``placements/head_only``, whose arms are left out.
    costs : also compute the cost of every network while the network exists; `networks.summary` can then return it.

    Raises
    ------
    ConfigError: the study has problems; the error contains one message for each problem.
    """
    spec = study.spec
    problems: list[str] = []
    unusable: dict[str, list[str]] = {}
    arms: dict[str, Arm] = {}
    specs = _specs(study)
    built: set[_Network] = set()
    for name in specs:
        try:
            if without and own_code.uses(_with_control(name, specs, spec), without):
                continue
            arm = _complete(name, specs, spec, built, costs=costs)
            arms |= _varying(arm, spec)
        except ConfigError as error:
            problems += [located(problem, name, spec) for problem in error.problems]
        except UsageError as error:
            unusable.setdefault(str(error), []).append(name)
    problems += [_said_once(error, names) for error, names in unusable.items()]
    varied = [name for name in specs if name not in spec.arms and name in arms]
    if not problems:
        problems += _levels_without_effect({name: arms[name] for name in varied}, spec)
    kept = _without_repeats(arms, set(varied), problems)
    if not problems:
        problems += _together(arms, kept, spec)
    if problems:
        told = _condensed(advised(dict.fromkeys(problems)), specs, spec)
        raise ConfigError(f"{study.where}: {problem}" for problem in told)
    if not kept:
        raise ConfigError(
            [
                f"{study.where}: every arm uses the study's own code, so nothing can be checked without running it; "
                "approve the code"
            ]
        )
    return _with_roles(kept, specs)


def _specs(study: StudyFile) -> dict[str, ArmSpec]:
    try:
        return arm_specs(study.spec)
    except ConfigError as error:
        raise ConfigError(f"{study.where}: {problem}" for problem in error.problems) from None


def _varying(arm: Arm, spec: StudySpec) -> dict[str, Arm]:
    """Return an arm by name.

    The mapping is empty if the arm varies a source that has no effect and that the study does not list.
    """
    idle = draws_nothing(arm.name, arm.config, spec)
    if idle is None:
        return {arm.name: arm}
    if not spec.sources:
        return {}
    raise ConfigError(
        [
            f"sources: {idle} has no effect: the arm does not draw any random numbers from it; remove it, or omit "
            "sources to vary those that have an effect"
        ]
    )


_NAMED = 3
"""Maximum number of arms named in one message."""


def _condensed(problems: Iterable[str], specs: Mapping[str, ArmSpec], spec: StudySpec) -> list[str]:
    """Return the problems, with fewer repetitions.

    An arm's problem is omitted if the base has the same one. A problem of several combinations is reported once, with
    their number.
    """
    problems = list(problems)
    of_base = {problem.removeprefix("base.") for problem in problems if problem.startswith("base.")}
    found: dict[str, list[str]] = {}
    for problem in problems:
        arm = max((name for name in specs if problem.startswith(f"arms.{name}.")), key=len, default=None)
        rest = problem if arm is None else problem.removeprefix(f"arms.{arm}.")
        if arm is None or rest not in of_base:
            found.setdefault(problem if arm in spec.arms else rest, []).append(problem)
    return [
        f"{first} (and in {counted(len(others), 'other combination')})" if others else first
        for first, *others in found.values()
    ]


def _said_once(error: str, names: list[str]) -> str:
    """Return one message for several arms that have the same problem."""
    places = [f"arms.{name}" for name in names[:_NAMED]]
    more = [counted(len(names) - _NAMED, "other arm")] if len(names) > _NAMED else []
    return f"{', '.join([*places, *more])}: {error}"


def _together(arms: Mapping[str, Arm], kept: list[Arm], spec: StudySpec) -> list[str]:
    """Return messages about arms that are individually valid but cannot be in the same study."""
    configs = {arm.name: arm.config for arm in kept}
    lacking = list(training_code.lacking_options({name: arm.config for name, arm in arms.items()}))
    unlike = list(training_parts.losses_to_compare(configs)) if spec.measure == "loss" else []
    silent = list(training_parts.without_scalars(configs)) if isinstance(spec.measure, dict) else []
    return lacking or unlike or silent or own_code.unusable(configs)


def shape_of(config: RunConfig) -> ImageShape:
    """Return the shape of the images on which a run trains, without reading any file."""
    with plugin_errors.explained():
        found: object = datasets.create(config.data).shape()
        return checked(found, ImageShape, f"{datasets.described(config.data.name)}: shape()")


def batch_size_of(config: RunConfig) -> int:
    """Return the number of images that share the computations made once per batch; 1 for a user's own training code."""
    return 1 if isinstance(config, OwnRunConfig) else config.training.batch_size


def arm_document(study: StudyFile, name: str) -> dict[str, Any]:
    """Return the document of an arm: protocol, base and the arm itself, merged but not yet validated."""
    return weights.resolved(_layers(name, arm_specs(study.spec), study.spec))


def using(study: StudyFile, keys: Collection[str]) -> list[str]:
    """Return the arms whose documents name one of these components, such as ``placements/head_only``."""
    specs = arm_specs(study.spec)
    return [name for name in specs if own_code.uses(_with_control(name, specs, study.spec), keys)]


def _with_control(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> dict[str, Any]:
    return {**_layers(name, specs, spec), "control": specs[name].control}


def buildable(study: StudyFile, document: Mapping[str, Any]) -> str:
    """Return why the arm of a merged document cannot be run, or an empty string if it can."""
    try:
        config = RunConfig.parse({**document, "seed": study.spec.seeds[0]})
        networks.refuse_unbuildable(config.model, shape_of(config))
        _try_parts(config)
    except UsageError as error:
        return " ".join(str(error).split())
    return "; ".join(_idle(config))


_Network = tuple[str, ImageShape]
"""A model as JSON, and the shape of its images."""


def _complete(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec, built: set[_Network], *, costs: bool) -> Arm:
    """Return an arm without its role; its network is built and added to `built` unless it is already in `built`."""
    arm = specs[name]
    merged = weights.resolved(_layers(name, specs, spec))
    config = RunConfig.parse({**merged, "seed": spec.seeds[0]})
    resources, integrity = _resources(name, specs, spec), _integrity(name, specs, spec)
    if isinstance(config, OwnRunConfig):
        if impossible := training_code.problems(config, arm.control, resources):
            raise ConfigError(impossible)
        shape_of(config)
    elif not getattr(datasets.get(config.data.name), "has_pixels", True):
        raise ConfigError(
            [f"data: {config.data.name} has no images; only your own training code can use it (train: code.py:f)"]
        )
    elif idle := _idle(config):
        raise ConfigError(idle)
    if arm.control is not None:
        control = _control(arm.control)
        if config.model.memory is None:
            raise UsageError(_nothing_to_control(control.config.name, str(arm.of), specs, spec))
        model = _transformed(control, config)
        config = RunConfig.parse(config.model_copy(update={"model": model}).model_dump(mode="json"))
    _try_parts(config)
    if networks.has_network(config):
        _build(config, built)
        if costs:
            networks.summary(config.model, shape_of(config), batch_size_of(config))
    return Arm(name, "", arm.of, config, arm.levels or {}, resources, integrity=integrity)


def _try_parts(config: RunConfig) -> None:
    """Try the parts of training that can fail separately; for own training code, this is only the selection rule."""
    if isinstance(config, OwnRunConfig):
        training_parts.refuse_unusable_selection(config.training)
    else:
        training_parts.refuse_unusable(config.training, shape_of(config))


def _build(config: RunConfig, built: set[_Network]) -> None:
    """Build a network unless it was already built; arms that differ only in training share a network."""
    network = (config.model.model_dump_json(), shape_of(config))
    if network not in built:
        networks.refuse_unbuildable(config.model, shape_of(config))
        built.add(network)
    if networks.is_tuned(config):
        networks.tuning(config, shape_of(config))


def _integrity(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> Checks:
    """Return how an arm's runs detect wrong numbers: as specified for the arm, or else for the study."""
    stated = next((found for each in _lineage(name, specs) if (found := specs[each].integrity) is not None), None)
    if stated is None or stated == spec.integrity:
        return spec.integrity
    return "spot" if stated == "spot" else "reference"


def _resources(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> Resources:
    """Return the resources of an arm's runs.

    These are the study's resources, overridden by those of the arms from which this arm starts and then by this arm's
    own.
    """
    given = spec.resources
    for ancestor in reversed(_lineage(name, specs)):
        try:
            given = given.with_changes(specs[ancestor].resources)
        except ConfigError as error:
            raise ConfigError(f"resources: {problem}" for problem in error.problems) from None
    return given


def _idle(config: RunConfig) -> list[str]:
    """Return messages about options that have no effect."""
    problems = []
    training = config.training
    augmentation = training.augmentation
    changing = ("rotation", "translation", "horizontal_flip", "vertical_flip", "contrast")
    moved = augmentation is None or augmentation.crop_scale < 1 or any(getattr(augmentation, name) for name in changing)
    if not moved:
        problems.append(
            f"training.augmentation: no effect; set one of {', '.join(changing)} or crop_scale, or remove the "
            "augmentation"
        )
    stopping = training.early_stopping
    if stopping is not None and stopping.patience >= training.epochs:
        problems.append(
            f"training.early_stopping: no effect, because patience {stopping.patience} is not less than the "
            f"maximum of {counted(training.epochs, 'epoch')}; lower patience or increase epochs"
        )
    return problems


def _control(value: str | dict[str, Any]) -> Control:
    try:
        return cast("Control", controls.create(controls.parse(value)))
    except ConfigError as error:
        raise ConfigError(f"control.{problem}" for problem in error.problems) from None


def _transformed(control: Control, config: RunConfig) -> ModelConfig:
    with plugin_errors.explained():
        found: object = control.transform(config.model, shape_of(config))
        return checked(found, ModelConfig, f"{controls.described(control.config.name)}: transform()")


def _nothing_to_control(control: str, arm: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> str:
    """Return the message about a control for an arm without memory."""
    said = f"control {control!r} needs an arm with memory, but {arm!r} has none"
    there = [name for name in specs if specs[name].control is None and _has_memory(name, specs, spec)]
    if there:
        return f"{said}; set `of` to {' or '.join(there[:_NAMED])}"
    return (
        f"{said}, nor has any other arm. Give an arm a memory, or write the control's own configuration, with a "
        "role, instead of `of` and `control`, e.g. {role: matched, model: {backbone: {widths: [8, 16, 32]}}}"
    )


def _has_memory(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> bool:
    try:
        model = _layers(name, specs, spec).get("model")
    except ConfigError:  # reported for the arm itself
        return False
    none = (None, "none", {"name": "none"})
    return isinstance(model, dict) and model.get("memory") not in none and model.get("placement", "") not in none


def _layers(name: str, specs: Mapping[str, ArmSpec], spec: StudySpec) -> dict[str, Any]:
    """Merge, in this order, the protocol, the base, the arms from which this arm starts, and the arm itself."""
    chain: list[dict[str, Any]] = []
    seen: list[str] = []
    following: str | None = name
    while following is not None:
        if following in seen:
            circle = " -> ".join((*seen, following))
            raise ConfigError([f"of: the arms {circle} start from each other; let one of them start from the base"])
        seen.append(following)
        arm = specs[following]
        chain.append(arm.model_dump(include=set(RUN_KEYS), exclude_defaults=True))
        following = arm.of
    merged = yaml_documents.merge(spec.base, *chain[::-1])
    if spec.train is not None:
        return {**merged, "train": spec.training_code()}
    if spec.protocol is None:
        return merged
    common = PROTOCOLS[spec.protocol].common
    return yaml_documents.merge({**common, "data": _fitting(common.get("data", {}), merged.get("data"))}, merged)


def _fitting(options: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Return the data options of a protocol that the arm's data set supports; digits, for example, are not decoded."""
    name = data.get("name") if isinstance(data, dict) else data
    if not isinstance(name, str):
        return {}
    try:
        known = datasets.get(name).Config.model_fields
    except PluginError:  # reported when the configuration is read
        known = {}
    return {"name": name, **{key: value for key, value in options.items() if key in known}}


def located(problem: str, name: str, spec: StudySpec) -> str:
    """Prefix an arm's problem with its location: the arm, a factor, an arm from which it starts, or the base.

    Parameters
    ----------
    problem : message that starts with a key path, e.g. ``training.epochs: ...``.
    """
    specs = arm_specs(spec)
    path = problem.partition(":")[0].split(".")
    if path[0] not in RUN_KEYS:
        return f"arms.{name}.{problem}"
    depths = {arm: _depth(specs[arm], path) for arm in _lineage(name, specs)}
    owner = max(depths, key=lambda arm: depths[arm])  # among equal depths, use the first entry, which is the arm itself
    if depths[owner] < min(2, len(path)):
        return f"base.{problem}"
    factor = next((factor for factor in spec.factors if path == factor.split(".")[: len(path)]), None)
    if owner not in spec.arms and factor is not None:
        return f"factors.{factor}{problem.removeprefix('.'.join(path))}"
    return f"arms.{owner}.{problem}"


def _lineage(name: str, specs: Mapping[str, ArmSpec]) -> list[str]:
    """Return the arm and the arms from which it starts."""
    lineage: list[str] = []
    following: str | None = name
    while following is not None and following not in lineage:
        lineage.append(following)
        following = specs[following].of
    return lineage


def _depth(arm: ArmSpec, path: list[str]) -> int:
    """Return how many keys of a path, counted from its beginning, are set in the arm itself."""
    own = arm.model_dump(include=set(RUN_KEYS), exclude_defaults=True)
    return max((length for length in range(len(path) + 1) if yaml_documents.has(own, path[:length])), default=0)


def _levels_without_effect(varied: Mapping[str, Arm], spec: StudySpec) -> Iterator[str]:
    """Yield messages about pairs of a factor's levels that always result in the same configuration."""
    identities = {tuple(arm.levels.items()): arm.config.identity() for arm in varied.values()}
    for factor, levels in spec.factors.items():
        for one, other in itertools.combinations(labels_of(levels), 2):
            twins = [
                (identity, identities.get(_with_level(chosen, factor, other)))
                for chosen, identity in identities.items()
                if (factor, one) in chosen
            ]
            compared = [(first, second) for first, second in twins if second is not None]
            if compared and all(first == second for first, second in compared):
                yield (
                    f"factors.{factor}: levels {one} and {other} result in the same configuration, so one arm "
                    "would represent both; change or remove one of them"
                )


def _with_level(chosen: tuple[tuple[str, str], ...], factor: str, level: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, level if name == factor else label) for name, label in chosen)


def _without_repeats(arms: dict[str, Arm], varied: set[str], problems: list[str]) -> list[Arm]:
    """Drop factor combinations with the configuration of an earlier arm; two such named arms are a problem."""
    kept: dict[str, Arm] = {}
    for arm in arms.values():
        identity = json.dumps(arm.config.identity(), sort_keys=True)
        equal = kept.get(identity)
        if equal is None:
            kept[identity] = arm
        elif arm.name in varied:  # the earlier arm represents this combination
            levels = equal.levels or arm.levels
            also = (*equal.also, arm.levels) if arm.levels != levels else equal.also
            kept[identity] = replace(equal, levels=levels, also=also)
        else:
            problems.append(
                f"arms.{arm.name}: this arm is identical to arms.{equal.name}: every option is the same, so its "
                "runs would be the same; change an option, or remove one of the arms"
            )
    return list(kept.values())


def _with_roles(arms: list[Arm], specs: Mapping[str, ArmSpec]) -> list[Arm]:
    taken: set[str] = set()
    result: list[Arm] = []
    by_place = training_code.roles(
        {arm.name: arm.config for arm in arms}, {arm.name: _given_role(specs[arm.name]) for arm in arms}
    )
    for arm in sorted(
        arms, key=lambda arm: specs[arm.name].role is None
    ):  # the sort is stable, and explicitly given roles come first
        role = by_place.get(arm.name) or _role(arm, specs[arm.name])
        if role == "baseline" and role in taken:
            role = "other"
        taken.add(role)
        result.append(replace(arm, role=role, question=_question(arm.name, role, specs)))
    order = {arm.name: place for place, arm in enumerate(arms)}
    return sorted(result, key=lambda arm: order[arm.name])


def _given_role(spec: ArmSpec) -> str | None:
    """Return the role that the study specifies for an arm; an arm with a question is a control."""
    return spec.role or ("control" if spec.question is not None and spec.control is None else None)


def _role(arm: Arm, spec: ArmSpec) -> str:
    if spec.role is not None:
        return spec.role
    if spec.control is not None:
        return _control(spec.control).role
    if spec.question is not None:
        return "control"
    return "baseline" if arm.config.model.memory is None else "aim"


def _question(name: str, role: str, specs: Mapping[str, ArmSpec]) -> str | None:
    """Return the question for an arm; an arm that is not part of the argument has no question."""
    return None if role == "other" else specs[name].question


def differences(arm: Arm, baseline: Arm) -> list[dict[str, Any]]:
    """Return the options in which an arm differs from the baseline, with their key paths and both values.

    If the baseline lacks a component or has one with a different name, this counts as one difference. Weight files
    appear only by name, because their location is private and does not belong in a report.
    """
    return list(_differing("", _without_places(baseline.config), _without_places(arm.config)))


def _without_places(config: RunConfig) -> dict[str, Any]:
    document = config.model_dump(mode="json")
    weights = (document.get("model") or {}).get("weights")
    if weights is not None:
        weights["source"] = PurePath(weights["source"]).name
    return document


def _differing(path: str, theirs: Any, ours: Any) -> Iterator[dict[str, Any]]:
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("name") == ours.get("name"):
        for key in dict.fromkeys([*theirs, *ours]):
            yield from _differing(f"{path}.{key}" if path else key, theirs.get(key), ours.get(key))
    elif theirs != ours:
        yield {"option": path, "baseline": theirs, "value": ours}
