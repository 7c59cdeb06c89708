"""How many images per second are processed with each precision, memory format, batch size and step mode?"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.models import summarize
from bench.gpu.arms import Trainer, arms_of_study, changed, give_back, graphs, has, limit
from bench.gpu.report import Report
from bench.harness import Goal

_RESERVE_S = 6.0
ARMS = ("baseline", "every_layer", "aim")
_BESIDE = 0.15
"""Additional time, as a share of the baseline's time, that `every_layer` may take beyond its multiply-adds."""


@dataclass(frozen=True)
class Variant:
    """An arm with its differences from the default: float32, channels last, batch 64, eager.

    Attributes
    ----------
    arm : name of the arm.
    training : training options that are changed.
    text : description of the variant for human readers.
    """

    arm: str
    text: str = "float32, channels last, batch 64, eager"
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """Training options that the variant needs and that older versions of this package lack."""
        return [name for name in ("step", "memory_format") if name in self.training]


def variants(large: int, small: int, varied: Sequence[str] = ARMS) -> list[Variant]:
    """Return the variants: the default and those with goals first, the compiled step last.

    Parameters
    ----------
    large, small : batch sizes.
    varied : arms for which one option at a time is varied.
    """
    eager = {"batch_size": large, **({"step": "eager"} if has("step") else {})}

    def of(arm: str, text: str, **training: Any) -> Variant:
        return Variant(arm, text, {**eager, **training})

    found = [of(arm, f"float32, channels last, batch {large}, eager") for arm in ARMS]
    found += [
        of("as run", f"batch {small}, eager", batch_size=small),
        of("as run", f"batch {small}, graph", batch_size=small, step="graph"),
    ]
    for arm in varied:
        found += [
            of(arm, f"bfloat16, batch {large}", precision="bfloat16"),
            of(arm, f"TF32, batch {large}", tf32=True),
            of(arm, f"graph, batch {large}", step="graph"),
            of(arm, f"contiguous, batch {large}", memory_format="contiguous"),
            of(arm, f"batch {small}", batch_size=small),
        ]
    return [*found, of("baseline", f"compiled, batch {large}", step="compiled")]


def check(told: Report) -> None:
    """Measure the variants one after another, and compare them with the goals."""
    large, small, varied = told.choose((64, 16, ARMS), (8, 4, ARMS[:1]))
    configs = _configs(told)
    rates: dict[tuple[str, str], list[float]] = {}
    counts: dict[str, int] = {}
    *measured, compiled = variants(large, small, varied)
    for variant in measured:
        _measure(told, variant, configs[variant.arm], rates, counts)
    _goals(told, rates, counts, large, small)
    if told.left() > _RESERVE_S:
        told.given_up_without_time(f"{compiled.arm}, {compiled.text}")
    _measure(told, compiled, configs[compiled.arm], rates, counts)


def _measure(
    told: Report,
    variant: Variant,
    arm: RunConfig,
    rates: dict[tuple[str, str], list[float]],
    counts: dict[str, int],
) -> None:
    """Measure a variant if it is possible and time is left, and record its images per second and multiply-adds."""
    what = f"{variant.arm}, {variant.text}"
    lacking = [name for name in variant.needs if not has(name)]
    if lacking or told.left() < _RESERVE_S:
        told.unmeasured(what, f"there is no option `training.{lacking[0]}`" if lacking else "no time was left")
        return
    config = changed(arm, **variant.training)
    found = _measured(told, what, config)
    if found is None:
        return
    rates[variant.arm, variant.text] = found
    multiply_adds = summarize(config.model, shape_of(config), config.training.batch_size).multiply_adds
    counts[variant.arm] = multiply_adds
    told.row(variant.text, variant.arm, found, "images/s")
    most = limit(told, multiply_adds, config.training.precision, config.training.tf32)
    if not math.isnan(most):
        told.row(variant.text, f"{variant.arm}: limit imposed by multiply-adds", [most], "images/s")


def _configs(told: Report) -> dict[str, RunConfig]:
    """Return the baseline and `aim` of `controlled`, memory without an update, and `aim` as run."""
    controlled = {name: arm.run(0) for name, arm in arms_of_study(told, "controlled").items()}
    aim = controlled["aim"]
    plain = aim.model_copy(update={"model": aim.model.model_copy(update={"update": None, "update_after": None})})
    as_run = arms_of_study(told, "replication")["aim"].run(0)
    return {"baseline": controlled["baseline"], "every_layer": plain, "aim": aim, "as run": as_run}


def _measured(told: Report, what: str, config: RunConfig) -> list[float] | None:
    """Return the images per second over several epochs, or None if training fails."""
    batches = told.choose(8, 2) * (1 if config.training.batch_size > 32 else 3)
    try:
        with graphs(told.device) if config.training.model_dump().get("step") == "graph" else contextlib.nullcontext():
            return Trainer(config, told.device, batches).rates(rounds=told.choose(5, 1), warm_up=told.choose(2, 1))
    except UsageError as error:  # for example, because there is no compiler
        told.unmeasured(what, str(error))
        return None
    except Exception as error:  # noqa: BLE001 -- the other variants are measured nevertheless
        text = next(iter(str(error).strip().splitlines()), "")
        told.expect(False, f"can be measured: {what}", f"{type(error).__name__}: {text[:300]}")
        return None
    finally:
        give_back(told.device)


def _goals(
    told: Report, rates: dict[tuple[str, str], list[float]], counts: dict[str, int], large: int, small: int
) -> None:
    def median(arm: str, text: str) -> float | None:
        found = rates.get((arm, text))
        return None if found is None else statistics.median(found)

    default = f"float32, channels last, batch {large}, eager"
    baseline, memory = median("baseline", default), median("every_layer", default)
    if baseline is not None and memory is not None:
        bound = counts["every_layer"] / counts["baseline"] + _BESIDE
        text = f"time of every_layer / baseline, float32, batch {large}: the ratio of multiply-adds + {_BESIDE}"
        told.goal(Goal(text, baseline / memory, bound, "most"))
    if baseline is not None:
        most = limit(told, counts["baseline"], "float32", tf32=False)
        if math.isnan(most):
            told.unmeasured("the share of the card's limit", "the card's peak is not known here")
        else:
            told.goal(Goal(f"share of the limit, baseline, float32, batch {large}", baseline / most, 0.6, "least"))
    eager, graph = median("as run", f"batch {small}, eager"), median("as run", f"batch {small}, graph")
    if eager is not None and graph is not None:
        told.goal(Goal(f"images/s of the as-run step at batch {small}, graph / eager", graph / eager, 1.5, "least"))
