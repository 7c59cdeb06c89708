"""Problems in a study whose values are individually valid: keys that do not fit together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ablations.spec import yaml_documents
from ablations.spec.advice import key_path_meant
from ablations.spec.designs import TWO_LEVELS
from ablations.spec.levels import RUN_KEYS, equal_levels, labels_of, looks
from ablations.spec.sources import FIXED_SEED, SOURCES, source_arm
from ablations.spec.study_fields import NAME
from aimlib.errors import did_you_mean, unknown_name
from aimlib.records.escaping import shortened
from aimlib.training.protocols import PROTOCOLS

if TYPE_CHECKING:
    from ablations.spec.study import ArmSpec, StudySpec

_LONGEST_SEARCHED = 80
_LONGEST_LABEL = 100


def problems(spec: StudySpec) -> Iterable[str]:
    """Yield messages about a study, each starting with the key path."""
    if not NAME.fullmatch(spec.name):
        yield (
            f"name: {spec.name!r}: use at most 64 letters, digits, '.', '_' and '-', a letter or digit first "
            f"(letters are a-z and A-Z); it becomes a folder's name"
        )
    if not spec.arms:
        yield "arms: empty; define at least two arms to compare"
    if len(set(spec.seeds)) < len(spec.seeds):
        yield f"seeds: {list(spec.seeds)}: a seed is listed twice; remove one"
    for key in spec.base:
        if key not in RUN_KEYS:
            yield f"base.{key}: unknown key; {did_you_mean(key, RUN_KEYS)}known keys: {', '.join(RUN_KEYS)}"
    if yaml_documents.has(spec.base, ("model", "control")):
        yield "base.model.control: a control belongs to one arm; set 'of' and 'control' in that arm"
    if spec.protocol is not None and spec.protocol not in PROTOCOLS:
        yield f"protocol: {unknown_name('protocol', spec.protocol, PROTOCOLS)}"
    yield from _training_code_problems(spec)
    yield from _measure_problems(spec)
    yield from _look_problems(spec)
    yield from _source_problems(spec) if spec.design == "variance" else _factor_problems(spec)
    yield from _arm_problems(spec)
    yield from _search_problems(spec)
    if spec.search is not None and spec.reuse:
        yield "reuse: a search computes all its trials itself; remove this key, or the search"


def _training_code_problems(spec: StudySpec) -> Iterable[str]:
    if spec.train is None:
        levels = [level for each in spec.factors.values() if isinstance(each, dict) for level in each.values()]
        given = [spec.base, *(arm.model_dump(exclude_defaults=True) for arm in spec.arms.values()), *levels]
        if any("options" in each for each in given) or any(name.startswith("options.") for name in spec.factors):
            yield (
                "options: only the study's own training code reads options; set train: my_code.py:train, or remove them"
            )
        return
    if spec.protocol is not None:
        yield (
            f"protocol: {spec.protocol} sets options of the built-in training loop, which train: {spec.train} "
            f"replaces; remove protocol"
        )
    if spec.keep != "none":
        yield f"keep: {spec.keep} is for the built-in training loop; your training code must store the network itself"
    if spec.keep_scores != "none":
        yield "keep_scores: the study's own training code returns predictions without scores; remove this key"
    if spec.search is not None:
        yield "search: a study with its own training code cannot have a search; vary the options as factors"


def _measure_problems(spec: StudySpec) -> Iterable[str]:
    measure = spec.primary_measure
    if measure.difference == "pp" and spec.delta is not None:
        yield f"delta: {measure.words} is in percentage points; set delta_pp instead"
    if measure.difference != "pp" and spec.delta is None:
        unit = f", in {measure.unit}" if measure.unit else ""
        yield f"delta: missing; set the smallest difference in {measure.words} that would matter{unit}"
    if measure.difference != "pp" and "delta_pp" in spec.model_fields_set:
        yield f"delta_pp: {measure.words} is not in percentage points; set delta instead"
    if not measure.is_accuracy and spec.claim is not None:
        yield f"measure: a claim is about accuracy, but the measure is {measure.name}; remove one of the two"


def _look_problems(spec: StudySpec) -> Iterable[str]:
    from analysis.looks import ANY, FEWEST_PAIRS, MOST_PAIRS  # noqa: PLC0415 -- pandas comes with the package

    anytime = spec.looks == ANY
    for key in ("mixture_width", "max_pairs", "block"):
        if getattr(spec, key) is not None and not anytime:
            yield f"{key}: only for looks: any; remove it, or set looks: any"
    for key, default in (("further_block", 0), ("spending", "constant")):
        if getattr(spec, key) != default and anytime:
            yield f"{key}: only for planned looks, not for looks: any; remove it, or set looks such as [5, 8, 12]"
    if anytime and spec.max_pairs is not None and not FEWEST_PAIRS <= spec.max_pairs <= MOST_PAIRS:
        yield f"max_pairs: must be from {FEWEST_PAIRS} to {MOST_PAIRS}; got {spec.max_pairs}"
    if anytime:
        return
    try:
        spec.reading  # noqa: B018 -- it is evaluated for its errors
    except ValueError as error:
        yield f"looks: {error}"


def _seeds_are(seeds: Sequence[int], also: str = "") -> str:
    """Return ``2 is also a seed``, or ``2, 3 are also seeds``."""
    words = ["is" if len(seeds) == 1 else "are", *([also] if also else []), "a seed" if len(seeds) == 1 else "seeds"]
    return f"{', '.join(map(str, seeds))} {' '.join(words)}"


def _search_problems(spec: StudySpec) -> Iterable[str]:
    search = spec.search
    if search is None:
        return
    for name in search.arms:
        if name not in spec.arms:
            yield f"search.vary: {unknown_name('arm', name, spec.arms)}"
        elif spec.arms[name].control is not None or spec.arms[name].levels is not None:
            yield f"search.vary: arm {name!r} is derived from another arm; search an arm that sets its own options"
        elif len(name) > _LONGEST_SEARCHED:
            yield f"search.vary: {name!r}: trials are named after this arm; use at most {_LONGEST_SEARCHED} characters"
        elif taken := [other for other in spec.arms if re.fullmatch(re.escape(name) + r"_\d{4,}", other)]:
            yield f"arms.{taken[0]}: this name is reserved for trials of arm {name!r}; rename it"
    if shared := sorted(set(search.seeds) & set(spec.seeds)):
        yield (
            f"search.seeds: {_seeds_are(shared, 'also')} of the study, and a choice made on a seed cannot be "
            f"confirmed on the same seed; use different seeds"
        )
    most = spec.most_pairs
    later = range(max(spec.seeds) + 1, max(spec.seeds) + 1 + max(0, most - len(spec.seeds)))
    if shared := sorted(set(search.seeds) & set(later)):
        yield (
            f"search.seeds: {_seeds_are(shared)} that the study may still use, because its looks "
            f"extend to {most} pairs; use different seeds, e.g. {max(later) + 1000}"
        )
    if spec.factors:
        yield "search: a study with a search cannot have factors; put them in a separate study"


def _arm_problems(spec: StudySpec) -> Iterable[str]:
    seen: dict[str, str] = {}
    for name in spec.arms:
        other = seen.setdefault(looks(name), name)
        if other != name:
            yield f"arms.{name}: the names {other!a} and {name!a} look the same; rename one of the arms"
    for name, arm in spec.arms.items():
        if not name.strip() or not name.isprintable() or len(name) > 100:
            yield f"arms.{name!r}: a name must be printable text of at most 100 characters"
        if arm.of is not None and (arm.of not in spec.arms or arm.of == name):
            yield f"arms.{name}.of: {unknown_name('arm', arm.of, set(spec.arms) - {name})}"
        elif arm.of is not None and spec.arms[arm.of].control is not None:
            yield f"arms.{name}.of: {_is_control(spec, arm.of)}"

        yield from _level_problems(spec, name, arm)


def _name_problems(where: str, name: str, is_label: bool = True) -> Iterable[str]:
    """Yield the reasons why the name of a factor or level cannot be part of an arm's name."""
    if is_label and (not name.strip() or len(name) > _LONGEST_LABEL):
        yield f"{where}: a name needs 1 to {_LONGEST_LABEL} characters; rename it"
    if not name.isprintable():
        said = "remove them" if is_label else "give the level a label: {name: {label: {options: ...}}}"
        yield f"{where}: it becomes part of an arm's name, but contains unprintable characters; {said}"


def _level_problems(spec: StudySpec, name: str, arm: ArmSpec) -> Iterable[str]:
    if arm.levels is None:
        return
    if arm.of is not None or arm.model or arm.data or arm.training or arm.options:
        yield f"arms.{name}.levels: an arm with levels cannot have other options; remove the options or the levels"
    for factor, label in arm.levels.items():
        known = labels_of(spec.factors.get(factor, ()))
        if factor not in spec.factors:
            yield f"arms.{name}.levels.{factor}: {unknown_name('factor', factor, spec.factors)}"
        elif label not in known:
            yield f"arms.{name}.levels.{factor}: {unknown_name('level', label, known)}"


def _is_control(spec: StudySpec, name: str) -> str:
    return (
        f"arm {name!r} is a control, and an arm that starts from it would not inherit the control; start from the arm "
        f"to control for, {spec.arms[name].of!r}, and set the control again"
    )


def _factor_problems(spec: StudySpec) -> Iterable[str]:
    idle = [key for key in ("sources", "fixed_seed") if getattr(spec, key) not in ((), None)]
    yield from (f"{key}: no effect without design: variance; remove it" for key in idle)
    if not spec.factors and (spec.design or spec.vary):
        yield f"{'design' if spec.design else 'vary'}: no effect, because this study has no factors; remove it"
    if spec.factors and spec.vary not in spec.arms:
        named = (
            unknown_name("arm", spec.vary, spec.arms) if spec.vary else f"missing; name one of {', '.join(spec.arms)}"
        )
        yield f"vary: {named}"
    elif spec.vary and spec.arms[spec.vary].control is not None:
        yield f"vary: {_is_control(spec, spec.vary)}"
    if spec.vary in spec.arms and spec.arms[str(spec.vary)].levels is not None:
        yield f"vary: arm {spec.vary!r} is itself a combination of levels; vary the arm to which the levels are applied"
    yield from _fraction_problems(spec)
    for name, levels in spec.factors.items():
        yield from _labels_problems(name, levels, spec)
        if equal := equal_levels(levels):
            yield f"factors.{name}: levels {equal[0]} and {equal[1]} are equal; remove one of them"
        if spec.design in TWO_LEVELS and len(levels) != 2:
            yield (
                f"factors.{name}: design {spec.design} uses a first and a last level; set two levels, not {len(levels)}"
            )


def _labels_problems(name: str, levels: tuple[Any, ...] | dict[str, Any], spec: StudySpec) -> Iterable[str]:
    """Yield problems with the names of a factor and its levels, which become parts of arm names."""
    is_labelled = isinstance(levels, dict)
    is_path = name.split(".", maxsplit=1)[0] in RUN_KEYS and name.count(".") > 0 and all(name.split("."))
    if is_labelled:
        yield from _name_problems(f"factors.{shortened(name, 80)!r}", name)
    elif not is_path:
        path = f"options.{name}" if name in spec.base.get("options", {}) else key_path_meant(name)
        remedy = (
            f"did you mean {path!r}?"
            if path
            else "use one, e.g. model.placement, or training.loss.gamma for a component's option"
        )
        yield f"factors.{name}: not a key path below {', '.join(RUN_KEYS)}; {remedy}"
    for label in labels_of(levels):
        yield from _name_problems(f"factors.{name}: level {shortened(label, 80)!r}", label, is_labelled)


def _source_problems(spec: StudySpec) -> Iterable[str]:
    """Yield messages about keys that do not fit the design `variance`."""
    if spec.factors:
        yield "design: variance varies random streams, not factors; remove the factors, or choose a different design"
    if spec.train is not None:
        yield "design: variance needs the built-in training loop, whose random streams have names; remove train"
    if spec.search is not None:
        yield "search: a study with design: variance cannot have a search; put it in a separate study"
    if spec.vary is not None and spec.vary not in spec.arms:
        yield f"vary: {unknown_name('arm', spec.vary, spec.arms)}"
    if repeated := [each for each in spec.sources if spec.sources.count(each) > 1]:
        yield f"sources: {repeated[0]} is listed twice; remove one"
    seed = FIXED_SEED if spec.fixed_seed is None else spec.fixed_seed
    if seed in spec.seeds:
        yield (
            f"fixed_seed: {seed} is also a seed of the study, so runs in several series would be the same; use a "
            f"different seed"
        )
    layers = {"base": spec.base, **{f"arms.{name}": {"training": arm.training} for name, arm in spec.arms.items()}}
    for where, layer in layers.items():
        if yaml_documents.has(layer, ("training", "streams")):
            yield f"{where}.training.streams: design: variance sets the streams itself; remove this key"
    taken = {source_arm(name, each) for name in spec.arms for each in SOURCES} & set(spec.arms)
    if taken:
        yield f"arms.{min(taken)}: design: variance uses this name for one of the arms it adds; rename yours"


def _fraction_problems(spec: StudySpec) -> Iterable[str]:
    given = [key for key in ("resolution", "generators") if getattr(spec, key)]
    if spec.design != "fractional_factorial":
        yield from (f"{key}: no effect without design: fractional_factorial; remove it" for key in given)
    elif len(given) != 1:
        yield "design: fractional_factorial needs either resolution (3, 4 or 5) or generators; set one of them"
    else:
        try:
            spec.fraction()
        except ValueError as error:
            yield str(error)
