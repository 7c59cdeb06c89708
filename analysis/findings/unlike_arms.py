"""Differences between arms other than what the study varies: data, budget, optimizer, software, device, time, machine.

If a difference follows from options in which the plan's arms differ, the sentence says that the study varies it.
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
"""With at least `_TOGETHER` arms, a sentence groups the arms by value and names only `_NAMED` of them."""
_SEED = re.compile(r'"seed": *\d+')
_DIGITS = 10
"""Number of digits of a hash that a sentence shows."""


@dataclass(frozen=True)
class _Property:
    """A property that should be equal in all arms.

    Attributes
    ----------
    what : the property in words.
    columns : columns of the runs, or options in the configuration if `of_config`.
    declared_by : key paths of the options that make a difference part of the study.
    so : what a difference implies.
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
    """Return a sentence for each difference between arms that is not part of the study's question.

    Only settled runs are considered, except for failures, which are counted among all runs. Differences in time and
    machine are found by the exact rule in `statistics.separation`. Differences in failures and continued runs are found
    by Fisher's exact test of every arm against the others, at the same level.

    Parameters
    ----------
    runs : the frame of runs from `Results`.
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
    """Return the columns that the properties need: each combination in an arm once, without the runs' seeds."""
    columns = list(dict.fromkeys(name for each in PROPERTIES if not each.of_config for name in each.columns))
    configs = runs["config"].map(_seedless, na_action="ignore")
    return runs[["arm", *columns]].assign(config=configs).drop_duplicates(ignore_index=True)


def _seedless(config: str) -> str:
    """Return a configuration with its seed set to 0; unchanged if options contain a seed as well."""
    return _SEED.sub('"seed": 0', config) if config.count('"seed"') == 1 else config


def _of_properties(runs: pd.DataFrame, configs: pd.Series, plan: Plan) -> list[str]:
    """Return sentences on how arms differ; one sentence covers all differences that the study's factors explain."""
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
    """Return whether a study's factors fully explain a difference, and other arms do not have further values."""
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
    """Return a property's values by arm, as text."""
    if of.of_config:
        values = configs.map(lambda config: _listed([_at(config, path) for path in of.columns]))
    else:
        values = _joined(runs, of.columns)
    return _by_arm(runs["arm"], values)


def unlike_pairs(comparisons: Iterable[Comparison], runs: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each property in which the runs of pairs differ although their arms have the same values.

    Such differences are invisible arm by arm. For example, each arm may have runs of both commits, but every pair has
    runs of different commits.

    Parameters
    ----------
    comparisons : the gated comparisons; only the pairs in the deciding look are used.
    runs : the frame of runs from `Results`.
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
                continue  # `unlike_arms` reports this difference
            one, other = (side.reindex(seeds) for side in sides)
            differing = int(((one != other) & one.notna() & other.notna()).sum())
            if differing:
                yield (
                    f"In {differing} of {counted(len(seeds), 'pair')} of {comparison.name}, the two runs differ in "
                    f"{each.what}{each.so}."
                )


def _joined(runs: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Return the values of several columns as one text; empty where the first value is missing."""
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
    """Return the option at a key path; `_MISSING` if there is none, as in configurations from earlier versions."""
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
    """Return a value as shown in a sentence: a hash is shortened to its first digits."""
    text = str(value)
    is_hash = len(text) > _DIGITS and not set(text) - set("0123456789abcdef")
    return text[:_DIGITS] if is_hash else text


def _by_arm(arms: pd.Series, values: pd.Series) -> dict[str, str]:
    """Return each arm's distinct values as one text; arms without a known value are left out."""
    known = values.notna()
    found: dict[str, set[str]] = defaultdict(set)
    for arm, value in zip(arms[known], values[known], strict=True):
        found[str(arm)].add(str(value))
    return {arm: number_format.listing(sorted(each)) for arm, each in found.items()}


def _declared(by_arm: Mapping[str, str], paths: Iterable[str], plan: Plan) -> bool:
    """Return whether arms differ only where the plan's configurations differ."""
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
    """Return every arm's values; if there are many arms, the arms with each value."""
    if len(by_arm) <= _TOGETHER:
        return "; ".join(f"{arm}: {values}" for arm, values in by_arm.items())
    groups: dict[str, list[str]] = defaultdict(list)
    for arm, values in by_arm.items():
        groups[values].append(arm)
    parts = [f"{values} in {counted(len(arms), 'arm')} ({_named(arms)})" for values, arms in groups.items()]
    return "; ".join(parts) if len(parts) <= _TOGETHER else f"{counted(len(parts), 'value')}, including {parts[0]}"


def _named(arms: Sequence[str]) -> str:
    if len(arms) > _NAMED + 1:
        return f"{', '.join(arms[:_NAMED])} and {counted(len(arms) - _NAMED, 'further arm')}"
    return number_format.listing(list(arms))


Parts = Callable[[Any], Iterable[tuple[str, str]]]
"""Converts the JSON in a column to (what, value) pairs."""


def _of_json(runs: pd.DataFrame, column: str, parts: Parts) -> Iterator[str]:
    """Yield a sentence for each part of a column that several arms have with different values."""
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
        yield f"the origin of {name}", str(distribution)


def _components(identity: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the version and code of every component in the text that a run id hashes, by place and name."""
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
    """Yield a sentence if runs of one arm failed, or were continued after interruptions, more often than the others."""
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
    """Yield a sentence if some arms were computed at other times or on other machines than the others."""
    if (time := separation.in_time(runs)) is not None:
        yield (
            f"Arms differ in when they were computed: all runs of {_named(time.first)} ended before any run of "
            f"{_named(time.second)} began, so anything that changed in between differs as well. {_chance(time)}"
        )
    elif (day := separation.at_times_of_day(runs)) is not None:
        yield (
            f"Arms differ in the time of day at which they were computed: all runs of {_named(day.first)} in one part "
            f"of the day, and all runs of {_named(day.second)} in a different part. {_chance(day)}"
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
        "If runs were mixed at random, they would be separated like this with probability p "
        f"{_is(number_format.probability(found.p))}."
    )


def _is(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
