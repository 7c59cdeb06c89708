"""The search of a study file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from ablations.spec.levels import RUN_KEYS
from ablations.spec.seeds import Seed, Seeds
from aimlib.component import Frozen


def _one_or_more(value: Any) -> Any:
    """Read one name as a list of one."""
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
    raise ValueError(f"give a list of key paths, {_EXAMPLE}, or a mapping of arms to such lists; got {value!r}")


_EXAMPLE = "e.g. [model.update, training.optimizer.learning_rate]"


def _paths(where: str, value: Any) -> tuple[str, ...]:
    """Return key paths; ValueError says how what other tools write is written here."""
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
    """Say how a mapping of key paths to values or ranges is written in a study."""
    path, values = next(iter(given.items()))
    paths = ", ".join(map(str, given))
    if isinstance(values, dict):
        values = next((values[key] for key in ("values", "choices", "choice", "grid") if key in values), values)
    if isinstance(values, (list, tuple)) and values:
        levels = "[" + ", ".join(map(str, values)) + "]"
        return (
            f"names key paths only, whose values follow from their components' search spaces: write over: [{paths}], "
            f"and for a grid of these values also sampler: grid, levels: {{{path}: {levels}}}. Or train every value on "
            f"all seeds, without a search: vary: ARM, factors: {{{path}: {levels}}}"
        )
    return (
        f"names key paths only, whose ranges follow from their components' search spaces: write over: [{paths}]; "
        f"got {values!r}"
    )


def _levels(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, (list, tuple)) and value and not any(isinstance(item, (list, dict)) for item in value):
        return tuple(value)
    raise ValueError(f"give how many levels, or a list of them, e.g. [0.0001, 0.001]; got {value!r}")


class HalvingSpec(Frozen):
    """Successive halving (Jamieson and Talwalkar, 2016): of every batch of trials the best continue, rung by rung."""

    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """One of this many trials of a rung continues, and the next rung is this many times longer. Often called eta."""
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    """Rungs, the last of them the whole budget: 3 rungs and a factor of 3 stop at 1/9 and 1/3 of it."""

    def epochs(self, budget: int) -> tuple[int, ...]:
        """Return the epochs after which each rung ends, the last the budget itself, rounded up."""
        return tuple(-(-budget // self.reduction_factor**left) for left in range(self.rungs - 1, -1, -1))


class SearchSpec(Frozen):
    """A screening: a search over options of arms, judged on validation images and on seeds of its own.

    All searched arms have the same numbers of trials, seeds and epochs. The best trial of each is confirmed in place of
    the arm, on the study's seeds; the arm's controls follow.
    """

    vary: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    """Arms that are searched, or one arm; by default the keys of `over` if that is a mapping."""
    over: Annotated[tuple[str, ...] | dict[str, tuple[str, ...]], BeforeValidator(_over)] = (
        "model.memory",
        "model.placement",
        "model.update",
    )
    """Key paths that are searched: components (with the options that each choice has) and single options. One list for
    all arms, of which an arm leaves out what it does not have; or a list for every arm."""
    trials: Annotated[int, Field(ge=1, le=100_000)]
    """Number of configurations that are tried, for every arm."""
    seeds: Seeds = (1000, 1001)
    """Seeds of every trial; none of the study's."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra et al., 2011); grid: every point of a finite space, once."""
    sampler_seed: Seed | None = None
    """Seed of the sampler; None is the first of `seeds`."""
    levels: dict[str, Annotated[Any, BeforeValidator(_levels)]] = {}
    """Levels of ranges in a grid, by the parameter's name: their number, evenly spaced, or a list."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Number of trials that are proposed together, based on all earlier results."""
    halving: HalvingSpec | None = None
    """Stop trials early, within each batch; None trains all of them to the end."""
    confirm: Literal["in_place", "beside"] = "in_place"
    """in_place: the best trial replaces its arm, and `top` further ones are added; beside: the arm stays as written,
    and the `top` best are added."""
    top: Annotated[int, Field(ge=0)] = 3
    """Number of trials of every arm that are confirmed in addition to it."""
    training: dict[str, Any] = {}
    """What the trials' training has instead of the study's, e.g. fewer epochs."""
    storage: str = "journal"
    """A copy for optuna-dashboard: journal, a file in the study directory; a database as sqlite:///... or
    postgresql://...; or none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are searched."""
        return self.vary or tuple(self.over if isinstance(self.over, dict) else ())

    def _problems(self) -> Iterable[str]:
        if not self.arms:
            yield "vary: missing: the arms that are searched, e.g. [baseline, aim]"
        if len(set(self.arms)) < len(self.arms):
            yield f"vary: {', '.join(self.arms)}: an arm is named twice"
        if isinstance(self.over, dict) and self.vary and set(self.vary) != set(self.over):
            yield "vary: names other arms than over; name the same arms, or omit vary"
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds: {list(self.seeds)}: a seed is given twice"
        if self.confirm == "beside" and self.top == 0:
            yield "top: 0 together with confirm: beside confirms nothing; raise top, or give confirm: in_place"
        if self.levels and self.sampler != "grid":
            yield f"levels: without effect: sampler {self.sampler} draws from the whole range; give sampler: grid"
        if self.halving is not None and self.batch < self.halving.reduction_factor:
            yield (
                f"batch: {self.batch} trials in a batch, and halving keeps one of {self.halving.reduction_factor}; "
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
        yield f"storage: {storage!r}: names no database, e.g. sqlite:///search.db"
