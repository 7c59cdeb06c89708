"""A study's search space, from the dimensions that the registered plugins themselves provide.

A component that is searched over is a choice among its family's plugins. Each choice has that plugin's dimensions, so
an option is drawn only if its plugin was chosen. Third-party plugins and their dimensions are included automatically.
Parameters are named by key paths: ``model.memory`` is the choice, and ``model.memory.conv_ones.channels`` is an option
of that choice. This module does not import Optuna; a trial is any object with Optuna's `suggest_...` methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ablations.spec import yaml_documents
from ablations.spec.advice import key_path_meant
from ablations.spec.search_conditions import Condition
from aimlib.component import Categorical, Dimension, Integer, Real
from aimlib.config import CarryConfig, ModelConfig, TrainingConfig
from aimlib.errors import ConfigError, did_you_mean, unknown_name
from aimlib.registry import Registry, backbones, losses, memories, optimizers, placements, schedules, updates

if TYPE_CHECKING:
    import optuna

COMPONENTS: Mapping[str, Registry] = {
    "model.backbone": backbones,
    "model.memory": memories,
    "model.placement": placements,
    "model.update": updates,
    "training.optimizer": optimizers,
    "training.schedule": schedules,
    "training.loss": losses,
}
"""Components that can be searched, by family; the update and the schedule may also be none."""

_MAY_BE_NONE = frozenset({"model.update", "training.schedule"})
_OF_MEMORY = frozenset(
    ("model", option) for option in ("memory", "placement", "update", "update_after", "routing", "carry", "read_init")
)
NONE = "none"
"""The choice that omits a component."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the search.

    Attributes
    ----------
    name : key path; for an option of a component, it includes the choice.
    path : place of the parameter's value in a document.
    dimension : its possible values.
    only_if : name and value of another parameter on which this parameter depends; None if it is always drawn. The value
        None stands for any value except none.
    when : further conditions, from `SearchSpec.when`.
    """

    name: str
    path: tuple[str, ...]
    dimension: Dimension
    only_if: tuple[str, str | None] | None = None
    when: tuple[Condition, ...] = ()


def space(
    over: Iterable[str], document: Mapping[str, Any], ranges: Mapping[str, Dimension] | None = None
) -> list[Parameter]:
    """Return the parameters of a search, in the order in which they are drawn.

    Parameters
    ----------
    over : key paths, see `ablations.spec.study.SearchSpec.over`.
    document : document of the varied arm (base and arm merged), which determines the component to which single paths
        belong.
    ranges : dimensions that replace the components' own dimensions, by parameter name.

    Raises
    ------
    ConfigError: paths are unknown; there is one message for each path.
    """
    parameters: list[Parameter] = []
    problems: list[str] = []
    over, ranges = tuple(over), ranges or {}
    for path in over:
        try:
            found = [_single_of_run(path)] if _is_free(path, document, ranges) else _parameters(path, document, over)
            parameters += with_ranges(found, ranges)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return sorted(parameters, key=lambda parameter: parameter.only_if is not None)  # stable, choices first


def _parameters(path: str, document: Mapping[str, Any], over: tuple[str, ...]) -> Iterator[Parameter]:
    keys = tuple(path.split("."))
    if keys[:2] in _OF_MEMORY and not _has_memory(document):
        raise ConfigError(
            [
                f"search.over: {path!r}: the varied arm has no memory, and a search must not add a memory: it would no "
                "longer be the arm that others are compared with; omit the path for this arm"
            ]
        )
    if path in COMPONENTS:
        yield from _component(path, COMPONENTS[path])
    elif path == "model.carry":
        yield Parameter(path, keys, Categorical((NONE, "with")))
        for option, dimension in CarryConfig.search_space.items():
            yield Parameter(f"{path}.{option}", (*keys, option), dimension, (path, "with"))
    elif keys[0] == "model" and len(keys) == 2 and keys[1] in ModelConfig.search_space:
        needs_update = ("model.update", None) if keys[1] == "update_after" and "model.update" in over else None
        yield Parameter(path, keys, ModelConfig.search_space[keys[1]], needs_update)
    elif (owner := ".".join(keys[:-1])) in COMPONENTS:
        yield _single(path, owner, document)
    else:
        raise ConfigError([f"search.over: {path!r} {_not_searched(path)}"])


def _not_searched(path: str) -> str:
    """Return why a path without a range of its own cannot be searched, and what to write instead."""
    known = [*COMPONENTS, "model.carry", *(f"model.{option}" for option in ModelConfig.search_space)]
    parents = {"model": ModelConfig.model_fields, "training": TrainingConfig.model_fields}
    parent, _, option = path.partition(".")
    if option in (fields := parents.get(parent, {})):
        if parent == "training" and option in _JUDGES:
            return _INCOMPARABLE
        return (
            f"has no range of its own; add a range: ranges: {{{path}: [first, second]}}, or {{{path}: {{low: ..., "
            "high: ...}}"
        )
    near = key_path_meant(path)
    hint = (
        f"did you mean {near!r}? "
        if near not in (None, path)
        else did_you_mean(path, [*known, *(f"{parent}.{each}" for each in fields)])
    )
    return (
        f"cannot be searched over; {hint}known: {', '.join(known)}, or an option of a component that the arm has, e.g. "
        "training.optimizer.learning_rate; any other model or training option needs a range in search.ranges"
    )


_INCOMPARABLE = "cannot be searched, because trials that differ in it cannot be compared; set it in the arm or in base"
_JUDGES = ("epochs", "validation_fraction", "selection", "monitor", "precision", "step", "data_on")
"""Training options that determine how trials are compared or computed and must therefore be the same for all trials."""


def _is_free(path: str, document: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> bool:
    """Return whether a path is an option without its own dimension for which the study specifies a dimension."""
    keys = path.split(".")
    if path not in ranges or path in COMPONENTS or keys[0] not in ("model", "training") or len(keys) < 2:
        return False
    if keys[0] == "training" and keys[1] in _JUDGES:
        raise ConfigError([f"search.over: {path!r} {_INCOMPARABLE}"])
    if tuple(keys[:2]) in _OF_MEMORY and not _has_memory(document):
        return False
    try:
        list(_parameters(path, document, (path,)))
    except ConfigError:
        return True
    return False


def _single_of_run(path: str) -> Parameter:
    return Parameter(path, tuple(path.split(".")), Categorical((False, True)))  # the component's dimension is replaced


def with_ranges(parameters: Iterable[Parameter], ranges: Mapping[str, Dimension]) -> Iterator[Parameter]:
    """Yield parameters with the dimensions that a study specifies, without the options of omitted choices."""
    chosen: dict[str, Dimension] = {}
    for parameter in parameters:
        if parameter.only_if is not None:
            name, value = parameter.only_if
            choices = chosen.get(name)
            if value is not None and isinstance(choices, Categorical) and value not in choices.choices:
                continue
        given = ranges.get(parameter.name)
        if given is None:
            yield parameter
            continue
        if parameter.path[-1] == "name" or parameter.name == "model.carry":
            _refuse_unknown_choices(parameter, given)
        chosen[parameter.name] = given
        yield replace(parameter, dimension=_like(parameter.dimension, given))


def _refuse_unknown_choices(parameter: Parameter, given: Dimension) -> None:
    own = parameter.dimension
    assert isinstance(own, Categorical)
    if not isinstance(given, Categorical):
        raise ConfigError(
            [f"search.ranges.{parameter.name}: must be a list with values from {', '.join(map(str, own.choices))}"]
        )
    for choice in given.choices:
        if choice not in own.choices:
            raise ConfigError(
                [f"search.ranges.{parameter.name}: {unknown_name('choice', str(choice), map(str, own.choices))}"]
            )


def _like(own: Dimension, given: Dimension) -> Dimension:
    """Return a given range as a range of real numbers if the component's own range is a range of real numbers."""
    if isinstance(own, Real) and isinstance(given, Integer):
        return Real(float(given.low), float(given.high), given.log)
    return given


def _component(path: str, family: Registry) -> Iterator[Parameter]:
    """Yield the choice among a family's plugins, and every plugin's own dimensions."""
    keys = tuple(path.split("."))
    # A plugin is not a choice if an option has no default (a list of layers), because no value for the option is known.
    names = [name for name in family.names() if not _needs_options(family, name)]
    choices = [NONE, *names] if path in _MAY_BE_NONE else names
    if len(choices) > 1:
        yield Parameter(path, (*keys, "name"), Categorical(tuple(choices)))
    for name in names:
        for option, dimension in getattr(family.get(name), "search_space", {}).items():
            yield Parameter(f"{path}.{name}.{option}", (*keys, option), dimension, (path, name))


def _has_memory(document: Mapping[str, Any]) -> bool:
    return _memory(document).get("name") not in (None, NONE)


def _needs_options(family: Registry, name: str) -> bool:
    return any(field.is_required() for field in family.get(name).Config.model_fields.values())


def _single(path: str, owner: str, document: Mapping[str, Any]) -> Parameter:
    """Return one option of the component that the arm uses."""
    component: Any = document
    for key in owner.split("."):
        component = component.get(key) if isinstance(component, Mapping) else None
    name = component.get("name") if isinstance(component, Mapping) else component
    option = path.rpartition(".")[2]
    dimensions = getattr(COMPONENTS[owner].get(name), "search_space", {}) if isinstance(name, str) else {}
    if option not in dimensions:
        listed = ", ".join(dimensions) or "none"
        raise ConfigError(
            [
                f"search.over: {path!r}: {owner} of the varied arm, {name!r}, has no such dimension; its dimensions: "
                f"{listed}"
            ]
        )
    return Parameter(path, tuple(path.split(".")), dimensions[option])


def _draw(trial: optuna.trial.BaseTrial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Categorical):
        return trial.suggest_categorical(name, dimension.choices)
    if isinstance(dimension, Integer):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def suggest(trial: optuna.trial.BaseTrial, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Draw the parameters that apply, and return them as a document, to be merged over the varied arm."""
    drawn: dict[str, Any] = {}
    for parameter in parameters:
        if applies(parameter, drawn):
            drawn[parameter.name] = _draw(trial, parameter.name, parameter.dimension)
    return document_of(parameters, drawn)


def applies(parameter: Parameter, drawn: Mapping[str, Any]) -> bool:
    """Return whether a parameter is drawn, given the values of the parameters before it."""
    if not all(each.name in drawn and each.holds(drawn[each.name]) for each in parameter.when):
        return False
    if parameter.only_if is None:
        return True
    name, value = parameter.only_if
    # If a family has only one plugin, there is no choice to draw: that plugin is used.
    chosen: Any = drawn.get(name, value)
    return bool(chosen == value if value is not None else chosen != NONE)


def document_of(parameters: Iterable[Parameter], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters' values, which are given by name, as a document to be merged over the varied arm."""
    document: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in drawn:
            continue
        value, path = drawn[parameter.name], list(parameter.path)
        if parameter.name == "model.carry":
            value, path = (None if value == NONE else {}), list(parameter.path)
        elif path[-1] == "name" and value == NONE:
            value, path = NONE, path[:-1]
        yaml_documents.put(document, path, value)
    return document


def merged(arm: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the varied arm with the drawn values merged over it.

    A memory with a different source keeps the arm's rows and columns, unless they were drawn; without an update, there
    is no update place.
    """
    result = yaml_documents.merge(arm, drawn)
    before, after = _memory(arm), _memory(result)
    if before and after and before.get("name") != after.get("name"):
        kept = {side: before[side] for side in ("rows", "columns") if side in before and side not in after}
        result["model"]["memory"] = after | kept
    model: dict[str, Any] = result.get("model", {})
    if model.get("update") in (None, NONE) and "update_after" in model:
        model["update_after"] = "stage"  # the default place, even if the base has a different place
    return result


def _memory(document: Mapping[str, Any]) -> dict[str, Any]:
    memory: Any = document.get("model", {}).get("memory")
    if isinstance(memory, dict):
        return dict(memory)
    return {} if memory is None else {"name": memory}


def described(parameter: Parameter) -> str:
    """Return a description of a parameter: its name, range and conditions."""
    dimension = parameter.dimension
    if isinstance(dimension, Categorical):
        values = "one of " + ", ".join(map(str, dimension.choices))
    else:
        values = f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else ''}"
    conditions = [str(each) for each in parameter.when]
    if parameter.only_if is not None:
        name, value = parameter.only_if
        conditions.insert(0, f"{name} is {value if value is not None else 'not none'}")
    return f"{parameter.name}: {values}{', where ' if conditions else ''}{' and '.join(conditions)}"
