"""The study file: arms or factors, seeds, looks and resources, validated together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from ablations.spec import weights_paths, yaml_documents
from ablations.spec.advice import advised
from ablations.spec.designs import DESIGNS, TWO_LEVELS
from ablations.spec.fractions import Generators, parsed, standard
from ablations.spec.levels import RUN_KEYS, Factors, Labels, Seeds, equal_levels, labels_of
from ablations.spec.resources import ArmResources, Resources
from ablations.spec.search import HalvingSpec, SearchSpec
from aimlib.component import Frozen
from aimlib.errors import ConfigError, did_you_mean, unknown_name
from aimlib.records import ROLES
from aimlib.training.protocols import PROTOCOLS

if TYPE_CHECKING:
    from analysis.primary_measure import PrimaryMeasure

_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
_LONGEST_SEARCHED = 80
_LONGEST_TEXT = 120


def _looks(value: Any) -> Any:
    """Read a single number of pairs as one look."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise ValueError("give numbers of pairs, e.g. [5, 8, 12], or one number for a single look")


def _directories(value: Any) -> Any:
    """Read a single directory as a list of one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.strip() for each in value):
        return tuple(value)
    raise ValueError(
        f"give study directories, e.g. [results/placement], or s3://bucket/folder, also gs:// or az://; got {value!r}"
    )


def _files(value: Any) -> Any:
    """Read a single file as a list of one."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.endswith(".py") for each in value):
        return tuple(value)
    raise ValueError(f"give files with Python code, e.g. [my_net.py]; got {value!r}")


def _train(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and (_FUNCTION.fullmatch(value) or _NAME.fullmatch(value)) and not value.endswith(".py"):
        return value
    raise ValueError(f"give a function of a file, such as my_code.py:train, which takes (config, run); got {value!r}")


def _arm(value: Any) -> Any:
    if not isinstance(value, (dict, ArmSpec)):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"give its changes to the base as a mapping, or {{}} if there are none; got {value!r}"
        )
    return value


def _control(value: Any) -> Any:
    if value is not None and not isinstance(value, (str, dict)):
        raise ValueError(f"give the name of a control, or a mapping with its name and options; got {value!r}")
    return value


def _generators(value: Any) -> Any:
    """Read a single generator as a list of one."""
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if isinstance(value, str):
        return (value,)
    raise ValueError(f"give a list such as [update = placement * channels]; got {value!r}")


def _integrity(value: Any) -> Any:
    """Read false, which other readers of YAML make of off."""
    return "off" if value is False else value


def _keep(value: Any) -> Any:
    """Read null and false as none."""
    return "none" if value is None or value is False else value


Checks = Literal["spot", "reference", "off"]
"""How errors of computing are looked for in a run. spot: its device computes the reference step, and some steps are
repeated. reference: no step is repeated. off: neither."""
Integrity = Annotated[Literal["spot", "off"], BeforeValidator(_integrity)]
LookNumbers = Annotated[tuple[int, ...], BeforeValidator(_looks)]
Mapped = dict[str, Any]


def _text(value: Any) -> Any:
    """Read a text of one line without the space around it."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise ValueError(f"give a text of one line and at most {_LONGEST_TEXT} characters; got {value!r}")
    return value.strip()


Text = Annotated[str, BeforeValidator(_text)]


def _measure(value: Any) -> Any:
    """Read the name of a measure, or the mapping of a scalar."""
    from analysis.primary_measure import primary_measure  # noqa: PLC0415 -- pandas comes with the package

    try:
        primary_measure(value)
    except ValueError as error:
        raise ValueError(f"{error}, e.g. {{scalar: perplexity, better: lower}}; got {value!r}") from None
    return value


def _stored_role(role: Any) -> Any:
    """Return the word that plans store for a role: ``treatment`` is stored as ``aim``, as in the first version."""
    if role is not None and role not in (*ROLES, "aim"):
        raise ValueError(f"{unknown_name('role', str(role), ROLES)}; choose one of them")
    return "aim" if role == "treatment" else role


class ArmSpec(Frozen):
    """One arm: its changes to the base, or the control of another arm."""

    model: Mapped = {}
    data: Mapped = {}
    training: Mapped = {}
    options: Mapped = {}
    """What own training code reads."""
    of: str | None = None
    """Name of the arm from which this one starts; by default, it starts from the base."""
    control: Annotated[Any, BeforeValidator(_control)] = None
    """Control to apply to the arm `of`."""
    levels: Labels = None
    """Levels of the factors at which this arm is the varied arm; omitted factors are at their first level."""
    resources: ArmResources | None = None
    """Resources of its runs that differ from the study's; arms that start from this arm inherit them."""
    integrity: Integrity | None = None
    """spot or off: whether steps of its runs are repeated, by default as for the study; arms that start from this arm
    inherit it. An arm that cannot compute the same bits twice from the same state needs off."""
    role: Annotated[
        Literal["baseline", "aim", "matched", "frozen", "permuted", "control", "other"] | None,
        BeforeValidator(_stored_role),
    ] = None
    """Role in the verdict. By default, it follows from the configuration, and the first arm of each role is used. An
    arm with a question is a control."""
    question: Text | None = None
    """What the comparison with the treatment answers, e.g. more than its additional parameters? The role has a default.
    """

    @model_validator(mode="after")
    def _control_of_an_arm(self) -> Self:
        if self.control is not None and self.of is None:
            raise ValueError("a control needs 'of'; give the name of the arm that it controls")
        if self.question is not None and self.role in ("aim", "other"):
            role = "treatment" if self.role == "aim" else self.role
            raise ValueError(f"question: an arm with the role {role} asks none; give it to a control or the baseline")
        if self.model.get("control") is not None:
            raise ValueError("model.control cannot be set directly; give 'of' and 'control' to the arm instead")
        return self


class StudySpec(Frozen):
    """The content of a study file."""

    name: str
    base: Mapped
    arms: dict[str, Annotated[ArmSpec, BeforeValidator(_arm)]]
    description: str = ""
    claim: str | None = None
    """Name of a claim in `analysis.claims`, or path of a claim file relative to the study's or the current folder."""
    what: Text | None = None
    """What the study is about, as a noun in the singular, e.g. squeeze-and-excitation: what the treatment has and the
    baseline lacks. All texts use it. By default memory, or the name of the treatment if no arm has a memory."""
    measure: Annotated[Any, BeforeValidator(_measure)] = "accuracy"
    """What the verdict is about: accuracy, balanced_accuracy, macro_f1 or loss of the test images, or a number that
    runs report after every epoch: {scalar: its name, better: higher or lower, unit: optional}."""
    delta_pp: Annotated[float, Field(gt=0)] = 1.0
    """Smallest effect of interest, in percentage points of test accuracy, balanced accuracy or F1 score."""
    delta: Annotated[float, Field(gt=0)] | None = None
    """The same for a loss or a scalar, in its unit."""
    seeds: Seeds = (0, 1, 2, 3, 4)
    looks: LookNumbers = (5, 8, 12)
    """Numbers of pairs after which the verdict is reached, at levels that keep the overall error of all looks at 5 %.
    Seeds beyond the last completed look do not affect the verdict."""
    further_block: Annotated[int, Field(ge=0)] = 0
    """Number of pairs in an optional block after the last look; half of the error is reserved for it beforehand."""
    protocol: str | None = None
    """Name of a protocol in `aimlib.training.protocols`; `base` is merged over the part that all its arms share."""
    factors: Factors = {}
    """The factors: a key path with a list of levels, or the factor's own name with a mapping from labels to changes. A
    level may change several options. Combinations of levels become arms."""
    design: Literal["full_factorial", "one_at_a_time", "ladder", "leave_one_out", "fractional_factorial"] | None = None
    """Which combinations become arms, see `ablations.spec.designs`; by default, full_factorial if there are factors."""
    resolution: Literal[3, 4, 5, 6, 7] | None = None
    """Least resolution of a fractional factorial: with 3, main effects cannot be told apart from two-way interactions;
    with 4, two-way interactions cannot be told apart from each other; with 5, both can be told apart."""
    generators: Annotated[tuple[str, ...], BeforeValidator(_generators)] = ()
    """Instead of a resolution, the generators of a fractional factorial, such as ``update = placement * channels``."""
    vary: str | None = None
    """Arm to which the factors are applied."""
    search: SearchSpec | None = None
    """A screening before the study's own runs; its best trials become arms."""
    resources: Resources = Resources()
    keep: Annotated[Literal["best", "last", "none"], BeforeValidator(_keep)] = "none"
    """Which trained network of a run is stored: best (that of the selected epoch), last or none. In no run id."""
    keep_scores: Annotated[Literal["none", "float16"], BeforeValidator(_keep)] = "none"
    """float16: the log-probabilities of every class for every test image are stored, of the selected epoch, for top-k
    accuracy and calibration error. In no run id."""
    integrity: Integrity = "spot"
    """spot: every device computes a reference step, and a run repeats a training step now and then, to find wrong
    numbers; both take at most .5 % of the time and change no number. off: neither."""
    plugins: Annotated[tuple[str, ...], BeforeValidator(_files)] = ()
    """Files with own code, relative to the study file: their registered classes can be named like any other plugin."""
    train: Annotated[str | None, BeforeValidator(_train)] = None
    """Own training code in place of the training loop: a function ``my_code.py:train`` in a file relative to the study
    file, which takes (config, run); or the name of a registered one. See `aimlib.training.own.run.OwnRun`."""
    reuse: Annotated[tuple[str, ...], BeforeValidator(_directories)] = ()
    """Directories of other studies, relative to the study file: their results of the same runs are copied instead of
    being computed again."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterable[str]:
        if not _NAME.fullmatch(self.name):
            yield f"name: {self.name!r}: use at most 64 letters, digits, '.', '_' and '-'; it becomes a folder's name"
        if not self.arms:
            yield "arms: none are given; give at least two to compare"
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds: {list(self.seeds)}: a seed is given twice; remove one"
        for key in self.base:
            if key not in RUN_KEYS:
                yield f"base.{key}: unknown key; {did_you_mean(key, RUN_KEYS)}known keys: {', '.join(RUN_KEYS)}"
        if yaml_documents.has(self.base, ("model", "control")):
            yield "base.model.control: a control belongs to one arm; give that arm 'of' and 'control'"
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            yield f"protocol: {unknown_name('protocol', self.protocol, PROTOCOLS)}"
        yield from self._training_code_problems()
        yield from self._measure_problems()
        yield from self._look_problems()
        yield from self._factor_problems()
        yield from self._arm_problems()
        yield from self._search_problems()
        if self.search is not None and self.reuse:
            yield "reuse: a search computes all its trials itself; remove this key, or the search"

    def _training_code_problems(self) -> Iterable[str]:
        if self.train is None:
            changed = [*self.arms.values()], [level for each in self.factors.values() for level in _mappings(each)]
            if (
                "options" in self.base
                or any(arm.options for arm in changed[0])
                or any("options" in x for x in changed[1])
            ):
                yield "options: only own training code reads them; give train: my_code.py:train, or remove them"
            return
        if self.protocol is not None:
            yield (
                f"protocol: {self.protocol} states options of the built-in training loop, which train: {self.train} "
                f"replaces; remove it"
            )
        if self.keep != "none":
            yield f"keep: {self.keep} is for the built-in training loop; own training code stores its network itself"
        if self.keep_scores != "none":
            yield "keep_scores: own training code gives its predictions without scores; remove this key"
        if self.search is not None:
            yield "search: a study with own training code cannot have a search; give the options as factors"

    def training_function(self) -> tuple[Path, str] | None:
        """Return file and name of the function of own training code; None if there is none, or it is registered."""
        found = _FUNCTION.fullmatch(self.train or "")
        return (Path(found["file"]), found["function"]) if found is not None else None

    def training_code(self) -> str | None:
        """Return the name under which own training code is registered; None if there is none."""
        found = self.training_function()
        return found[1] if found is not None else self.train

    def _measure_problems(self) -> Iterable[str]:
        measure = self.primary_measure
        if measure.difference == "pp" and self.delta is not None:
            yield f"delta: {measure.words} is in percentage points; give delta_pp instead"
        if measure.difference != "pp" and self.delta is None:
            unit = f", in {measure.unit}" if measure.unit else ""
            yield f"delta: missing; give the smallest difference in {measure.words} that would matter{unit}"
        if measure.difference != "pp" and "delta_pp" in self.model_fields_set:
            yield f"delta_pp: {measure.words} is not in percentage points; give delta instead"
        if not measure.is_accuracy and self.claim is not None:
            yield f"measure: a claim is about accuracy, but the measure is {measure.name}; remove one of the two"

    @property
    def primary_measure(self) -> PrimaryMeasure:
        """What the verdict is about."""
        from analysis.primary_measure import primary_measure  # noqa: PLC0415

        return primary_measure(self.measure, self.smallest_effect)

    @property
    def smallest_effect(self) -> float:
        """Smallest effect of interest, in the unit of the measure's differences."""
        return self.delta_pp if self.delta is None else self.delta

    def _look_problems(self) -> Iterable[str]:
        from analysis.looks import Looks  # noqa: PLC0415 -- pandas comes with the package

        try:
            Looks(self.looks, further_block=self.further_block)
        except ValueError as error:
            yield f"looks: {error}"

    def _search_problems(self) -> Iterable[str]:
        search = self.search
        if search is None:
            return
        for name in search.arms:
            if name not in self.arms:
                yield f"search.vary: {unknown_name('arm', name, self.arms)}"
            elif self.arms[name].control is not None or self.arms[name].levels is not None:
                yield f"search.vary: arm {name!r} is derived from another; search an arm that states its own options"
            elif len(name) > _LONGEST_SEARCHED:
                yield f"search.vary: {name!r}: trials are named after it; use at most {_LONGEST_SEARCHED} characters"
            elif taken := [other for other in self.arms if re.fullmatch(re.escape(name) + r"_\d{4,}", other)]:
                yield f"arms.{taken[0]}: this name is reserved for trials of arm {name!r}; rename it"
        if shared := sorted(set(search.seeds) & set(self.seeds)):
            yield (
                f"search.seeds: {', '.join(map(str, shared))} are also seeds of the study, and a choice made on a seed "
                f"cannot be confirmed on it; give other seeds"
            )
        most = self.looks[-1] + self.further_block
        later = range(max(self.seeds) + 1, max(self.seeds) + 1 + max(0, most - len(self.seeds)))
        if shared := sorted(set(search.seeds) & set(later)):
            yield (
                f"search.seeds: {', '.join(map(str, shared))} are seeds that the study may still use, because its "
                f"looks extend to {most} pairs; give other seeds, e.g. {max(later) + 1000}"
            )
        if self.factors:
            yield "search: a study with a search cannot have factors; put them in a separate study"

    def _arm_problems(self) -> Iterable[str]:
        for name, arm in self.arms.items():
            if not name.strip() or not name.isprintable() or len(name) > 100:
                yield f"arms.{name!r}: a name must be printable text of at most 100 characters"
            if arm.of is not None and (arm.of not in self.arms or arm.of == name):
                yield f"arms.{name}.of: {unknown_name('arm', arm.of, set(self.arms) - {name})}"
            elif arm.of is not None and self.arms[arm.of].control is not None:
                yield f"arms.{name}.of: {self._is_control(arm.of)}"

            yield from self._level_problems(name, arm)

    def _level_problems(self, name: str, arm: ArmSpec) -> Iterable[str]:
        if arm.levels is None:
            return
        if arm.of is not None or arm.model or arm.data or arm.training or arm.options:
            yield f"arms.{name}.levels: an arm with levels cannot have other options; remove these, or the levels"
        for factor, label in arm.levels.items():
            known = labels_of(self.factors.get(factor, ()))
            if factor not in self.factors:
                yield f"arms.{name}.levels.{factor}: {unknown_name('factor', factor, self.factors)}"
            elif label not in known:
                yield f"arms.{name}.levels.{factor}: {unknown_name('level', label, known)}"

    def _is_control(self, name: str) -> str:
        return (
            f"arm {name!r} is a control, which an arm that starts from it would not inherit; start from the arm that "
            f"it controls, {self.arms[name].of!r}, and give the control again"
        )

    def _factor_problems(self) -> Iterable[str]:
        if not self.factors and (self.design or self.vary):
            yield f"{'design' if self.design else 'vary'}: no effect, because this study has no factors; remove it"
        if self.factors and self.vary not in self.arms:
            named = (
                unknown_name("arm", self.vary, self.arms)
                if self.vary
                else f"missing; name one of {', '.join(self.arms)}"
            )
            yield f"vary: {named}"
        elif self.vary and self.arms[self.vary].control is not None:
            yield f"vary: {self._is_control(self.vary)}"
        if self.vary in self.arms and self.arms[str(self.vary)].levels is not None:
            yield f"vary: arm {self.vary!r} is itself a combination of levels; vary the arm to which they are applied"
        yield from self._fraction_problems()
        for name, levels in self.factors.items():
            is_path = name.split(".")[0] in RUN_KEYS and name.count(".") > 0 and all(name.split("."))
            if isinstance(levels, tuple) and not is_path:
                yield f"factors.{name}: not a key path below {', '.join(RUN_KEYS)}; give one, e.g. model.placement"
            if isinstance(levels, dict) and (name.split(".")[0] in RUN_KEYS or not name.isprintable()):
                yield f"factors.{name}: a factor with labelled levels needs its own name, not a key path; e.g. memory"
            if equal := equal_levels(levels):
                yield f"factors.{name}: levels {equal[0]} and {equal[1]} are equal; remove one of them"
            if self.design in TWO_LEVELS and len(levels) != 2:
                yield (
                    f"factors.{name}: design {self.design} goes from a first level to a last one; give two, not "
                    f"{len(levels)}"
                )

    def _fraction_problems(self) -> Iterable[str]:
        given = [key for key in ("resolution", "generators") if getattr(self, key)]
        if self.design != "fractional_factorial":
            yield from (f"{key}: no effect without design: fractional_factorial; remove it" for key in given)
        elif len(given) != 1:
            yield "design: fractional_factorial needs either resolution (3, 4 or 5) or generators; give one of them"
        else:
            try:
                self.fraction()
            except ValueError as error:
                yield str(error)

    def fraction(self) -> Generators:
        """Return the generators of a fractional factorial; ValueError if they are wrong or there are none."""
        if self.generators:
            return parsed(self.generators, list(self.factors))
        return standard(list(self.factors), self.resolution or 3)


@dataclass(frozen=True)
class StudyFile:
    """A validated study with its file.

    Attributes
    ----------
    spec : its content, with overrides applied.
    path : the file; None for a study that was given as values of Python.
    """

    spec: StudySpec
    path: Path | None = None

    @property
    def where(self) -> str:
        """What messages call the study: its file or, without one, its name."""
        return f"study {self.spec.name!r}" if self.path is None else str(self.path)


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    folder = Path(str(resources.files("ablations"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


class Documented(Protocol):
    """A study that knows its content as plain values, such as `ablations.Study`."""

    def to_document(self) -> dict[str, Any]:
        """Return the content of the study as plain values."""


StudySource = str | Path | Mapping[str, Any] | Documented
"""A study: path of its file, name of a shipped one, its keys as a mapping, or an `ablations.Study`."""


def read_study(source: StudySource, overrides: Iterable[str] = ()) -> StudyFile:
    """Return a study.

    Parameters
    ----------
    source : path of a study file, the name of a shipped study, its keys as a mapping, or an `ablations.Study`. Paths in
        the last two are relative to the current folder.
    overrides : texts ``key.path=value``; a path that starts with model, data or training refers to `base`, and also
        replaces the values of individual arms at that path.

    Raises
    ------
    ConfigError: with one message per problem: file, key path, what is wrong, nearest valid name.
    """
    path, document = read_document(source)
    for override in [overrides] if isinstance(overrides, str) else overrides:
        _override(document, *yaml_documents.assignment(override))
    folder = Path() if path is None else path.parent
    claim = folder / str(document.get("claim"))
    if claim.is_file():
        document["claim"] = str(claim.absolute())
    document = weights_paths.beside(folder, document)
    try:
        spec = StudySpec.parse(document)
    except ConfigError as error:
        where = f"study {document.get('name', 'without a name')!r}" if path is None else path
        raise ConfigError(f"{where}: {problem}" for problem in advised(error.problems)) from None
    places: dict[str, Any] = {key: _beside(folder, getattr(spec, key)) for key in ("reuse", "plugins")}
    if (function := spec.training_function()) is not None:
        places["train"] = f"{_beside(folder, [str(function[0])])[0]}:{function[1]}"
    return StudyFile(spec.model_copy(update=places), path)


def read_document(source: StudySource) -> tuple[Path | None, dict[str, Any]]:
    """Return the file of a study, None if it has none, and its content as plain values, not yet validated.

    Raises
    ------
    ConfigError: no such file or shipped study, not YAML, or a value that no study file could hold.
    """
    if isinstance(source, (str, Path)):
        path = _find(source)
        return path, yaml_documents.read(path)
    if isinstance(source, Mapping):
        return None, yaml_documents.plain(source)
    if hasattr(source, "to_document"):
        return None, source.to_document()
    raise ConfigError(
        [f"{source!r}: not a study; give a file, the name of a shipped study, a mapping of keys, or ablations.Study"]
    )


def _beside(folder: Path, directories: Iterable[str]) -> tuple[str, ...]:
    """Return directories relative to the folder of the study file; URLs stay as they are."""
    return tuple(each if "://" in each else str((folder / Path(each).expanduser()).absolute()) for each in directories)


def _find(source: str | Path) -> Path:
    path = Path(source)
    try:
        found = path.exists()
    except OSError as error:  # a name that is too long, a link to itself
        raise ConfigError([f"{source}: cannot be read: {error.strerror}; give a study's file"]) from None
    if path.is_file():
        return path
    shipped = shipped_studies()
    if str(source) in shipped:
        return shipped[str(source)]
    if path.is_dir():
        raise ConfigError([f"{source}: is a folder; give the study's file, e.g. {path / 'study.yaml'}"])
    if found:
        raise ConfigError([f"{source}: is a pipe or a device; save the study in a file and give that"])
    raise ConfigError(
        [f"{source}: no such file or shipped study; {did_you_mean(str(source), shipped)}shipped: {', '.join(shipped)}"]
    )


def _override(document: dict[str, Any], path: list[str], value: Any) -> None:
    if path[0] not in RUN_KEYS:
        yaml_documents.put(document, path, value)
        return
    base = document.setdefault("base", {})
    levels = [level for factor in _mappings(document.get("factors")) for level in _mappings(factor)]
    layers = [layer for layer in (base, *_mappings(document.get("arms")), *levels) if _takes(layer, path)]
    for layer in layers or [base]:
        if isinstance(layer, dict):
            yaml_documents.put(layer, path, value)


def _takes(layer: Any, path: list[str]) -> bool:
    """Return whether a base or an arm has a value at `path`, or the component to which this option belongs."""
    if yaml_documents.has(layer, path):
        return True
    component = layer
    for key in path[:-1]:
        component = component.get(key) if isinstance(component, dict) else None
    return yaml_documents.is_option(path) and component not in (None, "none", {"name": "none"})


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value.values() if isinstance(item, dict)] if isinstance(value, Mapping) else []


assert set(DESIGNS) == {"full_factorial", "one_at_a_time", "ladder", "leave_one_out"}  # and fractional_factorial
__all__ = [
    "ArmSpec",
    "HalvingSpec",
    "Resources",
    "SearchSpec",
    "StudyFile",
    "StudySource",
    "StudySpec",
    "read_document",
    "read_study",
    "shipped_studies",
]
