"""What `ablate check` reports about a search before anything is trained.

The report covers each arm's search space, problems, and unequal tuning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from ablations.planning.arms import arm_document
from ablations.search.arm_spaces import Space, spaces
from ablations.search.candidates import Candidates, built, own_arms, role_of
from ablations.search.conditions import unknown_conditions
from ablations.search.corners import corners
from ablations.search.grids import unknown_levels
from ablations.search.halving import epochs_of_bracket
from ablations.search.sampling import points_of, sampler_of, samples
from ablations.search.space import described, merged
from ablations.spec import yaml_documents
from ablations.spec.search import SearchSpec
from ablations.spec.study import StudyFile
from aimlib.component import Categorical, Integer
from aimlib.config import RunConfig
from aimlib.errors import ConfigError, UsageError, counted, unknown_name
from aimlib.registry import selections

_SAMPLED = 200
"""Number of configurations sampled if no corner of a space meets the constraints."""


def check(study: StudyFile) -> list[str]:
    """Return notes on a study's search, after building every corner of its search space on the meta device.

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
    """Return the number of epochs in every arm's trials.

    Raises
    ------
    ConfigError: the trials could not be judged without test images, or are too short for the rungs.
    """
    spec = spec_of(study)
    return {arm: _budget(study, spec, arm) for arm in spec.arms}


def spec_of(study: StudyFile) -> SearchSpec:
    """Return a study's search. Raise UsageError if the study has no search."""
    if study.spec.search is None:
        raise UsageError(f"{study.where}: this study has no search")
    return study.spec.search


def spaces_of(study: StudyFile) -> dict[str, Space]:
    """Return the search space of every searched arm.

    Raises
    ------
    ConfigError: see `ablations.search.arm_spaces.spaces`; or a grid is not finite, or has more points than there are
        trials.
    """
    spec = spec_of(study)
    try:
        found = spaces(spec, {arm: arm_document(study, arm) for arm in spec.arms})
    except ConfigError as error:
        raise ConfigError(f"{study.where}: {problem}" for problem in error.problems) from None
    parameters = [parameter for space in found.values() for parameter in space.parameters]
    over = [path for space in found.values() for path in space.over]
    problems = unknown_levels(spec.levels, parameters) + unknown_conditions(spec.when, over, parameters)
    names = {parameter.name for parameter in parameters}
    problems += [
        f"search.ranges.{name}: {unknown_name('parameter', name, names)}, or add it to search.over"
        for name in spec.ranges
        if name not in names
    ]
    sampler_of(spec)
    for arm, space in found.items():
        problems += _grid_problems(spec, arm, space)
    if problems:
        raise ConfigError(f"{study.where}: {problem}" for problem in dict.fromkeys(problems))
    return found


def _grid_problems(spec: SearchSpec, arm: str, space: Space) -> Iterable[str]:
    try:
        points = points_of(space, spec)
    except ConfigError as error:
        if spec.sampler.name == "grid":
            yield from error.problems
        else:
            wide = ", ".join(p.name for p in space.parameters if not isinstance(p.dimension, (Categorical, Integer)))
            yield (
                f"search.sampler: {spec.sampler.name} needs a finite space, but {wide or 'a range'} of arm {arm!r} is "
                "not finite; use sampler: grid with search.levels, or choices in search.ranges"
            )
        return
    if spec.sampler.name == "grid" and points is not None and len(points) > spec.trials:
        yield (
            f"search.trials: the grid of arm {arm!r} has {counted(len(points), 'point')}, more than "
            f"{counted(spec.trials, 'trial')}; increase trials to {len(points)}, or decrease search.levels"
        )


def _budget(study: StudyFile, spec: SearchSpec, arm: str) -> int:
    """Return the number of epochs in an arm's trials, after checking that they hold out validation images."""
    document = arm_document(study, arm)
    training = yaml_documents.merge(document.get("training", {}), spec.training)
    try:
        run = RunConfig.parse({**document, "training": training, "seed": spec.seeds[0]}).training
    except ConfigError as error:
        raise ConfigError(
            f"{study.where}: search: trials of arm {arm!r}: {problem}" for problem in error.problems
        ) from None
    problems = []
    if run.validation_fraction == 0:
        problems.append("do not hold out any validation images, which a search needs")
    elif run.monitor == "test" or selections.get(run.selection.name).oracle:
        problems.append("choose epochs on test images, which must not influence the choice")
    if problems:
        raise ConfigError(
            [
                f"{study.where}: search: trials of arm {arm!r} {problems[0]}; set search.training: {{select_on: "
                "validation}"
            ]
        )
    if spec.pruner is not None and len(spec.rungs(run.epochs)) < 2 and spec.pruner.name != "nop":
        raise ConfigError(
            [
                f"{study.where}: search.pruner: {counted(run.epochs, 'epoch')} of arm {arm!r} leave nothing for "
                f"{spec.pruner.name} to stop; set more epochs, or a smaller min_resource"
            ]
        )
    if spec.halving is not None:
        rungs = spec.halving.epochs(run.epochs)
        if len(set(rungs)) < len(rungs):
            raise ConfigError(
                [
                    f"{study.where}: search.halving: {counted(run.epochs, 'epoch')} of arm {arm!r} are too few for "
                    f"{len(rungs)} rungs with a factor of {spec.halving.reduction_factor} (they would end after "
                    f"{', '.join(map(str, rungs))}); set fewer rungs or more epochs"
                ]
            )
    return run.epochs


def _arm_notes(study: StudyFile, spec: SearchSpec, arm: str, space: Space, budget: int) -> list[str]:
    problems, count, outside = [], 0, 0
    document, candidates = arm_document(study, arm), Candidates(study, spec)
    for name, drawn in corners(list(space.parameters)):
        count += 1
        if problem := built(study, arm, merged(document, drawn))[1]:
            problems.append(f"search: corner {name} cannot be built and is skipped when it is drawn: {problem}")
        elif spec.constraints and candidates.violated(arm, merged(document, drawn))[1]:
            outside += 1
    if len(problems) == count:
        raise ConfigError(f"{study.where}: {problem}" for problem in problems)
    points = points_of(space, spec)
    trials = spec.trials if points is None else min(len(points), spec.trials)
    runs = trials * len(spec.seeds)
    notes = [
        f"search: {counted(len(space.parameters), 'parameter')} over {', '.join(space.over)}; "
        f"{counted(trials, 'trial')} x {counted(len(spec.seeds), 'seed')} = {counted(runs, 'run')} of arm {arm!r}, not "
        f"included in the runs above; {_epochs(spec, trials, budget)}; {_confirmed(spec)}",
        f"search: arm {arm!r}: {counted(count, 'corner')} of the space checked, {count - len(problems)} can be built",
    ]
    notes += _sampler_notes(spec, arm, space)
    if spec.constraints:
        listed = ", ".join(map(str, spec.constraints))
        notes.append(
            f"search: arm {arm!r}: {outside} of the {count - len(problems)} corners that can be built violate "
            f"{listed}; configurations that violate constraints are not trained and do not count as trials"
        )
        if outside == count - len(problems):
            notes += _nowhere_feasible(study, spec, arm, space, candidates)
    if space.left_out:
        notes.append(f"search: arm {arm!r} has no {', no '.join(space.left_out)}, so its search omits this")
    return [*notes, *(f"search: {arm}: {described(parameter)}" for parameter in space.parameters), *problems]


def _nowhere_feasible(
    study: StudyFile, spec: SearchSpec, arm: str, space: Space, candidates: Candidates
) -> Iterable[str]:
    """Yield a note if none of an arm's sampled configurations meets the constraints.

    Raises
    ------
    ConfigError: the space is finite, and none of its points meets the constraints.
    """
    document, points = arm_document(study, arm), points_of(space, spec)
    found = []
    for drawn in itertools.islice(samples(space, spec), _SAMPLED):
        complete = merged(document, drawn)
        if built(study, arm, complete)[1]:
            continue
        violation, said = candidates.violated(arm, complete)
        if not said:
            return
        found.append((violation, said))
    closest = f"; the closest: {min(found)[1]}" if found else ""
    remedy = "relax search.constraints, or widen search.ranges"
    if points is not None and len(points) <= _SAMPLED:
        raise ConfigError(
            [f"{study.where}: search: no configuration of arm {arm!r} meets the constraints{closest}; {remedy}"]
        )
    yield (
        f"search: arm {arm!r}: none of {_SAMPLED} sampled configurations meets the constraints{closest}; {remedy}, or "
        f"the search may find nothing to train"
    )


def _sampler_notes(spec: SearchSpec, arm: str, space: Space) -> Iterable[str]:
    """Yield notes on the parameters that a sampler does not model, and on how a search with the sampler resumes."""
    sampler = sampler_of(spec)
    kinds = getattr(sampler, "relative_to", ())
    depending = [p.name for p in space.parameters if p.only_if is not None or p.when]
    choices = [p.name for p in space.parameters if isinstance(p.dimension, Categorical) and p.name not in depending]
    at_random = [*(choices if "choices" not in kinds else []), *depending] if kinds else []
    if at_random:
        yield (
            f"search: arm {arm!r}: the sampler {spec.sampler.name} draws these parameters independently and at "
            f"random, because they are choices or occur only in some trials: {', '.join(at_random)}"
        )
    if not getattr(sampler, "replays", False):
        yield (
            f"search: the sampler {spec.sampler.name} may propose different values in a different process or on a "
            "different machine, so each batch is recorded before it is computed; a resumed search computes the "
            "recorded batches and continues from there"
        )


def _epochs(spec: SearchSpec, trials: int, budget: int) -> str:
    if spec.pruner is not None and len(rungs := spec.rungs(budget)) > 1:
        ends = ", ".join(map(str, rungs[:-1]))
        return f"{budget} epochs each, or fewer: the pruner {spec.pruner.name} may stop trials after {ends} epochs"
    if spec.halving is None:
        return f"{budget} epochs each"
    rungs = spec.halving.epochs(budget)
    batches = [min(spec.batch, trials - done) for done in range(0, trials, spec.batch)]
    epochs = len(spec.seeds) * sum(epochs_of_bracket(size, spec.halving.reduction_factor, rungs) for size in batches)
    whole = len(spec.seeds) * trials * budget
    ends = ", ".join(map(str, rungs[:-1]))
    return (
        f"one in {spec.halving.reduction_factor} of every {spec.batch} trials continues after {ends} of {budget} "
        f"epochs: {epochs} epochs instead of {whole}"
    )


def _confirmed(spec: SearchSpec) -> str:
    if spec.confirm == "beside":
        return f"the best {spec.top} are confirmed in addition to the study's arms"
    beside = f", {counted(spec.top, 'further trial')} in addition" if spec.top else ""
    return f"the best trial is confirmed in the arm's place{beside}"


def _unequal(
    study: StudyFile, spec: SearchSpec, found: Mapping[str, Space], budgets: Mapping[str, int]
) -> Iterable[str]:
    """Yield the differences in how much the arms are tuned."""
    roles: dict[str, Any] = {arm: role_of(study, arm) for arm in own_arms(study.spec)}
    baseline = next((arm for arm, role in roles.items() if role == "baseline"), None)
    searched = ", ".join(map(repr, spec.arms))
    if baseline is not None and baseline not in spec.arms:
        yield (
            f"search: unequal tuning: {searched} searched, but the baseline {baseline!r} is not: a difference between "
            "them may be due to the tuning; add the baseline to search.vary with its own options, e.g. "
            "training.optimizer.learning_rate"
        )
    aims = [arm for arm, role in roles.items() if role == "aim"]
    if aims and baseline in spec.arms and not set(aims) & set(spec.arms):
        yield f"search: unequal tuning: the baseline {baseline!r} is searched, but no treatment is"
    if len(set(budgets.values())) > 1:
        each = ", ".join(f"{arm} {epochs}" for arm, epochs in budgets.items())
        yield (
            f"search: unequal tuning: trials have different numbers of epochs ({each}); set search.training: {{epochs: "
            "...}"
        )
    if spec.sampler.name == "grid":
        sizes = {arm: len(points_of(space, spec) or ()) for arm, space in found.items()}
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{arm} {size}" for arm, size in sizes.items())
            yield f"search: unequal tuning: the grids have different numbers of points ({each})"
