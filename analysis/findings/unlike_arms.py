"""Differences between arms beyond what the study varies: data, budget, optimizer, software, device, time, machine.

A difference that follows from options in which the plan's arms differ is described as what the study varies.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aimlib.errors import counted
from aimlib.records import SETTLED
from analysis.plan import Plan
from analysis.reading.frames import parsed_json
from analysis.statistics import separation
from analysis.statistics.comparison import Comparison
from analysis.wording import number_format
from analysis.wording.study_words import factor_words

_TOGETHER, _NAMED = 4, 3
"""With at least this many arms, a sentence groups them by value and names only this many."""
_SEED = re.compile(r'"seed": *\d+')
_DIGITS = 10
"""Digits of a hash that a sentence shows."""


@dataclass(frozen=True)
class _Property:
    """Something that should be equal in all arms.

    Attributes
    ----------
    what : in words.
    columns : of the runs; or options of the configuration, if `of_config`.
    declared_by : key paths of the options that make a difference part of the study.
    so : what follows from a difference.
    """

    what: str
    columns: tuple[str, ...]
    declared_by: tuple[str, ...] = ()
    so: str = ""
    of_config: bool = False


def _option(what: str, *paths: str) -> _Property:
    return _Property(what, paths, paths, of_config=True)


_BUDGET = (
    _Property("the number of epochs", ("epochs_planned",), ("training.epochs",)),
    _option("early stopping", "training.early_stopping"),
    _Property("the rule that chooses the epoch", ("selection",), ("training.selection",)),
    _option("the optimizer", "training.optimizer"),
    _option("the learning-rate schedule", "training.schedule"),
    _option("the batch size", "training.batch_size"),
)
_DATA = (
    _Property("the data", ("data_fingerprint",), ("data",)),
    _Property("the number of training images", ("train_images",), ("data", "training.validation_fraction")),
    _Property("the number of validation images", ("validation_images",), ("data", "training.validation_fraction")),
    _Property("the number of test images", ("test_images",), ("data",)),
)
_COMPUTING = (
    _option("the precision", "training.precision", "training.tf32"),
    _Property("how training steps run", ("step",), ("training.step",)),
    _Property("the device", ("device", "device_name")),
    _Property("how the device rounds (its reference step)", ("reference",), ("training.precision", "training.tf32")),
    _Property("the number of CPU threads", ("threads",)),
    _Property("the commit that computed them", ("git_commit", "git_dirty"), so=", so in more than their configuration"),
)
PROPERTIES = (*_DATA, *_BUDGET, *_COMPUTING)


def unlike_arms(runs: pd.DataFrame, plan: Plan) -> list[str]:
    """Return a sentence for each difference between arms that goes beyond the question of the study.

    Settled runs count; of failures, all runs. Time and machine are named by the exact rule of `statistics.separation`,
    failures and continued runs by Fisher's exact test of every arm against the others, at the same level.

    Parameters
    ----------
    runs : frame of `Results`.
    """
    settled = runs[runs["status"].isin(SETTLED)]
    if settled["arm"].nunique() < 2:
        return []
    once = _once(settled)
    configs = once["config"].map(lambda text: parsed_json(text, {}))
    return [
        *_of_properties(once, configs, plan),
        *_of_json(settled, "versions", _libraries),
        *_of_json(settled, "plugins", _distributions),
        *_of_json(settled, "identity", _components),
        *_of_counts(runs),
        *_apart(settled),
    ]


def _once(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the properties read from the runs: each combination of an arm once, without the runs' own seeds."""
    columns = list(dict.fromkeys(name for each in PROPERTIES if not each.of_config for name in each.columns))
    configs = runs["config"].map(_seedless, na_action="ignore")
    return runs[["arm", *columns]].assign(config=configs).drop_duplicates(ignore_index=True)


def _seedless(config: str) -> str:
    """Return a configuration in which the seed is 0; unchanged where options have a seed as well."""
    return _SEED.sub('"seed": 0', config) if config.count('"seed"') == 1 else config


def _of_properties(runs: pd.DataFrame, configs: pd.Series, plan: Plan) -> list[str]:
    """Return what arms differ in; differences that the factors of the study make are one sentence."""
    found = [(each, _of_property(each, runs, configs, plan)) for each in PROPERTIES]
    differing = {each: said for each, said in found if said is not None}
    varied = [each for each in differing if _by_factors(each, runs, configs, plan)]
    kept = [said for each, said in differing.items() if each not in varied]
    if not varied:
        return kept
    words = list(factor_words(dict.fromkeys(factor for arm in plan.arms for factor in arm.levels)).values())
    what = number_format.listing([f"the {each}" for each in words])
    return [f"Arms differ in {what if len(words) <= _TOGETHER else 'the factors'}, which this study varies.", *kept]


def _by_factors(of: _Property, runs: pd.DataFrame, configs: pd.Series, plan: Plan) -> bool:
    """Return whether the factors of a study explain all of a difference, and other arms have no further value."""
    factors = {factor for arm in plan.arms for factor in arm.levels}
    if not any(_within(factor, path) or _within(path, factor) for factor in factors for path in of.declared_by):
        return False
    by_arm = _values_by_arm(of, runs, configs)
    crossed = {arm.name for arm in plan.arms if arm.levels}
    theirs = {value for arm, value in by_arm.items() if arm in crossed}
    return _declared(by_arm, of.declared_by, plan) and set(by_arm.values()) <= theirs


def _within(path: str, whole: str) -> bool:
    return path == whole or path.startswith(f"{whole}.")


def _of_property(of: _Property, runs: pd.DataFrame, configs: pd.Series, plan: Plan) -> str | None:
    """Return a sentence if arms differ in a property."""
    by_arm = _values_by_arm(of, runs, configs)
    if len(set(by_arm.values())) < 2:
        return None
    if _declared(by_arm, of.declared_by, plan):
        return f"Arms differ in {of.what}, which this study varies: {_said(by_arm)}."
    return f"Arms differ in {of.what}{of.so}: {_said(by_arm)}."


def _values_by_arm(of: _Property, runs: pd.DataFrame, configs: pd.Series) -> dict[str, str]:
    """Return the values of a property by arm, as text."""
    if of.of_config:
        values = configs.map(lambda config: _listed([_at(config, path) for path in of.columns]))
    else:
        values = _joined(runs, of.columns)
    return _by_arm(runs["arm"], values)


def unlike_pairs(comparisons: Iterable[Comparison], runs: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each way in which the two runs of pairs differ, where their arms have the same values.

    Such differences are invisible arm by arm: of two commits, say, each arm has both, but never in the same pair.

    Parameters
    ----------
    comparisons : the gated ones; their pairs of the look that decides count.
    runs : frame of `Results`.
    """
    comparisons = tuple(comparisons)
    compared = {arm for each in comparisons for arm in (each.treatment, each.control)}
    settled = runs[runs["status"].isin(SETTLED) & runs["arm"].isin(compared)]
    values = {each: _joined(settled, each.columns) for each in PROPERTIES if not each.of_config}
    for comparison in comparisons:
        seeds = comparison.deciding_pairs["seed"]
        arms = (comparison.treatment, comparison.control)
        for each, column in values.items():
            sides = [column[own].set_axis(settled.loc[own, "seed"]) for own in (settled["arm"] == arm for arm in arms)]
            if set(sides[0].dropna()) != set(sides[1].dropna()):
                continue  # `unlike_arms` says so
            one, other = (side.reindex(seeds) for side in sides)
            differing = int(((one != other) & one.notna() & other.notna()).sum())
            if differing:
                yield (
                    f"In {differing} of {counted(len(seeds), 'pair')} of {comparison.name} the two runs differ in "
                    f"{each.what}{each.so}."
                )


def _joined(runs: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Return the values of columns as one text; nothing where the first one is missing."""
    texts = [_of_row(columns, values) for values in zip(*(runs[name] for name in columns), strict=True)]
    return pd.Series(texts, index=runs.index, dtype="object")


def _of_row(columns: Sequence[str], values: Sequence[Any]) -> str | None:
    if pd.isna(values[0]):
        return None
    text = _short(values[0])
    for name, value in zip(columns[1:], values[1:], strict=True):
        before = " with uncommitted changes " if name == "git_dirty" else ", "
        text += "" if pd.isna(value) else before + _short(value)
    return text


_MISSING: Any = object()


def _at(config: Any, path: str) -> Any:
    """Return the option at a key path; `_MISSING` if there is none, as in configurations of earlier versions."""
    for key in path.split("."):
        if not isinstance(config, Mapping) or key not in config:
            return _MISSING
        config = config[key]
    return config


def _listed(values: list[Any]) -> str | float:
    """Return options as text; NaN if all are missing."""
    there = [number_format.option(value) for value in values if value is not _MISSING]
    return ", ".join(there) if there else np.nan


def _short(value: Any) -> str:
    """Return a value as a sentence shows it: only the first digits of a hash."""
    text = str(value)
    is_hash = len(text) > _DIGITS and not set(text) - set("0123456789abcdef")
    return text[:_DIGITS] if is_hash else text


def _by_arm(arms: pd.Series, values: pd.Series) -> dict[str, str]:
    """Return the different values of every arm as one text; arms without a known value are left out."""
    known = values.notna()
    found: dict[str, set[str]] = defaultdict(set)
    for arm, value in zip(arms[known], values[known], strict=True):
        found[str(arm)].add(str(value))
    return {arm: number_format.listing(sorted(each)) for arm, each in found.items()}


def _declared(by_arm: Mapping[str, str], paths: Iterable[str], plan: Plan) -> bool:
    """Return whether arms differ only where the plan's configurations do."""
    options = {
        arm.name: json.dumps([_at(arm.config, path) for path in paths], sort_keys=True, default=str)
        for arm in plan.arms
        if arm.name in by_arm
    }
    values: dict[str, set[str]] = defaultdict(set)
    for arm, option in options.items():
        values[option].add(by_arm[arm])
    return len(values) > 1 and all(len(each) == 1 for each in values.values())


def _said(by_arm: Mapping[str, str]) -> str:
    """Return the values of every arm; for many arms, the arms of every value."""
    if len(by_arm) <= _TOGETHER:
        return "; ".join(f"{arm}: {values}" for arm, values in by_arm.items())
    groups: dict[str, list[str]] = defaultdict(list)
    for arm, values in by_arm.items():
        groups[values].append(arm)
    parts = [f"{values} in {counted(len(arms), 'arm')} ({_named(arms)})" for values, arms in groups.items()]
    return "; ".join(parts) if len(parts) <= _TOGETHER else f"{counted(len(parts), 'value')}, among them {parts[0]}"


def _named(arms: Sequence[str]) -> str:
    if len(arms) > _NAMED + 1:
        return f"{', '.join(arms[:_NAMED])} and {counted(len(arms) - _NAMED, 'further arm')}"
    return number_format.listing(list(arms))


Parts = Callable[[Any], Iterable[tuple[str, str]]]
"""From the JSON in a column to (what, value) pairs."""


def _of_json(runs: pd.DataFrame, column: str, parts: Parts) -> Iterator[str]:
    """Yield a sentence for each part of a column that several arms have, with different values."""
    texts = runs[["arm", column]].dropna().drop_duplicates()
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for arm, text in texts.itertuples(index=False):
        for what, value in parts(parsed_json(text, {})):
            found[what][str(arm)].add(value)
    for what, arms in found.items():
        listed = {arm: number_format.listing(sorted(values)) for arm, values in arms.items()}
        if len(set(listed.values())) > 1:
            yield f"Arms differ in {what}: {_said(listed)}."


def _libraries(versions: Any) -> Iterator[tuple[str, str]]:
    for name, version in versions.items() if isinstance(versions, dict) else ():
        yield f"the version of {name}", "not installed" if version is None else str(version)


def _distributions(plugins: Any) -> Iterator[tuple[str, str]]:
    for name, distribution in plugins.items() if isinstance(plugins, dict) else ():
        yield f"where {name} comes from", str(distribution)


def _components(identity: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield version and code of every component in the text that a run id hashes, by its place and name."""
    if isinstance(identity, list):
        for each in identity:
            yield from _components(each, place)
    if not isinstance(identity, dict):
        return
    if "version" in identity or "code" in identity:
        name = f"{place} {identity['name']}" if "name" in identity else place
        if "version" in identity:
            yield f"the version of {name}", str(identity["version"])
        if "code" in identity:
            yield f"the code of {name}", _short(identity["code"])
    for key, value in identity.items():
        yield from _components(value, key)


def _of_counts(runs: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence if more runs of an arm than of the others failed, or had to be continued after interruptions."""
    failed = runs["status"] == "failed"
    continued = runs["attempts"].astype("Float64").fillna(1) > 1
    yield from _more_often(runs["arm"], failed, "failed")
    yield from _more_often(runs["arm"], continued & ~failed, "were interrupted and continued")


def _more_often(arms: pd.Series, event: pd.Series, what: str) -> Iterator[str]:
    table = pd.crosstab(arms, event.astype(bool)).reindex(columns=[False, True], fill_value=0)
    table = table.loc[list(dict.fromkeys(arms))]
    if not table[True].any() or len(table) < 2:
        return
    from scipy.stats import fisher_exact  # noqa: PLC0415 -- slow to import, and needed only after failures

    tests = len(table) if len(table) > 2 else 1
    p_values = [float(fisher_exact([table.loc[arm], table.drop(index=arm).sum()]).pvalue) for arm in table.index]
    if tests * min(p_values) < separation.LEVEL:
        shares = [f"{row[True]} of {counted(int(row.sum()), 'run')} of {arm}" for arm, row in table.iterrows()]
        if len(shares) > _TOGETHER:
            at = int(np.argmin(p_values))
            rest = table.drop(index=table.index[at]).sum()
            shares = [shares[at], f"{rest[True]} of {counted(int(rest.sum()), 'run')} of the other arms"]
        p = number_format.probability(min(1.0, tests * min(p_values)))
        yield f"Arms differ in how many runs {what}: {number_format.listing(shares)} (Fisher’s exact test, p {_is(p)})."


def _apart(runs: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence where time or machine line up with arms."""
    if (time := separation.in_time(runs)) is not None:
        yield (
            f"Arms differ in when they were computed: all runs of {_named(time.first)} ended before any run of "
            f"{_named(time.second)} began, so everything that changed in between differs as well. {_chance(time)}"
        )
    elif (day := separation.at_times_of_day(runs)) is not None:
        yield (
            f"Arms differ in the time of day at which they were computed: all runs of {_named(day.first)} in one part "
            f"of the day, all runs of {_named(day.second)} in another. {_chance(day)}"
        )
    if (machine := separation.on_machines(runs)) is not None:
        hosts = [
            f"{_named(group)} on {_few(sorted(runs.loc[runs['arm'].isin(group), 'host'].dropna().unique()))}"
            for group in (machine.first, machine.second)
        ]
        yield f"Arms differ in the machine that computed them: {'; '.join(hosts)}. {_chance(machine)}"


def _few(names: Sequence[str]) -> str:
    if len(names) > _TOGETHER:
        return f"{', '.join(names[:_NAMED])} and {counted(len(names) - _NAMED, 'further machine')}"
    return number_format.listing(list(names))


def _chance(found: separation.Separation) -> str:
    return (
        "Runs mixed at random would be separated like this with probability p "
        f"{_is(number_format.probability(found.p))}."
    )


def _is(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
