"""`Study`: a study defined in Python, with the keys of a study file as arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, PrivateAttr, ValidationError

from ablations.spec import file_paths, yaml_documents
from ablations.spec.advice import advised
from ablations.spec.study import StudySpec, read_document, read_study
from aimlib.component import explain
from aimlib.errors import ConfigError

_LACKING: Any = ...
"""Stands for a required key that was not set, so that the message about it is the same as for a study file."""
Keys = Mapping[str, Any]


class Study(StudySpec):
    """A frozen study, validated when it is created.

    The arguments are the keys of a study file, with the same values, defaults and messages. A study therefore has the
    same run ids in a file and in Python. Paths are relative to the current folder. `ablations.check`, `plan` and `run`
    accept a `Study` instead of a file. They build every arm's network, which reveals mistakes in plugin options.

    Parameters
    ----------
    name : name of the study, and of its folder in ``results/``.
    base : configuration shared by all arms: ``{"data": ..., "model": ..., "training": ...}``.
    arms : each arm's changes to the base, by the arm's name: ``{"baseline": {}, "mine": {"model": {...}}}``; a control
        is ``{"of": "mine", "control": "matched_parameters"}``.
    description : text for the report.
    what : what the study is about, as a singular noun, e.g. squeeze-and-excitation; used in all texts.
    claim : name of a shipped claim, or path of a claim file.
    measure : measure on which the verdict is based: accuracy, balanced_accuracy, macro_f1, loss, or ``{"scalar": name,
        "better": "lower"}`` for a number that runs report after every epoch.
    delta_pp, delta : smallest effect of interest: `delta_pp` in percentage points; for a loss or a scalar, `delta` in
        the measure's unit.
    seeds : a number of seeds, or a list of them.
    looks : numbers of pairs after which the verdict is determined, at least 5 each; or ``"any"`` if a verdict is
        possible after any number of pairs.
    further_block : number of pairs in an optional block after the last look.
    spending : how the error rate is spent across the looks: constant, obrien_fleming, lan_demets_pocock or
        lan_demets_obrien_fleming; see `analysis.looks.spending`.
    mixture_width : with ``looks="any"``, the standard deviation of the standardized effects for which the intervals are
        tightest; None means 1.25.
    max_pairs, block : with ``looks="any"``, the number of pairs at which `until_verdict` ends (None means 60), and the
        number of pairs that it adds at a time (None means 1).
    protocol : name of the protocol to which `base` adds changes: controlled, as_run, as_run_exact, as_described,
        well_trained.
    factors : the factors to vary: key paths with lists of levels, or names with labeled changes.
    design : which combinations of levels become arms.
    sources, fixed_seed : with the design `variance`, the random streams to vary one at a time (by default split, init,
        order and augmentation), and the seed for the other streams (None means 1000000).
    resolution, generators : options for a fractional factorial design.
    vary : the arm to which the factors are applied.
    search : a screening before the study's own runs.
    resources : resources of one run: cpus, gpus, memory, ...
    keep : which trained network of a run is stored: best (from the selected epoch), last or none.
    keep_scores : float16 stores the scores of all classes for every test image, for top-k accuracy and calibration
        error.
    integrity : whether and how to detect wrong numbers computed by a device.
    plugins : files with your own code, whose registered classes can be used by name like any other plugin. Classes in
        the calling script or notebook are known without this key.
    reuse : directories of other studies, from which results of identical runs are copied.
    train : your own training code, which replaces the training loop: a function ``train(config, run)`` in the calling
        script or notebook, or the text ``my_code.py:train``; see `aimlib.training.own.run.OwnRun`. The function reads
        ``options`` from `base` and the arms.

    Raises
    ------
    ConfigError: the study has problems; each message contains the key path, what is wrong, and what to do.
    """

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        name: str = _LACKING,
        base: Keys = _LACKING,
        arms: Mapping[str, Keys] = _LACKING,
        *,
        description: str = "",
        what: str | None = None,
        claim: str | Path | None = None,
        measure: str | Mapping[str, str] = "accuracy",
        delta_pp: float = 1.0,
        delta: float | None = None,
        seeds: int | Sequence[int] = (0, 1, 2, 3, 4),
        looks: int | Sequence[int] | Literal["any"] = (5, 8, 12),
        further_block: int = 0,
        spending: str = "constant",
        mixture_width: float | None = None,
        max_pairs: int | None = None,
        block: int | None = None,
        protocol: str | None = None,
        factors: Mapping[str, Sequence[Any] | Mapping[str, Keys]] | None = None,
        design: Literal[
            "full_factorial", "one_at_a_time", "ladder", "leave_one_out", "fractional_factorial", "variance"
        ]
        | None = None,
        sources: str | Sequence[str] = (),
        fixed_seed: int | None = None,
        resolution: Literal[3, 4, 5, 6, 7] | None = None,
        generators: str | Sequence[str] = (),
        vary: str | None = None,
        search: Keys | None = None,
        resources: Keys | None = None,
        keep: Literal["best", "last", "none"] = "none",
        keep_scores: Literal["none", "float16"] = "none",
        integrity: Literal["spot", "off"] = "spot",
        plugins: str | Path | Sequence[str | Path] = (),
        reuse: str | Path | Sequence[str | Path] = (),
        train: str | Callable[..., Any] | None = None,
        **others: Any,
    ) -> None:
        if callable(train):
            from aimlib.training.own.functions import register_function  # noqa: PLC0415 -- only for own training code

            train = register_function(train)
        given = {key: value for key, value in locals().items() if key in StudySpec.model_fields}
        document = yaml_documents.plain({key: value for key, value in given.items() if _is_said(key, value)} | others)
        try:
            BaseModel.__init__(self, **document)
        except ValidationError as error:
            raise ConfigError(advised(explain(error, StudySpec))) from None
        self._document = document

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Return the study in a file, or a shipped study by its name.

        Paths in a study file become absolute. ConfigError: the study has problems; as in the commands, each message
        starts with the file.
        """
        spec = read_study(path).spec
        file, document = read_document(path)
        document = file_paths.beside(Path() if file is None else file.parent, document)
        absolute = {key: value for key in ("claim", "reuse", "plugins", "train") if (value := getattr(spec, key))}
        return cls(**{**document, **absolute})

    def to_document(self) -> dict[str, Any]:
        """Return the keys that were given, as plain values."""
        return yaml_documents.plain(self._document)

    def to_yaml(self) -> str:
        """Return the text of a study file that has the same run ids."""
        return yaml_documents.dump(self._document)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a validated copy of the study with different values for some keys."""
        return type(self)(**{**self._document, **(update or {})})

    def __eq__(self, other: object) -> bool:
        """Return whether two studies have the same content, even if it is written differently."""
        if not isinstance(other, StudySpec):
            return NotImplemented
        return all(getattr(self, key) == getattr(other, key) for key in StudySpec.model_fields)

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    def __repr__(self) -> str:
        """Return the keys that were given."""
        return f"Study({', '.join(f'{key}={value!r}' for key, value in self._document.items())})"

    def _repr_html_(self) -> str:
        from ablations.spec.study_html import html  # noqa: PLC0415

        return html(self)


def _is_said(key: str, value: Any) -> bool:
    """Return whether an argument was given and differs from the default."""
    if value is _LACKING or (value is None and key in ("factors", "resources")):
        return False
    default = StudySpec.model_fields[key].default
    return type(value) is not type(default) or value != default
