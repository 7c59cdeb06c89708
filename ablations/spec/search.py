"""The search section of a study file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from ablations.spec.levels import RUN_KEYS, Seed, Seeds
from aimlib.component import Frozen


def _one_or_more(value: Any) -> Any:
    """Read a single name as a list with one item."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _over(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return _paths("", value)
    if isinstance(value, dict) and value and any(_is_key_path(key) for key in value):
        raise ValueError(_with_values(value))
    if isinstance(value, dict) and value:
        return {str(arm): _paths(f"{arm}: ", paths) for arm, paths in value.items()}
    raise ValueError(f"give a list of key paths, {_EXAMPLE}, or a mapping from arms to such lists; got {value!r}")


_EXAMPLE = "e.g. [model.update, training.optimizer.learning_rate]"


def _paths(where: str, value: Any) -> tuple[str, ...]:
    """Return key paths, or raise a ValueError that shows how to write the notation of other tools here."""
    if isinstance(value, dict):
        raise ValueError(where + (_with_values(value) if value else f"give a list of key paths, {_EXAMPLE}"))  # noqa: TRY004
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}give a list of key paths, {_EXAMPLE}; got {value!r}")  # noqa: TRY004
    for number, path in enumerate(value):
        if isinstance(path, dict) and path:
            name = path.get("name", path.get("parameter"))
            meant = {name: {key: path[key] for key in path if path[key] != name}} if isinstance(name, str) else path
            raise ValueError(f"{where}[{number}]: {_with_values(meant)}")
        if not isinstance(path, str):
            raise ValueError(f"{where}[{number}]: give a key path, {_EXAMPLE}; got {path!r}")  # noqa: TRY004
    return tuple(value)


def _is_key_path(key: Any) -> bool:
    return isinstance(key, str) and key.split(".")[0] in RUN_KEYS and "." in key


def _with_values(given: Mapping[Any, Any]) -> str:
    """Return how a mapping from key paths to values or ranges is written in a study."""
    path, values = next(iter(given.items()))
    paths = ", ".join(map(str, given))
    if isinstance(values, dict):
        values = next((values[key] for key in ("values", "choices", "choice", "grid") if key in values), values)
    if isinstance(values, (list, tuple)) and values:
        levels = "[" + ", ".join(map(str, values)) + "]"
        return (
            f"give only key paths, because the values come from their components' search spaces: write over: "
            f"[{paths}], and for a grid of these values also sampler: grid, levels: {{{path}: {levels}}}. To train "
            f"every value on all seeds without a search, write vary: ARM, factors: {{{path}: {levels}}}"
        )
    return (
        f"give only key paths, because the ranges come from their components' search spaces: write over: [{paths}]; "
        f"got {values!r}"
    )


def _levels(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, (list, tuple)) and value and not any(isinstance(item, (list, dict)) for item in value):
        return tuple(value)
    raise ValueError(f"give the number of levels, or a list of them, e.g. [0.0001, 0.001]; got {value!r}")


class HalvingSpec(Frozen):
    """Successive halving (Jamieson and Talwalkar, 2016): the best trials of each batch continue, rung by rung."""

    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """One in this many trials of a rung continues, and the next rung is this many times longer. Often called eta."""
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    """Number of rungs; the last is the whole budget. 3 rungs and a factor of 3 stop trials at 1/9 and 1/3 of it."""

    def epochs(self, budget: int) -> tuple[int, ...]:
        """Return the epoch after which each rung ends, rounded up; the last is the budget itself."""
        return tuple(-(-budget // self.reduction_factor**left) for left in range(self.rungs - 1, -1, -1))


class SearchSpec(Frozen):
    """A screening: a search over options of arms, judged on validation images and on its own seeds.

    All searched arms have the same numbers of trials, seeds and epochs. The best trial of each arm is confirmed in its
    place, on the study's seeds, and the arm's controls are derived from it.
    """

    vary: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    """The arm or arms to search; by default the keys of `over` if it is a mapping."""
    over: Annotated[tuple[str, ...] | dict[str, tuple[str, ...]], BeforeValidator(_over)] = (
        "model.memory",
        "model.placement",
        "model.update",
    )
    """Key paths to search: components (with the options of each choice) and single options. A list applies to all arms,
    each of which skips the paths that it lacks; a mapping has one list per arm."""
    trials: Annotated[int, Field(ge=1, le=100_000)]
    """Number of configurations to try per arm."""
    seeds: Seeds = (1000, 1001)
    """Seeds of every trial, which must differ from the study's."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra et al., 2011); grid: every point of a finite space, once."""
    sampler_seed: Seed | None = None
    """Seed of the sampler; by default, the first of `seeds`."""
    levels: dict[str, Annotated[Any, BeforeValidator(_levels)]] = {}
    """Levels of the ranges in a grid, by parameter name: a number of evenly spaced levels, or a list."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Number of trials proposed together, based on all earlier results."""
    halving: HalvingSpec | None = None
    """How to stop trials early within each batch; None trains all of them to the end."""
    confirm: Literal["in_place", "beside"] = "in_place"
    """in_place: the best trial replaces its arm, and `top` further ones are added. beside: the arm stays as written,
    and the `top` best trials are added."""
    top: Annotated[int, Field(ge=0)] = 3
    """Number of trials per arm to confirm in addition to the arm itself."""
    training: dict[str, Any] = {}
    """Training options of the trials that differ from the study's, e.g. fewer epochs."""
    storage: str = "journal"
    """Where to keep a copy for optuna-dashboard: journal (a file in the study directory), the URL of a database
    (sqlite:///... or postgresql://...), or none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms to search."""
        return self.vary or tuple(self.over if isinstance(self.over, dict) else ())

    def _problems(self) -> Iterable[str]:
        if not self.arms:
            yield "vary: missing; name the arms to search, e.g. [baseline, aim]"
        if len(set(self.arms)) < len(self.arms):
            yield f"vary: {', '.join(self.arms)}: an arm is named twice"
        if isinstance(self.over, dict) and self.vary and set(self.vary) != set(self.over):
            yield "vary: names different arms than over; name the same arms, or omit vary"
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds: {list(self.seeds)}: a seed is given twice"
        if self.confirm == "beside" and self.top == 0:
            yield "top: 0 together with confirm: beside confirms nothing; raise top, or give confirm: in_place"
        if self.levels and self.sampler != "grid":
            yield f"levels: no effect, because sampler {self.sampler} draws from the whole range; give sampler: grid"
        if self.halving is not None and self.batch < self.halving.reduction_factor:
            yield (
                f"batch: {self.batch} trials are too few for halving, which keeps one in "
                f"{self.halving.reduction_factor}; "
                f"give a batch of {self.halving.reduction_factor ** (self.halving.rungs - 1)}"
            )
        yield from _storage_problems(self.storage)


def _storage_problems(storage: str) -> Iterable[str]:
    kind, found, rest = storage.partition("://")
    if not found:
        if storage not in ("journal", "none"):
            yield f"storage: {storage!r}: give journal, none, or the URL of a database, e.g. sqlite:///search.db"
        return
    place = urlsplit(storage)
    if place.password is not None or re.search(r"(^|[?&])(password|passwd|sslpassword)=", f"?{place.query}"):
        yield (
            f"storage: {kind}://...: a password does not belong in a study file; leave it out of the URL and give it "
            f"to the database's client (PostgreSQL: PGPASSWORD or ~/.pgpass)"
        )
    elif not rest:
        yield f"storage: {storage!r}: names no database; give one, e.g. sqlite:///search.db"
