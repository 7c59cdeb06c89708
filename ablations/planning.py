"""From a study to what will run: every run with its identity, the plan as it is stored, the arms as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aimlib
from ablations.arms import Arm, differences, expand, shape_of
from ablations.study import StudyFile
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import ConfigError, DataError
from aimlib.models import ModelSummary, summarize
from aimlib.registry import datasets, selections


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
    """What a study will run.

    Attributes
    ----------
    study : the validated file.
    arms : in the order of the file.
    summaries : what each arm's network costs, by arm.
    data : the data of each arm, by arm.
    runs : seed by seed, so that an unfinished study holds complete pairs.
    """

    study: StudyFile
    arms: tuple[Arm, ...]
    summaries: Mapping[str, ModelSummary]
    data: Mapping[str, DataSet]
    runs: tuple[PlannedRun, ...]


def plan(study: StudyFile) -> Plan:
    """Return the plan of a study, its data loaded (and prepared, where that had not been done).

    Raises
    ------
    ConfigError: with one message per problem of the study.
    DataError: data that is missing or does not fit.
    """
    arms = expand(study)
    summaries = summaries_of(study, arms)
    data = _data(arms)
    runs = [
        PlannedRun(config.run_id(data[arm.name].fingerprint), arm.name, seed, config, data[arm.name].fingerprint)
        for seed in study.spec.seeds
        for arm in arms
        for config in [arm.run(seed)]
    ]
    return Plan(study, tuple(arms), summaries, data, tuple(runs))


def summaries_of(study: StudyFile, arms: list[Arm]) -> dict[str, ModelSummary]:
    """Return the summary of every arm's network.

    Raises
    ------
    ConfigError: an option of an arm has no effect on its network.
    """
    summaries = {
        arm.name: summarize(arm.config.model, shape_of(arm.config), arm.config.training.batch_size) for arm in arms
    }
    problems = [f"{study.path}: arms.{arm.name}: {problem}" for arm in arms for problem in _idle(arm.config)]
    if problems:
        raise ConfigError(problems)
    return summaries


def _idle(config: RunConfig) -> list[str]:
    """Return what a run's options say without effect."""
    problems = []
    training = config.training
    augmentation = training.augmentation
    changing = ("rotation", "translation", "horizontal_flip", "vertical_flip", "contrast")
    if augmentation is not None and not any(getattr(augmentation, name) for name in changing):
        problems.append(f"training.augmentation without effect: set one of {', '.join(changing)}, or remove it")
    stopping = training.early_stopping
    if stopping is not None and stopping.patience >= training.epochs:
        problems.append(
            f"training.early_stopping without effect: patience {stopping.patience} is not below the "
            f"{training.epochs} epochs of the budget"
        )
    return problems


def _data(arms: list[Arm]) -> dict[str, DataSet]:
    loaded: dict[str, DataSet] = {}
    found: dict[str, DataSet] = {}
    for arm in arms:
        key = arm.config.data.model_dump_json()
        if key not in loaded:
            loaded[key] = datasets.create(arm.config.data).load()
        found[arm.name] = loaded[key]
        _fitting(arm, loaded[key])
    return found


def _fitting(arm: Arm, data: DataSet) -> None:
    _, height, width, channels = data.train.pixels.shape
    shape = shape_of(arm.config)
    if (channels, height, width, len(data.classes)) != (
        shape.channels,
        shape.height,
        shape.width,
        shape.classes,
    ):
        raise DataError(
            f"arms.{arm.name}: data {arm.config.data.name!r} holds {len(data.classes)} classes of {channels} x "
            f"{height} x {width} images, and the configuration says {shape}; a fault of that data set's plugin"
        )
    size, images = arm.config.training.batch_size, len(data.train.labels)
    if size > images:
        raise DataError(
            f"arms.{arm.name}: training.batch_size {size} is larger than the {images} training images; lower it"
        )


def document(plan: Plan, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the plan as it is stored in the study directory.

    Parameters
    ----------
    before : the plan that is stored already; an equal one keeps its date.
    """
    spec = plan.study.spec
    baseline = reference(plan.arms)
    data = plan.data[baseline.name]
    content: dict[str, Any] = {
        "name": spec.name,
        "claim": spec.claim,
        "package_version": aimlib.__version__,
        "scope": {
            "dataset": baseline.config.data.name,
            "classes": len(data.classes),
            "image_size": int(data.train.pixels.shape[1]),
            "backbone": baseline.config.model.backbone.name,
            "protocol": protocol(plan.arms),
            "data_fingerprint": data.fingerprint,
        },
        "delta_pp": spec.delta_pp,
        "arms": [
            {"name": arm.name, "role": arm.role, "of": arm.of, "config": arm.config.model_dump(mode="json")}
            for arm in plan.arms
        ],
        "seeds": list(spec.seeds),
        "runs": [{"run_id": run.run_id, "arm": run.arm, "seed": run.seed} for run in plan.runs],
    }
    if before is not None and {key: before.get(key) for key in content} == content:
        return dict(before)
    return {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), **content}


def protocol(arms: tuple[Arm, ...]) -> str:
    """Return ``controlled`` where all arms are trained alike and no test image has a say, else ``custom``.

    Alike means: equal in everything under `training` and `data`. No say: the epoch is chosen on held-out images, or
    it is the last one; nothing stops a run early.
    """
    alike = len({(arm.config.training, arm.config.data) for arm in arms}) == 1
    clean = all(
        not selections.get(arm.config.training.selection.name).oracle and arm.config.training.early_stopping is None
        for arm in arms
    )
    return "controlled" if alike and clean else "custom"


def reference(arms: tuple[Arm, ...]) -> Arm:
    """Return the baseline; the first arm where there is none."""
    return next((arm for arm in arms if arm.role == "baseline"), arms[0])


def model_rows(arms: tuple[Arm, ...], summaries: Mapping[str, ModelSummary]) -> list[dict[str, Any]]:
    """Return one row of `aimlib.records.MODELS` per arm."""
    baseline = reference(arms)
    return [
        {
            "arm": arm.name,
            "role": arm.role,
            **{name: getattr(summaries[arm.name], name) for name in _COSTS},
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
