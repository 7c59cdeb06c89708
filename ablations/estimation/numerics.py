"""A study's precision and memory format: differences between arms and, if requested, the speed of each setting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.estimation.estimate import Cost, estimate
from ablations.planning.arms import Arm
from ablations.planning.plan import Plan
from ablations.planning.protocol import reference
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.training.numerics import numerics_of
from aimlib.training.own.config import OwnRunConfig

_SECONDS = 2.0
"""Seconds after which no new step is timed with a setting."""
_WORTH_IT = 1.05
"""Minimum speed-up for which a change is proposed."""


def differing_notes(plan: Plan) -> Iterator[str]:
    """Yield a note for every rounding option that differs between arms, unless the option is a factor of the study."""
    if any(isinstance(arm.config, OwnRunConfig) for arm in plan.arms):
        return
    for name in numerics_of(plan.arms[0].config):
        values = {arm.name: numerics_of(arm.config)[name] for arm in plan.arms}
        if len(set(values.values())) > 1 and not _is_factor(plan, name):
            listed = ", ".join(f"{arm}: {value}" for arm, value in values.items())
            yield (
                f"training.{name} differs between arms ({listed}) but is not a factor of the study, so part of the "
                "difference between arms is due to rounding; set it below base"
            )


def _is_factor(plan: Plan, name: str) -> bool:
    for path, levels in plan.study.spec.factors.items():
        if path == f"training.{name}":
            return True
        if isinstance(levels, Mapping) and any(name in (level.get("training") or {}) for level in levels.values()):
            return True
    return False


@dataclass(frozen=True)
class Numerics:
    """Speed of each precision and memory format on one kind of device.

    Attributes
    ----------
    kind : kind of device.
    seconds : seconds per step, by setting and arm.
    stated : setting that the study specifies.
    """

    kind: str
    seconds: Mapping[str, Mapping[str, float]]
    stated: str

    @property
    def best(self) -> str:
        """The setting with the shortest total time for one step of every arm."""
        return min(self.seconds, key=lambda setting: sum(self.seconds[setting].values()))

    def gain(self, setting: str) -> float:
        """Return the speed of a setting relative to the one that the study specifies."""
        return sum(self.seconds[self.stated].values()) / sum(self.seconds[setting].values())

    @property
    def proposal(self) -> str:
        """The proposed setting, as a sentence."""
        if self.best == self.stated or self.gain(self.best) < _WORTH_IT:
            return f"numerics on {self.kind}: no setting is much faster than the stated one ({self.stated})"
        settings = " ".join(f"--set training.{each}" for each in self.best.split() if each not in self.stated.split())
        return (
            f"numerics on {self.kind}: {self.gain(self.best):.2f} × as fast as {self.stated}: {settings}; this "
            f"applies to all arms and changes run ids"
        )


def measure(plan: Plan, address: str | None = None) -> tuple[list[Numerics], tuple[str, ...]]:
    """Time the reference arm and the arm with the most multiply-adds in every precision and memory format.

    Returns
    -------
    speeds on each kind of device, and the reasons why something was not timed.
    """
    if any(isinstance(arm.config, OwnRunConfig) for arm in plan.arms):
        raise UsageError(
            "--numerics times the built-in training loop, but this study has its own training code; omit this option"
        )
    chosen = _extremes(plan)
    settings = {f"{arm.name}\n{label}": (arm, label, config) for arm in chosen for label, config in _settings(arm)}
    arms = tuple(replace(arm, name=name, config=config) for name, (arm, _, config) in settings.items())
    data = {name: plan.data[arm.name] for name, (arm, _, _) in settings.items()}
    found = estimate(replace(plan, arms=arms, data=data), address, _SECONDS)
    stated = _label(numerics_of(chosen[0].config))
    return [_numerics(cost, stated) for cost in found.costs], tuple(each.replace("\n", " ") for each in found.untimed)


def _extremes(plan: Plan) -> list[Arm]:
    largest = max(plan.arms, key=lambda arm: plan.summaries[arm.name].multiply_adds)
    return list({arm.name: arm for arm in (reference(plan.arms), largest)}.values())


def _settings(arm: Arm) -> Iterator[tuple[str, RunConfig]]:
    """Yield the arm's own setting, then every combination of settings; TensorFloat-32 is included only with CUDA."""
    known = {name: getattr(arm.config.training, name) for name in ("precision", "tf32", "memory_format")}
    rounding: Sequence[dict[str, Any]] = [
        {"precision": "float32", "tf32": False},
        *([{"precision": "float32", "tf32": True}] if arm.resources.trained_on == "cuda" else []),
        {"precision": "bfloat16", "tf32": known["tf32"]},
    ]
    formats = (
        [{"memory_format": each} for each in ("channels_last", "contiguous")] if "memory_format" in known else [{}]
    )
    for changes in itertools.chain(([known]), ({**a, **b} for a, b in itertools.product(rounding, formats))):
        training = arm.config.training.model_copy(update=changes)
        config = arm.config.model_copy(update={"training": training})
        yield _label(numerics_of(config)), config


def _label(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={str(value).lower()}" for name, value in options.items() if name != "step")


def _numerics(cost: Cost, stated: str) -> Numerics:
    seconds: dict[str, dict[str, float]] = {}
    for name, found in cost.arms.items():
        arm, _, label = name.partition("\n")
        seconds.setdefault(label, {})[arm] = found.step_seconds
    whole = max(len(by_arm) for by_arm in seconds.values())
    return Numerics(
        cost.kind or cost.device, {key: each for key, each in seconds.items() if len(each) == whole}, stated
    )
