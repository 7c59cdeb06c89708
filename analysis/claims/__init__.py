"""Reported claims as data, and whether a study is within a claim's scope."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import BeforeValidator, Field

from aimlib.component import Frozen
from aimlib.errors import ConfigError, UsageError, unknown_name
from aimlib.paths import Place, read_file
from aimlib.records import Role, role
from analysis.claims.facts import Fact, FactDocument, facts_of
from analysis.plan import Scope

_FIELDS = {
    "dataset": "data set",
    "classes": "number of classes",
    "image_size": "image size",
    "backbone": "backbone",
    "protocol": "protocol",
    "data_fingerprint": "data fingerprint",
}
_HERE = Path(__file__).parent
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader takes a tenth of the time, but PyYAML may have been built without it."""
_MOST_BYTES = 10_000_000
_DEEPEST = 50
_CURVES: dict[str, Any] = {
    "arm": "str",
    "epoch": "int64",
    "train_loss": "float64",
    "train_accuracy": "float64",
    "val_loss": "float64",
    "val_accuracy": "float64",
    "epoch_seconds": "float64",
    "learning_rate": "float64",
}
Accuracy = Annotated[float, Field(ge=0, le=1)]


class _Reported(Frozen):
    """One version of the reported accuracies."""

    source: str
    baseline: Accuracy
    treatment: Accuracy


class _Source(Frozen):
    post: str
    notebooks: str | None = None


class _Scope(Frozen):
    """The setting in which a study must have been run: the accepted values or patterns (``resnet50*``) by field."""

    dataset: list[str]
    classes: list[int]
    image_size: list[int]
    backbone: list[str]
    protocol: list[str]
    data_fingerprint: list[str]


_Role = Annotated[Role, BeforeValidator(lambda stored: role(stored) or stored)]
"""Role of an arm; claim files may use ``aim`` for the treatment."""


class _Model(Frozen):
    """A number from an arm's network, or that number minus the number of the arm with the role `over`."""

    kind: Literal["model"]
    role: _Role
    over: _Role | None = None
    column: Literal["keras_parameters", "memory_values", "memory_degrees_of_freedom", "readers", "static_readers"]
    equals: float
    within: Annotated[float, Field(ge=0)]


class _Same(Frozen):
    """The treatment equals the baseline in all options below these key paths."""

    kind: Literal["same"]
    below: Annotated[list[str], Field(min_length=1)]


class _Option(Frozen):
    """An option of an arm is set."""

    kind: Literal["option"]
    role: _Role
    option: str


class _Curve(Frozen):
    """A number from the claim's own log."""

    kind: Literal["curve"]
    arm: str
    statistic: Literal["best", "epochs"]
    equals: float
    within: Annotated[float, Field(ge=0)]


class _Accuracy(Frozen):
    """A single run's accuracy agrees with the study's runs."""

    kind: Literal["accuracy"]
    role: _Role
    equals: Accuracy


class _Unchecked(Frozen):
    """A study cannot check the statement, for the given reason."""

    kind: Literal["none"]
    why: str


_Check = Annotated[_Model | _Same | _Option | _Curve | _Accuracy | _Unchecked, Field(discriminator="kind")]


class _Statement(Frozen):
    says: str
    source: str
    check: _Check
    protocols: Annotated[list[str], Field(min_length=1)] = ["*"]


class _Document(Frozen):
    name: str
    statement: str
    source: _Source
    reported: Annotated[list[_Reported], Field(min_length=1)]
    delta_pp: Annotated[float, Field(gt=0)]
    scope: _Scope
    curves: str | None = None
    statements: list[_Statement] = []
    facts: dict[str, list[FactDocument]] = {}


@dataclass(frozen=True)
class Statement:
    """A sentence in a claim.

    Attributes
    ----------
    says : the statement in our words; `source` names its origin.
    check : how the statement is checked: the key `kind`, and what that kind needs; see `analysis.claims.audit`.
    protocols : protocols or patterns with which a study can check the statement: a study with a different protocol
        cannot check a statement about what was done.
    """

    says: str
    source: str
    check: dict[str, Any]
    protocols: tuple[str, ...] = ("*",)

    def fits(self, protocol: str) -> bool:
        """Return whether a study with this protocol can check the statement."""
        return any(fnmatchcase(protocol, pattern) for pattern in self.protocols)


@dataclass(frozen=True)
class Claim:
    """A reported gain.

    Attributes
    ----------
    statement : the claim in one sentence.
    source : where the claim was published.
    gains_pp : reported gain in pp, by source; the first is used for the verdict.
    accuracies : (baseline, treatment) as fractions, by source.
    delta_pp : smallest effect of interest in pp.
    scope : the values or patterns that qualify, for each field of a plan's scope.
    statements : the claim's statements, sentence by sentence, for `analysis.claims.audit`.
    curves : the reported runs epoch by epoch (columns of `reported_runs.csv`); empty if there are none.
    facts : what was run and what was described, for `ablate check`; not frozen with a study.
    """

    name: str
    statement: str
    source: str
    gains_pp: dict[str, float]
    accuracies: dict[str, tuple[float, float]]
    delta_pp: float
    scope: dict[str, tuple[str | int, ...]]
    statements: tuple[Statement, ...]
    curves: pd.DataFrame
    facts: tuple[Fact, ...] = ()


def names() -> list[str]:
    """Return the names of the claims that ship with the package."""
    return sorted(path.stem for path in _HERE.glob("*.yaml"))


def read_claim(name: str | Path) -> Claim:
    """Return a shipped claim by its name, or the claim in a YAML file.

    Raises
    ------
    UsageError: the name is unknown, the file is unreadable, or the document contains mistakes, all of which are listed
        with their key paths.
    """
    if str(name).endswith((".yaml", ".yml")):
        path = Path(name)
    elif name in names():
        path = _HERE / f"{name}.yaml"
    else:
        raise UsageError(unknown_name("claim", str(name), names()) + "; or give the path of a .yaml file")
    return claim_from(path, lambda name: read_file(path.parent / name, _MOST_BYTES))


def claim_from(path: Place, read: Callable[[str], bytes]) -> Claim:
    """Return the claim in a YAML file.

    Parameters
    ----------
    path : path of the file, for messages.
    read : returns a file's content by name, for the claim's file and for the table that this file names.

    Raises
    ------
    UsageError: the file is unreadable, or the document contains mistakes.
    """
    return _claim(_document_of(path, read), path, read)


def named_files(path: Path) -> dict[str, bytes]:
    """Return the content of a claim's file and of the table of reported runs named in it, by name.

    Raises
    ------
    UsageError: the file is unreadable, or the document contains mistakes.
    """
    found: dict[str, bytes] = {}

    def read(name: str) -> bytes:
        found[name] = read_file(path.parent / name, _MOST_BYTES)
        return found[name]

    claim_from(path, read)
    return found


def _document_of(path: Place, read: Callable[[str], bytes]) -> _Document:
    try:
        data = _content(read(path.name).decode("utf-8"))
    except FileNotFoundError:
        reason = "No such file next to the study or in this folder"
        raise _unreadable(path, reason) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(path, str(error)) from None
    return _Document.parse(data, where=path.name)


@lru_cache(maxsize=8)
def _content(text: str) -> Any:
    """Return a document's content, which must not be modified; cached, because parsing takes tens of milliseconds."""
    _refuse_what_multiplies(text)
    return yaml.load(text, _Loader)  # noqa: S506 -- a safe loader


def _unreadable(path: Place, reason: str) -> UsageError:
    found, example = " ".join(reason.split()), _HERE / "stanford_dogs_aim.yaml"
    return UsageError(f"{path}: not a readable claim ({found}); for an example see {example}")


def _refuse_what_multiplies(text: str) -> None:
    """Refuse aliases, whose values can multiply, and deep nesting, which YAML parses recursively."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not used in claims")
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} levels of nesting")


def _claim(document: _Document, path: Place, read: Callable[[str], bytes]) -> Claim:
    gains = {item.source: round(100 * (item.treatment - item.baseline), 6) for item in document.reported}
    decisive = next(iter(gains.values()))
    if decisive <= 2 * document.delta_pp:
        raise ConfigError([f"{path.name}.reported: the gain must exceed 2 delta_pp; got {decisive:g} pp"])
    notebooks = f"; notebooks: {document.source.notebooks}" if document.source.notebooks else ""
    return Claim(
        name=document.name,
        statement=document.statement,
        source=document.source.post + notebooks,
        gains_pp=gains,
        accuracies={item.source: (item.baseline, item.treatment) for item in document.reported},
        delta_pp=document.delta_pp,
        scope={field: tuple(values) for field, values in document.scope.model_dump().items()},
        statements=tuple(
            Statement(s.says, s.source, s.check.model_dump(), tuple(s.protocols)) for s in document.statements
        ),
        curves=_curves(document.curves, path, read),
        facts=facts_of(document.facts),
    )


def _curves(name: str | None, claim: Place, read: Callable[[str], bytes]) -> pd.DataFrame:
    if not name:
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in _CURVES.items()})
    try:
        return pd.read_csv(io.BytesIO(read(name)))[list(_CURVES)].astype(_CURVES)
    except (OSError, KeyError, ValueError) as error:
        where = claim.parent / name
        raise UsageError(f"{where}: not a table of reported runs ({error}); columns: {', '.join(_CURVES)}") from None


def accepts(allowed: Iterable[str | int], value: str | int) -> bool:
    """Return whether a study's value matches one of a scope's values or patterns."""
    return any(fnmatchcase(str(value), str(pattern)) for pattern in allowed)


def in_scope(claim: Claim, plan_scope: Scope) -> list[str]:
    """Return the reasons why a study does not test the claim; empty if it does."""
    reasons = []
    for field, allowed in claim.scope.items():
        value = getattr(plan_scope, field)
        if not accepts(allowed, value):
            wanted = " or ".join(map(str, allowed))
            reasons.append(f"{_FIELDS[field]} {value}, not {wanted}")
    return reasons
