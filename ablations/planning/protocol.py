"""The protocol of a study's arms. Whether a study tests a claim depends on the protocol, among other things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.planning.arms import Arm, differences
from ablations.spec import yaml_documents
from aimlib.config import RunConfig
from aimlib.errors import ConfigError
from aimlib.registry import selections
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.protocols import PROTOCOLS

_MEMORY = tuple(
    f"model.{option}" for option in ("memory", "placement", "update", "update_after", "routing", "carry", "read_init")
)


def protocol(arms: tuple[Arm, ...]) -> str:
    """Return the protocol that the baseline and the first AiM arm follow, regardless of the protocol in the study file.

    ``as_run_exact``, ``as_run`` and ``as_described``: both arms equal the protocol's documents for their side.
    ``controlled``: all arms except those with the role other are trained in the same way and without test images. "In
    the same way" means that all options under `training` and `data` are equal and that AiM arms differ from the
    baseline only in their memory. "Without test images" means that the epoch is the last one or is chosen using
    held-out images, and that test accuracy neither stops a run early nor lowers its learning rate. Any other
    configuration is ``custom``, as is a user's own training code, because nothing is known about how it trains.
    """
    if any(isinstance(arm.config, OwnRunConfig) for arm in arms):
        return "custom"
    baseline = reference(arms)
    aims = [arm for arm in arms if arm.role == "aim"]
    if aims and baseline.config.model.memory is None:
        for name in ("as_run_exact", "as_run", "as_described"):
            sides = PROTOCOLS[name]
            if _follows(baseline, sides.common, sides.baseline) and _follows(aims[0], sides.common, sides.aim):
                return name
    compared = [arm for arm in arms if arm.role != "other"]
    alike = len({(arm.config.training, arm.config.data) for arm in compared}) == 1
    memory_alone = all(item["option"].startswith(_MEMORY) for arm in aims for item in differences(arm, baseline))
    clean = all(
        not selections.get(arm.config.training.selection.name).oracle
        and arm.config.training.early_stopping is None
        and arm.config.training.monitor == "validation"
        for arm in compared
    )
    return "controlled" if alike and clean and memory_alone else "custom"


def _follows(arm: Arm, common: Mapping[str, Any], side: Mapping[str, Any]) -> bool:
    """Return whether an arm matches one side of a protocol.

    Model and training must match completely, but the data must match only in the options that the protocol sets.
    """
    said = yaml_documents.merge(common, side)
    own = arm.config.model_dump(mode="json")
    expected_document = {
        "model": yaml_documents.merge({"backbone": {"name": arm.config.model.backbone.name}}, said["model"]),
        "data": yaml_documents.merge({"data": own["data"]}, {"data": said["data"]})["data"],
        "training": said["training"],
        "seed": arm.config.seed,
    }
    try:
        expected = RunConfig.parse(expected_document)
    except ConfigError:  # a data set or backbone that lacks options that the protocol sets
        return False
    return expected == arm.config


def reference(arms: tuple[Arm, ...]) -> Arm:
    """Return the baseline, or the first arm if the study has no baseline."""
    return next((arm for arm in arms if arm.role == "baseline"), arms[0])
