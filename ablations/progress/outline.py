"""What is planned of a study, as far as progress goes: from a plan, or from its stored document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aimlib.errors import StoreError
from aimlib.records import PLANS, STUDY_FILE

if TYPE_CHECKING:
    from ablations.planning.plan import Plan


@dataclass(frozen=True)
class Outline:
    """What is planned, as far as progress goes.

    Attributes
    ----------
    name : of the study.
    epochs : planned epochs of a run, by arm, in the order of the plan.
    runs : run id, arm and seed of every run, in the order of the plan.
    weights : cost of an epoch by arm, in any unit: tells arms apart before they have run.
    """

    name: str
    epochs: Mapping[str, int]
    runs: tuple[tuple[str, str, int], ...]
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Outline:
        """Return the outline of a plan."""
        return cls(
            plan.study.spec.name,
            {arm.name: arm.config.training.epochs for arm in plan.arms},
            tuple((run.run_id, run.arm, run.seed) for run in plan.runs),
            {name: float(summary.multiply_adds) for name, summary in plan.summaries.items()},
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Outline:
        """Return the outline of a plan as it is stored, see `ablations.planning.plan.document`.

        Raises
        ------
        StoreError: it lacks something.
        """
        try:
            return cls(
                str(document["name"]),
                {str(arm["name"]): int(arm["config"]["training"]["epochs"]) for arm in document["arms"]},
                tuple((str(run["run_id"]), str(run["arm"]), int(run["seed"])) for run in document["runs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{STUDY_FILE}: is no plan of a study ({error!r}); restore the newest of {PLANS}/*.json under this name"
            ) from error
