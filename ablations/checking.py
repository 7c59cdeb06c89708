"""`ablate check`: what a study will run and cost, and what is wrong with it, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablations import planning
from ablations.arms import differences, expand
from ablations.estimate import Cost, estimate
from ablations.planning import Plan
from ablations.study import Resources, read_study
from aimlib.errors import ConfigError, DataError


@dataclass(frozen=True)
class Check:
    """Result of checking a study that has no problem.

    Attributes
    ----------
    plan : what will run.
    cost : None where timing was not asked for.
    notes : what is worth knowing and stops nothing.
    """

    plan: Plan
    cost: Cost | None
    notes: tuple[str, ...]


def check(study: str | Path, overrides: Iterable[str] = (), *, timing: bool = True) -> Check:
    """Validate a study whole, without running it.

    Raises
    ------
    ConfigError: with one message per problem; where only the data is missing, what could be checked without it
        has been.
    """
    file = read_study(study, overrides)
    _check_claim(file.spec.claim, str(file.path))
    try:
        plan = planning.plan(file)
    except DataError as error:
        planning.summaries_of(file, expand(file))
        raise ConfigError([f"{file.path}: base.data: {error}"]) from error
    cost = estimate(plan, parallel_here(file.spec.resources)) if timing else None
    return Check(plan, cost, tuple(_notes(plan)))


def _check_claim(claim: str | None, path: str) -> None:
    from analysis.claims import read_claim  # noqa: PLC0415 -- pandas, needed by nothing else here

    if claim is not None:
        try:
            read_claim(claim)
        except ValueError as error:
            raise ConfigError([f"{path}: claim: {error}"]) from error


def parallel_here(resources: Resources) -> int:
    """Return how many runs this machine's CPUs compute at once."""
    return max(1, (os.cpu_count() or 1) // resources.cpus)


def _notes(plan: Plan) -> Iterable[str]:
    for arm in plan.arms:
        attachment = plan.summaries[arm.name].attachment
        for layer, reason in attachment.skipped.items():
            yield f"arms.{arm.name}: layer {layer} does not read the memory: {reason}"
        for place in attachment.unread_updates:
            yield f"arms.{arm.name}: no update after {place}: no later layer would read it"
        if plan.summaries[arm.name].parameters and arm.role == "matched":
            yield f"arms.{arm.name}: widened, so its layers do not start as those of the other arms do"
    if len(plan.study.spec.seeds) < 5:
        yield f"seeds: {len(plan.study.spec.seeds)} pairs are a screening; a verdict needs at least 5"
    roles = {arm.role for arm in plan.arms}
    yield from (
        f"no arm has the role {role!r}, so there is no verdict" for role in ("baseline", "aim") if role not in roles
    )


def differing(plan: Plan) -> dict[str, list[str]]:
    """Return, for every arm, what differs from the baseline, as ``option: baseline's value -> own value``."""
    reference = planning.reference(plan.arms)
    return {
        arm.name: [
            f"{item['option']}: {written(item['baseline'])} -> {written(item['value'])}"
            for item in differences(arm, reference)
        ]
        for arm in plan.arms
    }


def written(value: object) -> str:
    """Return an option's value for people: ``conv_ones(channels=16, rows=4)``, ``none``, ``[8, 16]``."""
    if value is None:
        return "none"
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={written(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    return str(value)
