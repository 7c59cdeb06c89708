"""A study's plan (`study.json`): its arms, its seeds, and what each run id means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from aimlib.errors import StoreError, did_you_mean
from aimlib.paths import Place, advice_on, read_file
from aimlib.records import FILE_NAMES, OLDEST_VERSION, PLANS, ROLES, SCHEMA_VERSION, STUDY_FILE, Role, release_to_read
from aimlib.records import role as role_of
from aimlib.records.checksums import DOCUMENT_KEY, document_is_intact
from analysis.looks import Looks, looks_from
from analysis.primary_measure import ACCURACY, PrimaryMeasure, primary_measure
from analysis.procedures import FIRST, procedure_of


@dataclass(frozen=True)
class Arm:
    """An arm of a study.

    Attributes
    ----------
    name : the arm's name, unique in the study.
    role : the arm's role in the argument: baseline, treatment, a control of a treatment, or other.
    of : the arm of which this arm is a control or variant; None if the plan does not name one.
    levels : label of the arm's level of every factor, by factor; empty for arms that the factors do not define.
    config : RunConfig for the first seed, as plain JSON.
    question : the question that the arm's comparison with the treatment answers, in the study's words; None: the
        question of its role.
    """

    name: str
    role: Role
    of: str | None
    config: dict[str, Any]
    levels: dict[str, str] = field(default_factory=dict)
    question: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", role_of(self.role) or self.role)  # code from earlier versions uses "aim"


@dataclass(frozen=True)
class Scope:
    """The setting in which a study was run; a claim is tested only within its own scope."""

    dataset: str
    classes: int
    image_size: int
    backbone: str
    protocol: str
    data_fingerprint: str


@dataclass(frozen=True)
class Plan:
    """A study's plan.

    Attributes
    ----------
    claim : name of the tested claim, or None.
    delta_pp : smallest effect of interest, in percentage points or in the unit of the measure's differences.
    looks : after how many pairs a verdict is allowed, and at which level.
    runs : frame with run_id, arm and seed of every planned run, in the plan's order.
    what : name of what the treatment has and the baseline lacks, for use in text; None: a memory, as in plans from
        earlier versions.
    measure : the measure that the verdict is about.
    procedure : number of the procedure that determines the verdict; see `procedures`.
    own_validation : names of the arms whose validation images come with the data and are the same for every seed.
    left_out : by arm, what a list excludes from the arm's data, and why.
    """

    name: str
    claim: str | None
    created_at: str
    package_version: str
    scope: Scope
    delta_pp: float
    looks: Looks
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    runs: pd.DataFrame
    what: str | None = None
    measure: PrimaryMeasure = ACCURACY
    procedure: int = FIRST
    own_validation: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`; KeyError if there is none."""
        return {arm.name: arm for arm in self.arms}[name]


_WRITTEN = "give the directory that `ablate run` wrote"
_NAMED = 6
"""Maximum number of studies that a message names."""


def _no_study(directory: Place) -> str:
    """Return what is wrong with a place that does not contain a plan, and what to specify instead."""
    if not isinstance(directory, Path):
        return f"{STUDY_FILE} is missing; {_WRITTEN}"
    if directory.is_dir():
        inside = sorted(path.parent.name for path in directory.glob(f"*/{STUDY_FILE}"))
        named = ", ".join(inside[:_NAMED]) + (", ..." if len(inside) > _NAMED else "")
        return f"{STUDY_FILE} is missing; {_WRITTEN}{f', such as one of the studies in it: {named}' if inside else ''}"
    if directory.exists():
        return f"{STUDY_FILE} is missing, because this is not a directory; {_WRITTEN}"
    near = did_you_mean(directory.name, (path.parent.name for path in directory.parent.glob(f"*/{STUDY_FILE}")))
    return f"{STUDY_FILE} is missing, because there is no such directory; {near}{_WRITTEN}"


def read_plan(directory: Place) -> Plan:
    """Return the plan in a study directory; StoreError names the file and the remedy."""
    path = directory / STUDY_FILE
    try:
        document = json.loads(read_file(path).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{directory}: {_no_study(directory)}") from None
    except StoreError:  # raised by object storage, with advice of its own
        raise
    except (OSError, ValueError, RecursionError) as error:
        advice = advice_on(error, "restore the file or run the study again")
        raise StoreError(f"{path}: not readable as JSON ({error}); {advice}") from None
    return plan_from(document, path)


def plan_differs(directory: Place) -> bool:
    """Return whether `study.json` differs from all plans that sessions stored.

    Additions that the store makes to a plan are ignored, because they differ between versions. A study without stored
    plans was not written by the store, unless it has the store's checksum. If a stored plan is damaged, no difference
    is reported, because it may have been the current plan; `ablate verify` names the damaged plan.
    """
    current = _document(directory / STUDY_FILE)
    try:
        names = FILE_NAMES[PLANS]
        paths = sorted((path for path in (directory / PLANS).iterdir() if names.fullmatch(path.name)), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    if not paths:
        return DOCUMENT_KEY in current
    stored = [_document(path) for path in paths]
    if any(not document or document_is_intact(document) is False for document in stored):
        return False
    return all(_planned(current) != _planned(document) for document in stored)


def _document(path: Place) -> dict[str, Any]:
    """Return the JSON object in a file; empty if it cannot be read."""
    try:
        document = json.loads(read_file(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _planned(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in (DOCUMENT_KEY, "schema_version")}


def plan_from(document: Any, path: Place) -> Plan:
    """Return the plan in a parsed `study.json`; StoreError names `path` and the key."""
    fields = _Fields(document, path)
    if document_is_intact(document) is False:
        raise StoreError(
            f"{path}: is damaged: its checksum does not match its content; restore the newest of "
            f"{PLANS}/*.json under this name"
        )
    refuse_version(fields.take("schema_version", int), path, document.get("package_version"))
    scope = _Fields(fields.take("scope", dict), path, "scope.")
    arms = tuple(_arm(item, path, i) for i, item in enumerate(fields.take("arms", list)))
    measure, delta = _measure(fields, path)
    plan = Plan(
        name=fields.take("name", str),
        claim=fields.take("claim", str, optional=True),
        created_at=fields.take("created_at", str),
        package_version=fields.take("package_version", str),
        scope=Scope(
            **{name: scope.take(name, int if name in ("classes", "image_size") else str) for name in _SCOPE_FIELDS}
        ),
        delta_pp=delta,
        looks=_looks(fields, path),
        arms=arms,
        seeds=tuple(fields.take("seeds", list)),
        runs=_runs(fields.take("runs", list), path),
        what=fields.take("what", str, optional=True),
        measure=measure,
        procedure=_procedure(document, path),
        own_validation=tuple(fields.take("own_validation", list, optional=True) or ()),
        left_out={name: str(text) for name, text in (fields.take("left_out", dict, optional=True) or {}).items()},
    )
    _check(plan, path)
    return plan


def _measure(fields: _Fields, path: Place) -> tuple[PrimaryMeasure, float]:
    """Return a plan's measure and smallest effect of interest.

    A plan whose measure is not the accuracy does not have `delta_pp`, so that versions without measures refuse it.
    """
    stored = fields.take("measure", (str, dict), optional=True)
    delta = float(fields.take("delta_pp" if stored is None else "delta", (int, float)))
    try:
        return primary_measure(stored, delta if 0 < delta < math.inf else 1.0), delta
    except ValueError as error:
        raise StoreError(f"{path}: {error}; restore the file, or run `ablate run` again to write it") from None


def _procedure(document: dict[str, Any], path: Place) -> int:
    try:
        return procedure_of(document)
    except ValueError as error:
        raise StoreError(f"{path}: {error}; read it with the version of this package that wrote it") from None


_SCOPE_FIELDS = tuple(Scope.__dataclass_fields__)


class _Fields:
    """Typed access to a JSON object; every error message names the file and the key."""

    def __init__(self, data: Any, path: Place, where: str = "") -> None:
        if not isinstance(data, dict):
            raise StoreError(f"{path}: {where.rstrip('.') or 'the document'} must be an object; restore the file")
        self._data, self._path, self._where = data, path, where

    def take(self, key: str, kind: type | tuple[type, ...], *, optional: bool = False) -> Any:
        value = self._data.get(key)
        if value is None and optional:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise StoreError(
                f"{self._path}: {self._where}{key} must be {names}; got {value!r}. "
                "Restore the file, or run `ablate run` again to write it"
            )
        return value


def _arm(data: Any, path: Place, index: int) -> Arm:
    fields = _Fields(data, path, f"arms[{index}].")
    stored = fields.take("role", str)
    role = role_of(stored)
    if role is None:
        raise StoreError(
            f"{path}: arms[{index}].role must be one of {', '.join(ROLES)}; got {stored!r}. "
            "Restore the file, or run `ablate run` again to write it"
        )
    return Arm(
        name=fields.take("name", str),
        role=role,
        of=fields.take("of", str, optional=True),
        config=fields.take("config", dict, optional=True) or {},
        levels=fields.take("levels", dict, optional=True) or {},
        question=fields.take("question", str, optional=True),
    )


def _looks(fields: _Fields, path: Place) -> Looks:
    stored, alpha = fields.take("looks", (list, dict)), fields.take("alpha", float)
    try:
        return looks_from(stored, alpha, fields.take("further_block", int))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: {error}; restore the file, or run `ablate run` again to write it") from None


def _runs(rows: list[Any], path: Place) -> pd.DataFrame:
    for index, row in enumerate(rows):
        if type(row) is dict and type(row.get("run_id")) is type(row.get("arm")) is str:  # there may be 10,000 runs
            seed = row.get("seed")
            if type(seed) is int and _LOWEST_SEED <= seed <= _HIGHEST_SEED:
                continue
        _refuse_run(row, path, index)
    taken = {key: [row[key] for row in rows] for key in ("run_id", "arm", "seed")}
    try:
        return pd.DataFrame(taken).astype({"run_id": "str", "arm": "str", "seed": "int64"})
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain but a column cannot
        raise StoreError(
            f"{path}: a run's id or arm is not text; restore the file, or run `ablate run` again to write it"
        ) from None


_LOWEST_SEED, _HIGHEST_SEED = -(2**63), 2**63 - 1


def _refuse_run(row: Any, path: Place, index: int) -> None:
    fields = _Fields(row, path, f"runs[{index}].")
    for key, kind in (("run_id", str), ("arm", str), ("seed", int)):
        fields.take(key, kind)
    raise StoreError(f"{path}: runs[{index}].seed does not fit into 64 bits; run the study with smaller seeds")


_LONGEST_NAME = 1000
"""Maximum length of a name; combinations of many factors have long names."""


def _is_name(text: str) -> bool:
    """Return whether a text can be shown on a terminal without changes.

    The text must not contain control characters or characters that change the text direction.
    """
    return 0 < len(text.strip()) <= _LONGEST_NAME and text.isprintable()


def _check(plan: Plan, path: Place) -> None:
    """Refuse plans that contradict themselves."""
    names = [arm.name for arm in plan.arms]
    known = set(names)
    problems = [
        (not _is_name(plan.name), f"its name is not printable text of 1 to {_LONGEST_NAME:,} characters"),
        (len(known) < len(names), "two arms have the same name"),
        (
            not all(_is_name(name) for name in names),
            f"an arm's name is not printable text of 1 to {_LONGEST_NAME:,} characters",
        ),
        (
            not all(_is_name(text) for text in (plan.what, *(arm.question for arm in plan.arms)) if text is not None),
            f"what it studies, or an arm's question, is not printable text of 1 to {_LONGEST_NAME:,} characters",
        ),
        (not known.issuperset(plan.own_validation), "own_validation names an arm that is not listed"),
        (not known.issuperset(plan.left_out), "left_out names an arm that is not listed"),
        (
            not all(_is_name(text) for text in plan.left_out.values()),
            f"left_out contains something that is not printable text of 1 to {_LONGEST_NAME:,} characters",
        ),
        (not known.issuperset(plan.runs["arm"].unique()), "a run belongs to an arm that is not listed"),
        (bool(plan.runs["run_id"].duplicated().any()), "two runs have the same run_id"),
        (bool(plan.runs.duplicated(["arm", "seed"]).any()), "an arm has two runs with the same seed"),
        (
            plan.measure.difference == "pp" and not 0 < plan.delta_pp <= 100,
            "delta_pp must be positive, and at most 100 percentage points",
        ),
        (not 0 < plan.delta_pp < math.inf, "delta must be a positive number"),
        (any(type(seed) is not int for seed in plan.seeds), "seeds must be integers"),
        (len(set(plan.seeds)) < len(plan.seeds), "a seed is listed twice"),
    ]
    for wrong, message in problems:
        if wrong:
            raise StoreError(f"{path}: {message}; restore the file, or run `ablate run` again to write it")


def refuse_version(version: Any, path: Place, package: object = None) -> None:
    """Raise StoreError if a file's schema version is newer than the latest that this package reads, or too old.

    Parameters
    ----------
    package : version of this package that wrote the file, if the file contains it.
    """
    if type(version) is int and OLDEST_VERSION <= version <= SCHEMA_VERSION:
        return
    raise StoreError(
        f"{path}: schema version {version}, but this package reads versions {OLDEST_VERSION} to {SCHEMA_VERSION}; "
        f"{release_to_read(package)}"
    )
