"""The plan of a study: every run with its id, the stored document, and tables of arms and images."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aimlib
from ablations.planning import networks, plugin_errors
from ablations.planning.arms import Arm, batch_size_of, differences, expand, located, shape_of
from ablations.planning.protocol import protocol, reference
from ablations.spec.study import StudyFile
from aimlib.component import ComponentConfig
from aimlib.config import RunConfig, TrainingConfig
from aimlib.datasets.base import DataSet
from aimlib.datasets.exclusions import read_exclusions
from aimlib.datasets.photos import PhotoConfig, listed_once
from aimlib.datasets.requirements import problems as problems_of
from aimlib.errors import ConfigError, DataError, UsageError, checked, counted
from aimlib.registry import components_of, datasets
from aimlib.training.own.config import OwnRunConfig

if TYPE_CHECKING:
    from aimlib.models import ModelSummary

ALPHA = 0.05
"""Overall error rate across all looks of a comparison."""


class DataConfigError(ConfigError):
    """The data of a study is missing or unsuitable; the study has no other problem."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan."""

    run_id: str
    arm: str
    seed: int
    config: RunConfig
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    """The plan of a study.

    Attributes
    ----------
    study : the validated study file.
    arms : the arms, in the order of the file.
    summaries : size and cost of each arm's network, by arm.
    data : the data of each arm, by arm.
    runs : the runs, seed by seed, so that an unfinished study has complete pairs.
    """

    study: StudyFile
    arms: tuple[Arm, ...]
    summaries: Mapping[str, ModelSummary]
    data: Mapping[str, DataSet]
    runs: tuple[PlannedRun, ...]


def arms_of(study: StudyFile, without: Collection[str] = ()) -> list[Arm]:
    """Return the arms of a study; their networks are built without data and without allocating weights.

    Parameters
    ----------
    without : components whose arms are left out; see `ablations.planning.arms.expand`.

    Raises
    ------
    ConfigError: the study has problems; the error contains one message for each problem.
    """
    _check_claim(study)
    return expand(study, without, costs=True)


def plan(study: StudyFile, arms: list[Arm] | None = None) -> Plan:
    """Return the plan of a study, with its data loaded (and prepared if necessary).

    Parameters
    ----------
    arms : result of `arms_of`; by default, this function calls it.

    Raises
    ------
    ConfigError: the study has problems; the error contains one message for each problem. Missing or unsuitable data is
        reported, as `DataConfigError`, only if there is no other problem.
    """
    arms = arms_of(study) if arms is None else arms
    summaries = summaries_of(arms)
    data = _data(arms, study)
    runs = [
        PlannedRun(config.run_id(data[arm.name].fingerprint), arm.name, seed, config, data[arm.name].fingerprint)
        for seed in study.spec.seeds
        for arm in arms
        for config in [arm.run(seed)]
    ]
    return Plan(study, tuple(arms), summaries, data, tuple(runs))


def summaries_of(arms: list[Arm]) -> dict[str, ModelSummary]:
    """Return the summary of every arm's network. No data is needed."""
    return {arm.name: summary_of(arm) for arm in arms}


def summary_of(arm: Arm) -> ModelSummary:
    """Return the summary of an arm's network; it is computed once per process. No data is needed.

    The summary of a network that the user's own training code builds is unknown, so all its numbers are 0; see
    `networks.has_network`.
    """
    config = arm.config
    if not networks.has_network(config):
        return networks.unknown()
    found = networks.summary(config.model, shape_of(config), batch_size_of(config))
    if not networks.is_tuned(config):
        return found
    tuning = networks.tuning(config, shape_of(config))
    return replace(
        found,
        trainable_parameters=found.trainable_parameters - tuning.untrained,
        trained_bytes=found.trained_bytes - tuning.untrained_bytes,
    )


def _check_claim(study: StudyFile) -> None:
    from analysis.claims import read_claim  # noqa: PLC0415 -- pandas, which nothing else in this module needs

    if study.spec.claim is not None:
        try:
            read_claim(study.spec.claim)
        except UsageError as error:
            raise ConfigError([f"{study.where}: claim: {error}"]) from error


@listed_once()
def _data(arms: list[Arm], study: StudyFile) -> dict[str, DataSet]:
    loaded: dict[str, DataSet] = {}
    found: dict[str, DataSet] = {}
    problems: list[str] = []
    for arm in arms:
        key = arm.config.data.model_dump_json()
        try:
            if key not in loaded:
                loaded[key] = _loaded(arm.config.data)
            _check_shape(arm, loaded[key])
        except DataError as error:
            problems.append(located(f"data: {error}", arm.name, study.spec))
            continue
        found[arm.name] = loaded[key]
        unfit = _unheld if isinstance(arm.config, OwnRunConfig) else _unfit
        problems += [located(problem, arm.name, study.spec) for problem in unfit(arm.config.training, loaded[key])]
    if problems:
        raise DataConfigError(f"{study.where}: {problem}" for problem in dict.fromkeys(problems))
    return found


def _loaded(config: ComponentConfig) -> DataSet:
    plugin, what = datasets.create(config), datasets.described(config.name)
    with plugin_errors.explained():
        data = checked(plugin.load(), DataSet, f"{what}: load()")
    if plugin.has_pixels and (found := problems_of(data, plugin.shape())):
        raise DataError(f"{what}: load(): {'; '.join(found)}")
    return data


def _check_shape(arm: Arm, data: DataSet) -> None:
    _, height, width, channels = data.train.pixels.shape
    shape = shape_of(arm.config)
    if (channels, height, width, len(data.classes)) != (
        shape.channels,
        shape.height,
        shape.width,
        shape.classes,
    ):
        raise DataError(
            f"{arm.config.data.name!r} has {len(data.classes)} classes of {channels} x {height} x {width} images, "
            f"but its configuration specifies {shape}; correct the plugin for this data set"
        )


def _unfit(training: TrainingConfig, data: DataSet) -> list[str]:
    """Return messages about training options that the data cannot satisfy and that would make every run fail."""
    images, size = len(data.train.labels), training.batch_size
    if size > images:
        return [f"training.batch_size: {size} is greater than the number of training images, {images}; lower it"]
    if problems := _unheld(training, data):
        return problems
    trained = images if data.validation is not None else images - _held_out(training, data)
    if training.drop_last and size > trained:
        return [
            f"training.drop_last: {trained} training images do not fill a batch of {size}; lower batch_size or set "
            "drop_last to false"
        ]
    return []


def _unheld(training: TrainingConfig, data: DataSet) -> list[str]:
    """Return messages about validation images that cannot be held out."""
    images, fraction = len(data.train.labels), training.validation_fraction
    if data.validation is not None:
        return _idle_fraction(fraction, len(data.validation.labels))
    held_out = _held_out(training, data)
    trained = images - held_out
    if fraction > 0 and held_out == 0:
        return [
            f"training.validation_fraction: {fraction} of each class of {images} training images is less than one "
            "image; increase it, or set it to 0"
        ]
    if trained < 2:
        return [f"training.validation_fraction: {fraction} leaves {trained} of {images} images for training; lower it"]
    return []


def _idle_fraction(fraction: float, images: int) -> list[str]:
    """Return a message about a validation fraction if the data set has its own validation images."""
    if fraction in (0.0, TrainingConfig.model_fields["validation_fraction"].default):
        return []
    return [
        f"training.validation_fraction: {fraction} has no effect: the data set has "
        f"{counted(images, 'validation image')} of its own, all of which are used; remove this option, or set it "
        "to 0 for training without validation"
    ]


def _held_out(training: TrainingConfig, data: DataSet) -> int:
    """Return the number of held-out images, which is the same for every seed."""
    from aimlib.training.splits import hold_out  # noqa: PLC0415 -- imports torch

    return len(hold_out(data.train.labels, training.validation_fraction, seed=0)[1])


def document(plan: Plan, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the plan in the form in which it is stored in the study directory.

    Parameters
    ----------
    before : the stored plan, whose date is kept if everything else is equal.
    """
    spec = plan.study.spec
    baseline = reference(plan.arms)
    data = plan.data[baseline.name]
    accuracy = spec.primary_measure.is_accuracy
    content: dict[str, Any] = {
        "name": spec.name,
        "claim": None if spec.claim is None else _claim_name(spec.claim),
        "package_version": aimlib.__version__,
        "scope": {
            "dataset": baseline.config.data.name,
            "classes": len(data.classes),
            "image_size": int(data.train.pixels.shape[1]),
            "backbone": networks.backbone_of(baseline.config),
            "protocol": protocol(plan.arms),
            "data_fingerprint": data.fingerprint,
        },
        **({"delta_pp": spec.delta_pp} if accuracy else {"measure": spec.measure, "delta": spec.smallest_effect}),
        "alpha": ALPHA,
        "looks": spec.reading.stored,
        "further_block": spec.further_block,
        "arms": [
            {
                "name": arm.name,
                "role": arm.role,
                "of": arm.of,
                "levels": dict(arm.levels),
                "config": arm.config.model_dump(mode="json"),
                **({} if arm.question is None else {"question": arm.question}),
            }
            for arm in plan.arms
        ],
        "seeds": list(spec.seeds),
        "runs": [{"run_id": run.run_id, "arm": run.arm, "seed": run.seed} for run in plan.runs],
    }
    if code := codes(plan):
        content["code"] = code
    if (what := subject(plan, before)) is not None:
        content["what"] = what
    from analysis.procedures import FIRST, KEY, LATEST, procedure_of  # noqa: PLC0415 -- pandas is a dependency

    if (procedure := LATEST if before is None else procedure_of(before)) != FIRST:
        content[KEY] = procedure
    if own := [arm.name for arm in plan.arms if _has_own_validation(arm, plan)]:
        content["own_validation"] = own
    if left_out := _left_out(plan):
        content["left_out"] = left_out
    if before is not None and {key: before.get(key) for key in {**content, "what": None}} == {"what": None, **content}:
        return dict(before)
    return {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), **content}


def _has_own_validation(arm: Arm, plan: Plan) -> bool:
    """Return whether an arm is validated on the data set's own validation images, which are the same for every seed."""
    return plan.data[arm.name].validation is not None and arm.config.training.validation_fraction > 0


def _left_out(plan: Plan) -> dict[str, str]:
    """Return, by arm, a summary of the exclusion list: how many images are left out, and why."""
    lists = {arm.name: arm.config.data.exclude for arm in plan.arms if isinstance(arm.config.data, PhotoConfig)}
    said = {file: read_exclusions(file).summary() for file in set(lists.values()) if file is not None}
    return {name: said[file] for name, file in lists.items() if file is not None}


def subject(plan: Plan, before: Mapping[str, Any] | None = None) -> str | None:
    """Return the word for the treatment: from the study, or the treatment's name if no arm has a memory; else None.

    If a plan was stored without such a word, it remains without one unless the study now specifies one.
    """
    if before is not None and "what" not in before:
        return plan.study.spec.what
    treatment = next((arm.name for arm in plan.arms if arm.role == "aim"), None)
    has_memory = any(networks.has_network(arm.config) and arm.config.model.memory is not None for arm in plan.arms)
    return plan.study.spec.what or (None if has_memory else treatment)


def codes(plan: Plan) -> dict[str, str]:
    """Return the hash of each component in the user's own code, by family and name; empty if there are none."""
    return {
        f"{registry.family}/{component.name}": type(component).code
        for arm in plan.arms
        for registry, component in components_of(arm.config)
        if type(component).code
    }


def analysis_plan(document: Mapping[str, Any], claim: str | None) -> dict[str, Any]:
    """Return the frozen part of a stored plan; see `analysis.analysis_plan`. Computing it takes about a second.

    Parameters
    ----------
    claim : the claim under test, as the study names it.
    """
    from analysis.analysis_plan import content_of  # noqa: PLC0415
    from analysis.claims import read_claim  # noqa: PLC0415 -- pandas and scipy, which are needed only once per study
    from analysis.looks import looks_from  # noqa: PLC0415

    looks = looks_from(document["looks"], document["alpha"], document["further_block"])
    levels = () if looks.anytime else looks.levels
    tested = read_claim(claim) if claim is not None else None
    if tested is None:
        return content_of(document, {}, levels)
    return content_of(document, tested.gains_pp, levels, tested.scope, tested.statement)


def _claim_name(claim: str) -> str | None:
    """Return a claim's name without its file's folder; the file's content is stored with the study."""
    from analysis.claims.stored import name_of  # noqa: PLC0415 -- pandas

    return name_of(claim)


def claim_document(plan: Plan) -> dict[str, Any] | None:
    """Return the stored form of the claim under test; None if there is no claim or if it is a shipped claim."""
    from analysis.claims.stored import document_of, is_own  # noqa: PLC0415 -- pandas

    claim = plan.study.spec.claim
    return document_of(claim) if claim is not None and is_own(claim) else None


def model_rows(arms: tuple[Arm, ...], summaries: Mapping[str, ModelSummary]) -> list[dict[str, Any]]:
    """Return one row of `aimlib.records.MODELS` per arm."""
    baseline = reference(arms)
    return [
        {
            "arm": arm.name,
            "role": arm.role,
            **{
                name: getattr(summaries[arm.name], name) if networks.has_network(arm.config) else None
                for name in _COSTS
            },
            "readers": json.dumps([vars(reading) for reading in summaries[arm.name].attachment.readers]),
            "updates": json.dumps(summaries[arm.name].attachment.updates),
            "skipped": json.dumps(summaries[arm.name].attachment.skipped),
            "differences": json.dumps(differences(arm, baseline)),
            "config": arm.config.model_dump_json(),
        }
        for arm in arms
    ]


_COSTS = (
    "parameters",
    "trainable_parameters",
    "running_statistics",
    "multiply_adds",
    "activation_bytes",
    "memory_values",
    "memory_degrees_of_freedom",
)


def image_rows(data: DataSet) -> list[dict[str, Any]]:
    """Return one row of `aimlib.records.TEST_IMAGES` per test image."""
    return [
        {"image": number, "image_name": name, "label": int(label), "class_name": data.classes[label]}
        for number, (name, label) in enumerate(zip(data.test.names, data.test.labels, strict=True))
    ]
