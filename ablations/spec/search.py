"""The search section of a study file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from ablations.spec import search_conditions, search_notation
from ablations.spec.levels import Seed, Seeds
from ablations.spec.search_families import pruners, samplers
from ablations.spec.written import ONE_OR_MORE, TEXT, TEXTS, as_any_of, part_of_run
from aimlib.component import ComponentConfig, Frozen
from aimlib.registry import ComponentOf


def _one_or_more(value: Any) -> Any:
    """Read a single name as a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_CHOICES: dict[str, Any] = {"type": "array", "minItems": 1}
_LEVELS: tuple[dict[str, Any], ...] = ({"type": "integer", "minimum": 1}, _CHOICES)
_RANGE: dict[str, Any] = {
    "type": "object",
    "properties": {"low": {"type": "number"}, "high": {"type": "number"}, "log": {"type": "boolean"}},
    "required": ["low", "high"],
    "additionalProperties": False,
}


class HalvingSpec(Frozen):
    """Successive halving (Jamieson and Talwalkar, 2016): the best trials of each batch continue, rung by rung."""

    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Reduction factor, often called eta: one in this many trials in a rung continues, and the next rung is this many
    times longer."""
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    """Number of rungs; the last is the whole budget. With 3 rungs and a factor of 3, trials are stopped at 1/9 and 1/3
    of it."""

    def epochs(self, budget: int) -> tuple[int, ...]:
        """Return the epoch after which each rung ends, rounded up; the last rung ends at the budget."""
        return tuple(-(-budget // self.reduction_factor**left) for left in range(self.rungs - 1, -1, -1))


class SearchSpec(Frozen):
    """A screening: a search over the arms' options, judged on validation images, with seeds of its own.

    All searched arms have the same numbers of trials, seeds and epochs. The best trial of each arm replaces the arm, is
    confirmed on the study's seeds, and determines the arm's controls.
    """

    vary: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), ONE_OR_MORE] = ()
    """The arm or arms to search; by default the keys of `over` if it is a mapping."""
    over: Annotated[
        tuple[str, ...] | dict[str, tuple[str, ...]],
        BeforeValidator(search_notation.over),
        as_any_of(TEXTS, TEXT, {"type": "object", "additionalProperties": TEXTS}),
    ] = (
        "model.memory",
        "model.placement",
        "model.update",
    )
    """Key paths to search: components (with the options of each choice) and single options. A list applies to all arms,
    and each arm skips the paths that it lacks. A mapping has one list per arm."""
    trials: Annotated[int, Field(ge=1, le=100_000)]
    """Number of configurations to try per arm."""
    seeds: Seeds = (1000, 1001)
    """Seeds for every trial; they must differ from the study's seeds."""
    sampler: Annotated[ComponentConfig, ComponentOf(samplers)] = Field(default="tpe", validate_default=True)
    """An Optuna sampler by its name, with its options: tpe, random, grid, gp, cmaes, qmc, nsgaii, brute_force."""
    sampler_seed: Seed | None = None
    """Seed of the sampler; by default, the first of `seeds`."""
    levels: dict[str, Annotated[Any, BeforeValidator(search_notation.levels), as_any_of(*_LEVELS)]] = {}
    """Levels of each range in a grid, by parameter name: a number of evenly spaced levels, or a list."""
    ranges: Annotated[
        dict[str, Any],
        BeforeValidator(search_notation.ranges),
        as_any_of({"type": "object", "additionalProperties": {"anyOf": [_CHOICES, _RANGE]}}),
    ] = {}
    """Your own choices or range for parameters in `over`: a list, or {low: 0.0001, high: 0.1, log: true}. This also
    makes it possible to search model and training options that have no range."""
    when: Annotated[
        dict[str, Any],
        BeforeValidator(search_conditions.when),
        as_any_of({"type": "object", "additionalProperties": {"type": "object"}}),
    ] = {}
    """Conditions: a parameter is drawn only if another parameter has certain values or lies within {min: ..., max:
    ...}. Otherwise the arm keeps its own value."""
    constraints: Annotated[tuple[Any, ...], BeforeValidator(search_conditions.constraints), ONE_OR_MORE] = ()
    """Bounds on the network, e.g. [parameters <= 2M]. A configuration that violates a bound is not trained."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Number of trials proposed together, based on all earlier results."""
    halving: HalvingSpec | None = None
    """How to stop trials early within each batch. With None, all trials are trained to the end."""
    pruner: Annotated[Any, ComponentOf(pruners, optional=True)] = None
    """An Optuna pruner by its name, with its options, instead of `halving`: median, percentile, hyperband,
    successive_halving, threshold, patient, nop."""
    confirm: Literal["in_place", "beside"] = "in_place"
    """in_place: the best trial replaces its arm, and the next `top` best trials are added. beside: the arm stays as
    written, and the `top` best trials are added."""
    top: Annotated[int, Field(ge=0)] = 3
    """Number of trials per arm to confirm in addition to the arm itself."""
    training: Annotated[dict[str, Any], part_of_run("training")] = {}
    """Training options for the trials, where they differ from the study's options, e.g. fewer epochs."""
    storage: str = "journal"
    """Where to keep a copy for optuna-dashboard: journal (a file in the study directory), the URL of a database
    (sqlite:///... or postgresql://...), $NAME for a URL in an environment variable, or none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    @property
    def seed_of_sampler(self) -> int:
        """The seed of the sampler, the same for every arm."""
        return self.seeds[0] if self.sampler_seed is None else self.sampler_seed

    def rungs(self, budget: int) -> tuple[int, ...]:
        """Return the epochs after which trials may be stopped, followed by the budget."""
        if self.halving is not None:
            return self.halving.epochs(budget)
        found: tuple[int, ...] = (budget,) if self.pruner is None else pruners.create(self.pruner).rungs(budget)
        return found

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms to search."""
        return self.vary or tuple(self.over if isinstance(self.over, dict) else ())

    def _problems(self) -> Iterable[str]:
        if not self.arms:
            yield "vary: missing; name the arms to search, e.g. [baseline, aim]"
        if len(set(self.arms)) < len(self.arms):
            yield f"vary: {', '.join(self.arms)}: an arm is listed twice"
        if isinstance(self.over, dict) and self.vary and set(self.vary) != set(self.over):
            yield "vary: the arms differ from those in over; list the same arms, or omit vary"
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds: {list(self.seeds)}: a seed is listed twice; remove one"
        if self.confirm == "beside" and self.top == 0:
            yield "top: 0 together with confirm: beside does not confirm anything; raise top, or set confirm: in_place"
        if self.levels and self.sampler.name != "grid":
            yield (
                f"levels: no effect, because sampler {self.sampler.name} draws from the whole range; set sampler: grid"
            )
        if self.halving is not None and self.pruner is not None:
            yield "pruner: cannot be combined with halving, which already stops trials; remove one of the two"
        if self.halving is not None and self.batch < self.halving.reduction_factor:
            yield (
                f"batch: {self.batch} trials are too few for halving, which keeps one in "
                f"{self.halving.reduction_factor}; "
                f"set batch: {self.halving.reduction_factor ** (self.halving.rungs - 1)}"
            )
        yield from _storage_problems(self.storage)


_NO_DATABASES = ("http", "https", "file", "redis", "s3", "gs", "az")


def _storage_problems(storage: str) -> Iterable[str]:
    if storage.startswith("$"):
        if not re.fullmatch(r"\$\w+|\$\{\w+\}", storage):
            yield f"storage: {storage!r}: put the whole URL in one environment variable, e.g. $OPTUNA_STORAGE"
        return
    kind, found, rest = storage.partition("://")
    if not found:
        if storage not in ("journal", "none"):
            yield f"storage: {storage!r}: must be journal, none, or a database URL, e.g. sqlite:///search.db"
        return
    place = urlsplit(storage)
    if place.password is not None or re.search(r"(^|[?&])(password|passwd|sslpassword)=", f"?{place.query}"):
        yield (
            f"storage: {kind}://...: a password does not belong in a study file; remove it from the URL and set it "
            f"for the database client (PostgreSQL: PGPASSWORD or ~/.pgpass), or put the whole URL in an environment "
            f"variable: storage: $OPTUNA_STORAGE"
        )
    elif not rest:
        yield f"storage: {storage!r}: does not name a database; use, e.g., sqlite:///search.db"
    elif kind == "postgres":
        yield f"storage: {storage!r}: SQLAlchemy calls this database postgresql; write postgresql://{rest}"
    elif kind in _NO_DATABASES:
        yield f"storage: {storage!r}: Optuna does not support {kind}; use journal, none, or e.g. sqlite:///search.db"
