"""The study file: arms or factors, seeds, looks and resources, validated together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, model_validator

from ablations.spec import file_paths, study_fields, study_problems, yaml_documents
from ablations.spec.advice import advised
from ablations.spec.designs import DESIGNS
from ablations.spec.fractions import Generators, parsed, standard
from ablations.spec.levels import RUN_KEYS, Factors, Labels, Seeds
from ablations.spec.resources import ArmResources, Resources
from ablations.spec.search import HalvingSpec, SearchSpec
from ablations.spec.sources import Source
from ablations.spec.study_fields import Integrity, LookNumbers, Mapped, Text
from ablations.spec.written import NULL, ONE_OR_MORE, TEXT, as_any_of, one_of_names, part_of_run
from aimlib.component import Frozen, tuple_of
from aimlib.errors import ConfigError, did_you_mean
from aimlib.registry import ComponentOf, controls

if TYPE_CHECKING:
    from analysis.looks import Looks
    from analysis.primary_measure import PrimaryMeasure

MAX_PAIRS = 60
"""Number of pairs at which `--until-verdict` ends by default if the verdict may be read after any number."""


_MEASURES: tuple[dict[str, Any], ...] = (
    one_of_names("measures"),
    {
        "type": "object",
        "properties": {"scalar": TEXT, "better": {"enum": ["higher", "lower"]}, "unit": TEXT},
        "required": ["scalar", "better"],
        "additionalProperties": False,
    },
)


class ArmSpec(Frozen):
    """One arm: its changes to the base, or the control of another arm."""

    model: Annotated[Mapped, part_of_run("model")] = {}
    """Options of the network that differ from the base; a component of the same name changes only its options."""
    data: Annotated[Mapped, part_of_run("data")] = {}
    """Options of the data that differ from the base."""
    training: Annotated[Mapped, part_of_run("training")] = {}
    """Options of the training that differ from the base."""
    options: Annotated[Mapped, part_of_run("options")] = {}
    """Options for own training code."""
    of: str | None = None
    """Name of the arm from which this one starts; by default, it starts from the base."""
    control: Annotated[
        Any,
        BeforeValidator(study_fields.control_of, json_schema_input_type=Annotated[Any, ComponentOf(controls, True)]),
    ] = None
    """Control to apply to the arm `of`."""
    levels: Labels = None
    """Levels of the factors that define this arm as a version of the varied arm; omitted factors are at their first
    level."""
    resources: ArmResources | None = None
    """Resources of its runs that differ from the study's; arms that start from this arm inherit them."""
    integrity: Integrity | None = None
    """spot or off: whether steps of its runs are repeated. The default is the study's value; arms that start from
    this arm inherit it. An arm that cannot compute the same bits twice from the same state needs off."""
    role: Annotated[
        Literal["baseline", "aim", "matched", "frozen", "permuted", "control", "other"] | None,
        BeforeValidator(study_fields.stored_role),
        as_any_of(one_of_names("roles"), NULL),
    ] = None
    """Role in the verdict. By default, it follows from the configuration, and the first arm of each role is used. An
    arm with a question is a control."""
    question: Text | None = None
    """Question that the comparison with the treatment answers, e.g. more than its additional parameters? The role has a
    default.
    """

    @model_validator(mode="after")
    def _control_of_an_arm(self) -> Self:
        if self.control is not None and self.of is None:
            raise ValueError("a control needs 'of'; give the name of the arm that it controls")
        if self.question is not None and self.role in ("aim", "other"):
            role = "treatment" if self.role == "aim" else self.role
            raise ValueError(f"question: an arm with the role {role} has none; give it to a control or the baseline")
        if self.model.get("control") is not None:
            raise ValueError("model.control cannot be set directly; give 'of' and 'control' to the arm instead")
        return self


class StudySpec(Frozen):
    """The content of a study file."""

    name: str
    """Name of the study, and of its folder in ``results/``: at most 64 letters, digits, ``.``, ``_`` and ``-``."""
    base: Annotated[Mapped, part_of_run()]
    """Configuration that all arms share: ``data``, ``model`` and ``training``, and ``options`` for own training
    code."""
    arms: dict[str, Annotated[ArmSpec, BeforeValidator(study_fields.arm_of)]]
    """The configurations to compare: changes to the base by the arm's name, ``{}`` for none."""
    description: str = ""
    """Text for the report."""
    claim: str | None = None
    """Name of a claim in `analysis.claims`, or path of a claim file relative to the study's or the current folder."""
    what: Text | None = None
    """What the study is about, as a noun in the singular, e.g. squeeze-and-excitation: what the treatment has and the
    baseline lacks. All texts use it. The default is memory, or the name of the treatment if no arm has a memory."""
    measure: Annotated[Any, BeforeValidator(study_fields.measure_of), as_any_of(*_MEASURES)] = "accuracy"
    """Measure of the verdict: accuracy, balanced_accuracy, macro_f1 or loss of the test images, or a number that runs
    report after every epoch: {scalar: its name, better: higher or lower, unit: optional}."""
    delta_pp: Annotated[float, Field(gt=0)] = 1.0
    """Smallest effect of interest, in percentage points of test accuracy, balanced accuracy or F1 score."""
    delta: Annotated[float, Field(gt=0)] | None = None
    """Smallest effect of interest for a loss or a scalar, in its unit."""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """Number of seeds, which are then 0, 1, 2, ..., or a list of them. Every arm has one run per seed."""
    looks: LookNumbers = (5, 8, 12)
    """Numbers of pairs after which the verdict is reached, at least 5 each, at levels that keep the overall error of
    all looks at 5 %. Seeds beyond the last completed look do not affect the verdict. With any, the verdict may be read
    after any number of pairs from 5 on, and the study may end or continue after each pair."""
    spending: Annotated[str, BeforeValidator(study_fields.spending_of), as_any_of(one_of_names("spendings"))] = (
        "constant"
    )
    """How the error is spent on the looks: constant (every look at the same level; Pocock's design), obrien_fleming,
    lan_demets_pocock or lan_demets_obrien_fleming. Designs of O'Brien and Fleming's type leave nearly all of it to the
    last look."""
    mixture_width: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """With looks: any, the standard deviation of the standardized effects at which its intervals are tightest; by
    default 1.25. Up to .833, there is no bounded interval after 5 pairs."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """With looks: any, the number of pairs at which --until-verdict ends, by default 60. It is not frozen, because the
    error holds for any number of pairs."""
    block: Annotated[int, Field(ge=1)] | None = None
    """With looks: any, the number of pairs that --until-verdict adds at a time, by default 1. It is not frozen."""
    further_block: Annotated[int, Field(ge=0)] = 0
    """Number of pairs in an optional block after the last look; half of the error is reserved for it beforehand."""
    protocol: Annotated[str | None, as_any_of(one_of_names("protocols"), NULL)] = None
    """Name of a protocol in `aimlib.training.protocols`; `base` is merged over the part that all arms of the protocol
    share."""
    factors: Factors = {}
    """The factors: a key path with a list of levels, or the factor's own name with a mapping from labels to changes. A
    level may change several options. Combinations of levels become arms."""
    design: (
        Literal["full_factorial", "one_at_a_time", "ladder", "leave_one_out", "fractional_factorial", "variance"] | None
    ) = None
    """Which combinations become arms, see `ablations.spec.designs`; by default, full_factorial if there are factors.
    variance has no factors; instead, each further arm varies one random stream of a named arm, see
    `ablations.spec.sources`."""
    sources: Annotated[tuple[Source, ...], BeforeValidator(tuple_of)] = ()
    """With design: variance, the sources that are varied one at a time; by default, those sources among split, init,
    order and augmentation from which an arm draws. layers varies draws of layers such as dropout; noise varies nothing,
    so that only the device's own variation remains."""
    fixed_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """With design: variance, the seed of the streams that are not varied, which must not be a seed of the study; by
    default 1000000."""
    resolution: Literal[3, 4, 5, 6, 7] | None = None
    """Minimum resolution of a fractional factorial: with 3, main effects cannot be distinguished from two-way
    interactions; with 4, two-way interactions cannot be distinguished from each other; with 5, both can be
    distinguished."""
    generators: Annotated[tuple[str, ...], BeforeValidator(study_fields.generators_of), ONE_OR_MORE] = ()
    """Instead of a resolution, the generators of a fractional factorial, such as ``update = placement * channels``."""
    vary: str | None = None
    """Arm to which the factors are applied."""
    search: SearchSpec | None = None
    """A screening before the study's own runs; its best trials become arms."""
    resources: Resources = Resources()
    """Resources of one run."""
    keep: Annotated[Literal["best", "last", "none"], BeforeValidator(study_fields.keep_of)] = "none"
    """Which trained network of a run is stored: best (from the selected epoch), last or none. No run id contains it."""
    keep_scores: Annotated[Literal["none", "float16"], BeforeValidator(study_fields.keep_of)] = "none"
    """float16 stores the log-probabilities of every class for every test image in the selected epoch, for top-k
    accuracy and calibration error. No run id contains it."""
    integrity: Integrity = "spot"
    """With spot, every device computes a reference step, and a run occasionally repeats a training step, to find wrong
    numbers; both take at most .5 % of the time and change no numbers. With off, neither is done."""
    plugins: Annotated[tuple[str, ...], BeforeValidator(study_fields.files_of), ONE_OR_MORE] = ()
    """Files with own code, relative to the study file; their registered classes can be named like any other plugin."""
    train: Annotated[str | None, BeforeValidator(study_fields.train_of)] = None
    """Own training code that replaces the training loop: a function ``my_code.py:train`` in a file relative to the
    study file, which takes (config, run), or the name of registered training code. See
    `aimlib.training.own.run.OwnRun`."""
    reuse: Annotated[tuple[str, ...], BeforeValidator(study_fields.directories_of), ONE_OR_MORE] = ()
    """Directories of other studies, relative to the study file; their results of the same runs are copied instead of
    being computed again."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in study_problems.problems(self):
            raise ValueError(problem)
        return self

    def training_function(self) -> tuple[Path, str] | None:
        """Return the file and the function name of own training code; None if there is none or it is registered."""
        found = study_fields.FUNCTION.fullmatch(self.train or "")
        return (Path(found["file"]), found["function"]) if found is not None else None

    def training_code(self) -> str | None:
        """Return the name under which own training code is registered; None if there is none."""
        found = self.training_function()
        return found[1] if found is not None else self.train

    @property
    def primary_measure(self) -> PrimaryMeasure:
        """Measure of the verdict."""
        from analysis.primary_measure import primary_measure  # noqa: PLC0415

        return primary_measure(self.measure, self.smallest_effect)

    @property
    def reading(self) -> Looks:
        """When the verdict may be read, and at which confidence levels."""
        from analysis.looks import ANY, Looks  # noqa: PLC0415

        if self.looks == ANY:
            return Looks.at_any_time(self.mixture_width)
        return Looks(self.looks, further_block=self.further_block, spending=self.spending)

    @property
    def most_pairs(self) -> int:
        """Number of pairs up to which `--until-verdict` adds seeds."""
        reading = self.reading
        return (self.max_pairs or MAX_PAIRS) if reading.anytime else reading.numbers[-1]

    @property
    def smallest_effect(self) -> float:
        """Smallest effect of interest, in the unit of the measure's differences."""
        return self.delta_pp if self.delta is None else self.delta

    def fraction(self) -> Generators:
        """Return the generators of a fractional factorial. ValueError: they are missing or wrong."""
        if self.generators:
            return parsed(self.generators, list(self.factors))
        return standard(list(self.factors), self.resolution or 3)


@dataclass(frozen=True)
class StudyFile:
    """A validated study with its file.

    Attributes
    ----------
    spec : its content, with overrides applied.
    path : the file; None for a study that was given as Python values.
    notes : values of single arms that the overrides replaced.
    """

    spec: StudySpec
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Name of the study in messages: its file or, without one, its name."""
        return f"study {self.spec.name!r}" if self.path is None else str(self.path)


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    folder = Path(str(resources.files("ablations"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


class Documented(Protocol):
    """A study that has its content as plain values, such as `ablations.Study`."""

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
    ConfigError: the study has problems; each message has the file, the key path, what is wrong, and the nearest valid
        name.
    """
    path, document = read_document(source)
    notes = []
    for override in [overrides] if isinstance(overrides, str) else overrides:
        notes += _override(document, *yaml_documents.assignment(override))
    folder = Path() if path is None else path.parent
    claim = folder / str(document.get("claim"))
    if claim.is_file():
        document["claim"] = str(claim.absolute())
    document = file_paths.beside(folder, document)
    try:
        spec = StudySpec.parse(document)
    except ConfigError as error:
        where = f"study {document.get('name', 'without a name')!r}" if path is None else path
        raise ConfigError(f"{where}: {problem}" for problem in advised(error.problems)) from None
    places: dict[str, Any] = {key: _beside(folder, getattr(spec, key)) for key in ("reuse", "plugins")}
    if (function := spec.training_function()) is not None:
        places["train"] = f"{_beside(folder, [str(function[0])])[0]}:{function[1]}"
    return StudyFile(spec.model_copy(update=places), path, tuple(notes))


def read_document(source: StudySource) -> tuple[Path | None, dict[str, Any]]:
    """Return the file of a study, or None, and its content as plain values, which are not validated yet.

    Raises
    ------
    ConfigError: there is no such file or shipped study, it is not YAML, or it has a value that no study file could
        hold.
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
    """Return directories relative to the folder of the study file; URLs stay unchanged."""
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
    near = did_you_mean(str(source), [*(str(path.with_name(each)) for each in _study_files(path.parent)), *shipped])
    raise ConfigError([f"{source}: no such file or shipped study; {near}shipped: {', '.join(shipped)}"])


def _study_files(folder: Path) -> list[str]:
    """Return the names of the YAML files in a folder; none if it cannot be read."""
    try:
        return sorted(each.name for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _override(document: dict[str, Any], path: list[str], value: Any) -> list[str]:
    """Set a value in a document; return a note on values of single arms that it replaces."""
    if path[0] not in RUN_KEYS:
        yaml_documents.put(document, path, value)
        return []
    base = document.setdefault("base", {})
    own = {f"arms.{name}": arm for name, arm in _mappings(document.get("arms")).items()}
    for option, factor in _mappings(document.get("factors")).items():
        own |= {f"factors.{option}.{level}": arm for level, arm in _mappings(factor).items()}
    taking = {place: layer for place, layer in own.items() if _takes(layer, path)}
    replaced = [
        f"{place} ({there})"
        for place, layer in taking.items()
        if yaml_documents.has(layer, path) and (there := yaml_documents.value_at(layer, path)) != value
    ]
    layers = [layer for layer in (base, *taking.values()) if _takes(layer, path)]
    for layer in layers or [base]:
        if isinstance(layer, dict):
            yaml_documents.put(layer, path, value)
    return list(_override_notes(document, path, value, replaced))


def _override_notes(document: dict[str, Any], path: list[str], value: Any, replaced: list[str]) -> Iterator[str]:
    """Yield notes on effects of an override that are not obvious."""
    option = ".".join(path)
    if replaced:
        yield f"{option}={value} also replaces the values of single arms: {', '.join(replaced)}"
    factors = document.get("factors")
    if isinstance(factors, Mapping) and option in factors:
        yield f"{option}={value} has no effect on arms that vary: factors.{option} gives their values"


def _takes(layer: Any, path: list[str]) -> bool:
    """Return whether a base or an arm has a value at `path`, or the component to which this option belongs."""
    if yaml_documents.has(layer, path):
        return True
    component = layer
    for key in path[:-1]:
        component = component.get(key) if isinstance(component, dict) else None
    return yaml_documents.is_option(path) and component not in (None, "none", {"name": "none"})


def _mappings(value: Any) -> dict[str, dict[str, Any]]:
    return {str(k): item for k, item in value.items() if isinstance(item, dict)} if isinstance(value, Mapping) else {}


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
