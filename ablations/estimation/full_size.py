"""`ablate check --claim`: the runs, hours, disk space and pairs for a full-size test of a claim, per study.

Everything is computed from the study files. The hours are measured if a GPU is available; otherwise, the hours are
lower bounds computed from the number of operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ablations.estimation.disk import Disk, disk
from ablations.estimation.estimate import Cost, Estimate, batches_of_epoch, estimate
from ablations.planning import plan as planning
from ablations.planning.arms import Arm
from ablations.planning.plan import Plan
from ablations.spec.study import read_study
from aimlib.datasets._stanford_dogs import BREEDS, TEST_PHOTOS, TRAIN_PER_BREED
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.errors import ConfigError, unknown_name
from aimlib.registry import datasets
from analysis.claims import Claim, read_claim

STUDIES: Mapping[str, tuple[str, ...]] = {"stanford_dogs_aim": ("replication", "controlled", "confounds")}
"""Studies that test a claim at full size, in the recommended order."""
PEAKS: Mapping[str, Mapping[str, float]] = {
    "H100": {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12},
}
"""Operations per second for dense products, by card and precision, as specified by NVIDIA; a multiply-add is two
operations."""
GPUS = 8
"""Number of GPUs in the node for which hours and disk space are reported."""


@dataclass(frozen=True)
class Part:
    """One study at full size.

    Attributes
    ----------
    plan : plan of the study, with images of the right number and size but without content.
    operations : operations in a run of each arm, for training and evaluation over all epochs.
    disk : disk use of the study.
    costs : measured cost per kind of GPU; empty if none was available.
    """

    plan: Plan
    operations: Mapping[str, float]
    disk: Disk
    costs: tuple[Cost, ...]

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.plan.study.spec.name

    @property
    def seeds(self) -> int:
        """Number of seeds, which is also the number of runs per arm."""
        return len(self.plan.study.spec.seeds)

    def hours(self, peak: float) -> float:
        """Return the minimum number of hours for all runs on one card with this peak performance."""
        return self.seeds * sum(self.operations.values()) / peak / 3600

    def longest_hours(self, peak: float) -> float:
        """Return the minimum number of hours for the longest run, which additional cards do not shorten."""
        return max(self.operations.values()) / peak / 3600

    @property
    def precision(self) -> str:
        """The precision that the study specifies, as a key of a card's entry in `PEAKS`."""
        training = self.plan.arms[0].config.training
        return training.precision if training.precision != "float32" else "tf32" if training.tf32 else "float32"

    @property
    def pack_bytes(self) -> dict[str, int]:
        """Bytes of the packed photos that the arms read, by data configuration."""
        return {
            arm.config.data.model_dump_json(exclude={"root", "cache"}): _bytes_of(self.plan.data[arm.name])
            for arm in self.plan.arms
        }


@dataclass(frozen=True)
class FullSize:
    """Requirements for testing a claim.

    Attributes
    ----------
    claim : the claim.
    parts : the claim's studies, in order.
    untimed : reasons why hours were not measured; empty if the hours were measured, or if timing was not requested.
    """

    claim: Claim
    parts: tuple[Part, ...]
    untimed: tuple[str, ...]


def full_size(claim: str = "stanford_dogs_aim", *, timing: bool = True, address: str | None = None) -> FullSize:
    """Return the requirements for a full-size test of a claim; the photos are not needed.

    Parameters
    ----------
    timing : measure hours if a GPU is available on this machine or on the cluster; see
        `ablations.estimation.estimate.estimate`.
    address : address of a Ray cluster.

    Raises
    ------
    ConfigError: no studies are shipped for the claim.
    UsageError: no cluster is running at the address.
    """
    if claim not in STUDIES:
        raise ConfigError([f"--claim {claim}: {unknown_name('claim', claim, STUDIES)}"])
    plans = [_plan(name) for name in STUDIES[claim]]
    found = [estimate(plan, address) if timing else Estimate() for plan in plans]
    parts = tuple(
        Part(plan, {arm.name: _operations(arm, plan) for arm in plan.arms}, disk(plan, GPUS), each.costs)
        for plan, each in zip(plans, found, strict=True)
    )
    return FullSize(read_claim(claim), parts, tuple(dict.fromkeys(why for each in found for why in each.untimed)))


def _plan(name: str) -> Plan:
    study = read_study(name)
    arms = planning.arms_of(study)
    data = {arm.name: _empty(arm) for arm in arms}
    return Plan(study, tuple(arms), planning.summaries_of(arms), data, ())


def _empty(arm: Arm) -> DataSet:
    """Return a stand-in for Stanford Dogs: as many images, in the size that the arm uses, but without content."""
    shape: ImageShape = datasets.create(arm.config.data).shape()

    def images(count: int) -> Images:
        pixels = np.broadcast_to(np.uint8(0), (count, shape.height, shape.width, shape.channels))
        return Images(pixels, np.arange(count, dtype=np.int64) % BREEDS, ())

    return DataSet(images(TRAIN_PER_BREED * BREEDS), images(TEST_PHOTOS), (), "")


def _operations(arm: Arm, plan: Plan) -> float:
    """Return the number of operations in a run: per multiply-add, 6 for a trained image and 2 for an evaluated one."""
    trained, evaluated = batches_of_epoch(arm, plan.data[arm.name])
    training, multiply_adds = arm.config.training, plan.summaries[arm.name].multiply_adds
    return multiply_adds * (6 * trained + 2 * evaluated) * training.batch_size * training.epochs


def _bytes_of(data: DataSet) -> int:
    return sum(images.pixels.nbytes for images in data.splits().values())
