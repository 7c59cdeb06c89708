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
"""Number of pairs at which `--until-verdict` ends by default if a verdict is possible after any number of pairs."""


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
    """One arm: its changes to the base, or a control for another arm."""

    model: Annotated[Mapped, part_of_run("model")] = {}
    """Network options that differ from the base. If a component has the same name as in the base, only the given
options change."""
    data: Annotated[Mapped, part_of_run("data")] = {}
    """Data options that differ from the base."""
    training: Annotated[Mapped, part_of_run("training")] = {}
    """Training options that differ from the base."""
    options: Annotated[Mapped, part_of_run("options")] = {}
    """Options for the study's own training code."""
    of: str | None = None
    """Name of the arm from which this arm starts; by default, it starts from the base."""
    control: Annotated[
        Any,
        BeforeValidator(study_fields.control_of, json_schema_input_type=Annotated[Any, ComponentOf(controls, True)]),
    ] = None
    """Control to apply to the arm `of`."""
    levels: Labels = None
    """Factor levels that define this arm as a version of the varied arm; omitted factors are at their first level."""
    resources: ArmResources | None = None
    """Resources for this arm's runs that differ from the study's; arms that start from this arm inherit them."""
    integrity: Integrity | None = None
    """spot or off: whether training steps of this arm's runs are repeated as a check. The default is the study's value;
    arms that start from this arm inherit the value. Use off for an arm whose steps are not bitwise reproducible."""
    role: Annotated[
        Literal["baseline", "aim", "matched", "frozen", "permuted", "control", "other"] | None,
        BeforeValidator(study_fields.stored_role),
        as_any_of(one_of_names("roles"), NULL),
    ] = None
    """Role in the verdict. By default, the role follows from the configuration, and the first arm with each role is
    used. An arm with a question is a control."""
    question: Text | None = None
    """Question that the comparison with the treatment answers, e.g. more than its additional parameters? The default
    depends on the role."""

    @model_validator(mode="after")
    def _control_of_an_arm(self) -> Self:
        if self.control is not None and self.of is None:
            raise ValueError("a control needs 'of'; set it to the name of the arm to control for")
        if self.question is not None and self.role in ("aim", "other"):
            role = "treatment" if self.role == "aim" else self.role
            raise ValueError(
                f"question: not allowed for an arm with the role {role}; move it to a control or the baseline"
            )
        if self.model.get("control") is not None:
            raise ValueError("model.control cannot be set directly; set 'of' and 'control' in the arm instead")
        return self


class StudySpec(Frozen):
    """The content of a study file."""

    name: str
    """Name of the study, and of its folder in ``results/``: at most 64 letters, digits, ``.``, ``_`` and ``-``."""
    base: Annotated[Mapped, part_of_run()]
    """Configuration that all arms share: ``data``, ``model`` and ``training``, and ``options`` for the study's own
    training code."""
    arms: dict[str, Annotated[ArmSpec, BeforeValidator(study_fields.arm_of)]]
    """The configurations to compare: each arm's changes to the base, by the arm's name; ``{}`` for no changes."""
    description: str = ""
    """Text for the report."""
    claim: str | None = None
    """Name of a claim in `analysis.claims`, or path of a claim file relative to the study's folder or the current
    folder."""
    what: Text | None = None
    """What the treatment has and the baseline lacks, as a singular noun, e.g. squeeze-and-excitation. All texts use
    this noun. The default is memory, or the treatment's name if no arm has a memory."""
    measure: Annotated[Any, BeforeValidator(study_fields.measure_of), as_any_of(*_MEASURES)] = "accuracy"
    """Measure on which the verdict is based: accuracy, balanced_accuracy, macro_f1 or loss on the test images, or a
    number that runs report after every epoch: {scalar: its name, better: higher or lower, unit: optional}."""
    delta_pp: Annotated[float, Field(gt=0)] = 1.0
    """Smallest effect of interest, in percentage points of test accuracy, balanced accuracy or F1 score."""
    delta: Annotated[float, Field(gt=0)] | None = None
    """Smallest effect of interest for a loss or a scalar, in its unit."""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """Number of seeds (0, 1, 2, ...), or a list of seeds. Every arm has one run per seed."""
    looks: LookNumbers = (5, 8, 12)
    """Numbers of pairs after which the verdict is reached, at least 5 each, at confidence levels that keep the overall
    error rate across all looks at 5 %. Seeds beyond the last completed look do not affect the verdict. With any, the
    verdict may be read after any number of pairs (at least 5), and the study may end or continue after each pair."""
    spending: Annotated[str, BeforeValidator(study_fields.spending_of), as_any_of(one_of_names("spendings"))] = (
        "constant"
    )
    """How the error rate is spent across the looks: constant (every look at the same level; Pocock's design),
    obrien_fleming, lan_demets_pocock or lan_demets_obrien_fleming. O'Brien-Fleming designs reserve nearly all of the
    error rate for the last look."""
    mixture_width: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """With looks: any, the standard deviation of the standardized effects for which the intervals are tightest; by
    default 1.25. With .833 or less, there is no bounded interval after 5 pairs."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """With looks: any, the number of pairs at which --until-verdict ends, by default 60. This number is not frozen,
    because the error rate holds for any number of pairs."""
    block: Annotated[int, Field(ge=1)] | None = None
    """With looks: any, the number of pairs that --until-verdict adds at a time, by default 1. This number is not
    frozen."""
    further_block: Annotated[int, Field(ge=0)] = 0
    """Number of pairs in an optional block after the last look; half of the error rate is reserved for it in
    advance."""
    protocol: Annotated[str | None, as_any_of(one_of_names("protocols"), NULL)] = None
    """Name of a protocol in `aimlib.training.protocols`; `base` overrides the options that all arms of the protocol
    share."""
    factors: Factors = {}
    """The factors: key paths with lists of levels, or names of your choice with mappings from labels to changes. A
    level may change several options. Combinations of levels become arms."""
    design: (
        Literal["full_factorial", "one_at_a_time", "ladder", "leave_one_out", "fractional_factorial", "variance"] | None
    ) = None
    """Which combinations become arms (see `ablations.spec.designs`); by default, full_factorial if there are factors.
    variance has no factors; instead, each additional arm varies one random stream of a named arm (see
    `ablations.spec.sources`)."""
    sources: Annotated[tuple[Source, ...], BeforeValidator(tuple_of)] = ()
    """With design: variance, the sources to vary one at a time; by default, those among split, init, order and
    augmentation from which an arm draws. layers varies the draws in layers such as dropout. With noise, no source
    varies, so only the device's own variation remains."""
    fixed_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """With design: variance, the seed of the streams that are not varied; it must not be one of the study's seeds. The
    default is 1000000."""
    resolution: Literal[3, 4, 5, 6, 7] | None = None
    """Minimum resolution of a fractional factorial design. With 3, main effects cannot be distinguished from two-way
    interactions; with 4, two-way interactions cannot be distinguished from each other; with 5, both can be
    distinguished."""
    generators: Annotated[tuple[str, ...], BeforeValidator(study_fields.generators_of), ONE_OR_MORE] = ()
    """Generators of a fractional factorial design, instead of a resolution, such as ``update = placement *
    channels``."""
    vary: str | None = None
    """Arm to which the factors are applied."""
    search: SearchSpec | None = None
    """A screening before the study's own runs; its best trials become arms."""
    resources: Resources = Resources()
    """Resources for one run."""
    keep: Annotated[Literal["best", "last", "none"], BeforeValidator(study_fields.keep_of)] = "none"
    """Which trained network of a run to store: best (from the selected epoch), last or none. Not part of the run id."""
    keep_scores: Annotated[Literal["none", "float16"], BeforeValidator(study_fields.keep_of)] = "none"
    """float16 stores the log-probabilities of all classes for every test image in the selected epoch, for top-k
    accuracy and calibration error. Not part of the run id."""
    integrity: Integrity = "spot"
    """With spot, every device computes a reference step, and each run occasionally repeats a training step, to detect
    computing errors. Both take at most .5 % of the time and do not change the results. With off, neither is done."""
    plugins: Annotated[tuple[str, ...], BeforeValidator(study_fields.files_of), ONE_OR_MORE] = ()
    """Files with your own code, relative to the study file; their registered classes can be used like any other
    plugin."""
    train: Annotated[str | None, BeforeValidator(study_fields.train_of)] = None
    """Your own training code, which replaces the training loop: a function that takes (config, run), written as
    ``my_code.py:train`` with a file relative to the study file, or the name of registered training code. See
    `aimlib.training.own.run.OwnRun`."""
    reuse: Annotated[tuple[str, ...], BeforeValidator(study_fields.directories_of), ONE_OR_MORE] = ()
    """Directories of other studies, relative to the study file, from which results of identical runs are copied instead
    of being computed again."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in study_problems.problems(self):
            raise ValueError(problem)
        return self

    def training_function(self) -> tuple[Path, str] | None:
        """Return the file and function of the study's training code; None if there is none or it is registered."""
        found = study_fields.FUNCTION.fullmatch(self.train or "")
        return (Path(found["file"]), found["function"]) if found is not None else None

    def training_code(self) -> str | None:
        """Return the name under which the study's own training code is registered; None if it has none."""
        found = self.training_function()
        return found[1] if found is not None else self.train

    @property
    def primary_measure(self) -> PrimaryMeasure:
        """Measure on which the verdict is based."""
        from analysis.primary_measure import primary_measure  # noqa: PLC0415

        return primary_measure(self.measure, self.smallest_effect)

    @property
    def reading(self) -> Looks:
        """Numbers of pairs after which the verdict may be determined, and the confidence levels."""
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
        """Return the generators of a fractional factorial design. ValueError: the generators are missing or invalid."""
        if self.generators:
            return parsed(self.generators, list(self.factors))
        return standard(list(self.factors), self.resolution or 3)


@dataclass(frozen=True)
class StudyFile:
    """A validated study and its file.

    Attributes
    ----------
    spec : the study's content, with overrides applied.
    path : the file; None for a study that was defined with Python values.
    notes : values of individual arms that the overrides replaced.
    """

    spec: StudySpec
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """How messages refer to the study: by its file or, without a file, by its name."""
        return f"study {self.spec.name!r}" if self.path is None else str(self.path)


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    folder = Path(str(resources.files("ablations"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


class Documented(Protocol):
    """A study that can return its content as plain values, such as `ablations.Study`."""

    def to_document(self) -> dict[str, Any]:
        """Return the content of the study as plain values."""


StudySource = str | Path | Mapping[str, Any] | Documented
"""A study: the path of a study file, the name of a shipped study, a mapping of keys, or an `ablations.Study`."""


def read_study(source: StudySource, overrides: Iterable[str] = ()) -> StudyFile:
    """Read and validate a study.

    Parameters
    ----------
    source : path of a study file, name of a shipped study, mapping of keys, or an `ablations.Study`. Paths in a mapping
        or a `Study` are relative to the current folder.
    overrides : texts ``key.path=value``. A path that starts with model, data or training refers to `base`; the override
        also replaces the values of individual arms at that path.

    Raises
    ------
    ConfigError: the study has problems; each message contains the file, the key path, what is wrong, and the nearest
        valid name.
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
    """Return a study's file, or None, and its content as plain values that are not yet validated.

    Raises
    ------
    ConfigError: there is no such file or shipped study, the file is not YAML, or it contains a value that no study file
        could contain.
    """
    if isinstance(source, (str, Path)):
        path = _find(source)
        return path, yaml_documents.read(path)
    if isinstance(source, Mapping):
        return None, yaml_documents.plain(source)
    if hasattr(source, "to_document"):
        return None, source.to_document()
    raise ConfigError(
        [f"{source!r}: not a study; pass a file, the name of a shipped study, a mapping of keys, or an ablations.Study"]
    )


def _beside(folder: Path, directories: Iterable[str]) -> tuple[str, ...]:
    """Return directories relative to the folder of the study file; URLs stay unchanged."""
    return tuple(each if "://" in each else str((folder / Path(each).expanduser()).absolute()) for each in directories)


def _find(source: str | Path) -> Path:
    path = Path(source)
    try:
        found = path.exists()
    except OSError as error:  # such as a name that is too long, or a link to itself
        raise ConfigError([f"{source}: cannot be read: {error.strerror}; pass a study file"]) from None
    if path.is_file():
        return path
    shipped = shipped_studies()
    if str(source) in shipped:
        return shipped[str(source)]
    if path.is_dir():
        raise ConfigError([f"{source}: is a folder; pass the study file, e.g. {path / 'study.yaml'}"])
    if found:
        raise ConfigError([f"{source}: is a pipe or a device; save the study in a file and pass the file"])
    near = did_you_mean(str(source), [*(str(path.with_name(each)) for each in _study_files(path.parent)), *shipped])
    raise ConfigError([f"{source}: no such file or shipped study; {near}shipped: {', '.join(shipped)}"])


def _study_files(folder: Path) -> list[str]:
    """Return the names of the YAML files in a folder; none if the folder cannot be read."""
    try:
        return sorted(each.name for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _override(document: dict[str, Any], path: list[str], value: Any) -> list[str]:
    """Set a value in a document; return notes on the values of individual arms that this value replaces."""
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
        yield f"{option}={value} also replaces the values of individual arms: {', '.join(replaced)}"
    factors = document.get("factors")
    if isinstance(factors, Mapping) and option in factors:
        yield f"{option}={value} has no effect on the varied arms: factors.{option} sets their values"


def _takes(layer: Any, path: list[str]) -> bool:
    """Return whether a base or an arm has a value at `path`, or has the component to which this option belongs."""
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
