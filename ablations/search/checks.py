"""What `ablate check` reports about a search before anything is trained.

What each arm gets, what is wrong or unequal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ablations.planning.arms import arm_document
from ablations.search.arm_spaces import Space, spaces
from ablations.search.candidates import built, own_arms, role_of
from ablations.search.corners import corners
from ablations.search.grids import unknown_levels
from ablations.search.halving import epochs_of_bracket
from ablations.search.sampling import shuffled_grid
from ablations.search.space import described, merged
from ablations.spec import yaml_documents
from ablations.spec.search import SearchSpec
from ablations.spec.study import StudyFile
from aimlib.config import RunConfig
from aimlib.errors import ConfigError, UsageError
from aimlib.registry import selections


def check(study: StudyFile) -> list[str]:
    """Return notes on the search of a study, every corner of its space built on the meta device.

    Raises
    ------
    ConfigError: the space is invalid, no corner of an arm's space can be built, or the trials could not be judged
    without test images.
    """
    spec = spec_of(study)
    found, budgets = spaces_of(study), budgets_of(study)
    notes = []
    for arm, space in found.items():
        notes += _arm_notes(study, spec, arm, space, budgets[arm])
    return [*notes, *_unequal(study, spec, found, budgets)]


def budgets_of(study: StudyFile) -> dict[str, int]:
    """Return the epochs of every arm's trials.

    Raises
    ------
    ConfigError: the trials could not be judged without test images, or have too few epochs for the rungs.
    """
    spec = spec_of(study)
    return {arm: _budget(study, spec, arm) for arm in spec.arms}


def spec_of(study: StudyFile) -> SearchSpec:
    """Return the search of a study; UsageError if it has none."""
    if study.spec.search is None:
        raise UsageError(f"{study.path}: this study has no search")
    return study.spec.search


def spaces_of(study: StudyFile) -> dict[str, Space]:
    """Return the space of every searched arm.

    Raises
    ------
    ConfigError: see `ablations.search.arm_spaces.spaces`; a grid that is not finite, or larger than the trials.
    """
    spec = spec_of(study)
    try:
        found = spaces(spec, {arm: arm_document(study, arm) for arm in spec.arms})
    except ConfigError as error:
        raise ConfigError(f"{study.path}: {problem}" for problem in error.problems) from None
    problems = unknown_levels(spec.levels, [p for space in found.values() for p in space.parameters])
    for arm, space in found.items():
        problems += _grid_problems(spec, arm, space)
    if problems:
        raise ConfigError(f"{study.path}: {problem}" for problem in dict.fromkeys(problems))
    return found


def _grid_problems(spec: SearchSpec, arm: str, space: Space) -> Iterable[str]:
    if spec.sampler != "grid":
        return
    try:
        points = len(shuffled_grid(space, spec))
    except ConfigError as error:
        yield from error.problems
        return
    if points > spec.trials:
        yield (
            f"search.trials: the grid of arm {arm!r} has {points} points, more than {spec.trials} trials; raise trials "
            f"to {points}, or lower search.levels"
        )


def _budget(study: StudyFile, spec: SearchSpec, arm: str) -> int:
    """Return the epochs of an arm's trials, after checking that validation images can judge them."""
    document = arm_document(study, arm)
    training = yaml_documents.merge(document.get("training", {}), spec.training)
    try:
        run = RunConfig.parse({**document, "training": training, "seed": spec.seeds[0]}).training
    except ConfigError as error:
        raise ConfigError(
            f"{study.path}: search: trials of arm {arm!r}: {problem}" for problem in error.problems
        ) from None
    problems = []
    if run.validation_fraction == 0:
        problems.append("hold out no validation images, by which a search is judged")
    elif run.monitor == "test" or selections.get(run.selection.name).oracle:
        problems.append("choose epochs on test images, which must not influence the choice")
    if problems:
        raise ConfigError(
            [
                f"{study.path}: search: trials of arm {arm!r} {problems[0]}; give search.training: "
                f"{{select_on: validation}}"
            ]
        )
    if spec.halving is not None:
        rungs = spec.halving.epochs(run.epochs)
        if len(set(rungs)) < len(rungs):
            raise ConfigError(
                [
                    f"{study.path}: search.halving: {run.epochs} epochs of arm {arm!r} have no {len(rungs)} rungs with "
                    f"a factor of {spec.halving.reduction_factor} (they would end after {', '.join(map(str, rungs))}); "
                    f"give fewer rungs or more epochs"
                ]
            )
    return run.epochs


def _arm_notes(study: StudyFile, spec: SearchSpec, arm: str, space: Space, budget: int) -> list[str]:
    problems, count = [], 0
    document = arm_document(study, arm)
    for name, drawn in corners(list(space.parameters)):
        count += 1
        if problem := built(study, arm, merged(document, drawn))[1]:
            problems.append(f"search: corner {name} cannot be built and is skipped when it is drawn: {problem}")
    if len(problems) == count:
        raise ConfigError(f"{study.path}: {problem}" for problem in problems)
    trials = len(shuffled_grid(space, spec)) if spec.sampler == "grid" else spec.trials
    runs = trials * len(spec.seeds)
    notes = [
        f"search: {len(space.parameters)} parameters over {', '.join(space.over)}; {trials} trials x "
        f"{len(spec.seeds)} seeds = {runs} runs of arm {arm!r}, not among those above; "
        f"{_epochs(spec, trials, budget)}; {_confirmed(spec)}",
        f"search: arm {arm!r}: {count} corners of the space checked, {count - len(problems)} can be built",
    ]
    if space.left_out:
        notes.append(f"search: arm {arm!r} has no {', no '.join(space.left_out)}: not searched for it")
    return [*notes, *(f"search: {arm}: {described(parameter)}" for parameter in space.parameters), *problems]


def _epochs(spec: SearchSpec, trials: int, budget: int) -> str:
    if spec.halving is None:
        return f"{budget} epochs each"
    rungs = spec.halving.epochs(budget)
    batches = [min(spec.batch, trials - done) for done in range(0, trials, spec.batch)]
    epochs = len(spec.seeds) * sum(epochs_of_bracket(size, spec.halving.reduction_factor, rungs) for size in batches)
    whole = len(spec.seeds) * trials * budget
    ends = ", ".join(map(str, rungs[:-1]))
    return (
        f"of every {spec.batch} trials one of {spec.halving.reduction_factor} goes on after {ends} of {budget} epochs: "
        f"{epochs} epochs instead of {whole}"
    )


def _confirmed(spec: SearchSpec) -> str:
    if spec.confirm == "beside":
        return f"the best {spec.top} are confirmed beside the study's arms"
    beside = f", {spec.top} further ones beside it" if spec.top else ""
    return f"the best is confirmed in the arm's place{beside}"


def _unequal(
    study: StudyFile, spec: SearchSpec, found: Mapping[str, Space], budgets: Mapping[str, int]
) -> Iterable[str]:
    """Yield the differences in the tuning of the arms."""
    roles: dict[str, Any] = {arm: role_of(study, arm) for arm in own_arms(study.spec)}
    baseline = next((arm for arm, role in roles.items() if role == "baseline"), None)
    searched = ", ".join(map(repr, spec.arms))
    if baseline is not None and baseline not in spec.arms:
        yield (
            f"search: unequal tuning: {searched} searched and the baseline {baseline!r} is not: a difference between "
            f"them may be due to the tuning; add it to search.vary with the options that it has, e.g. "
            f"training.optimizer.learning_rate"
        )
    aims = [arm for arm, role in roles.items() if role == "aim"]
    if aims and baseline in spec.arms and not set(aims) & set(spec.arms):
        yield f"search: unequal tuning: the baseline {baseline!r} is searched, and no arm with memory is"
    if len(set(budgets.values())) > 1:
        each = ", ".join(f"{arm} {epochs}" for arm, epochs in budgets.items())
        yield (
            f"search: unequal tuning: trials have different numbers of epochs ({each}); give search.training: "
            f"{{epochs: ...}}"
        )
    if spec.sampler == "grid":
        sizes = {arm: len(shuffled_grid(space, spec)) for arm, space in found.items()}
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{arm} {size}" for arm, size in sizes.items())
            yield f"search: unequal tuning: the grids have different numbers of points ({each})"
