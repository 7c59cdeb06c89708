"""A study's own code: registers the classes in the files that a study names and in the calling script or notebook.

A driver runs code from files only if the user's command names these files and the user has approved the code. Classes
in the calling script or notebook need no approval, because the user is already running that code. The code stored with
a study is a record and is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.planning import approval
from ablations.planning.approval import Trust
from ablations.spec import search_families, yaml_documents
from ablations.spec.study import StudyFile
from aimlib.config import RunConfig
from aimlib.errors import ConfigError, PluginError, UsageError
from aimlib.own_code import parts, sessions
from aimlib.own_code.bundle import Bundle
from aimlib.registry import FAMILIES, components_of

_refusals: dict[str, str] = {}
"""Reasons why classes of the calling script or notebook cannot be used, by family and name."""


@dataclass(frozen=True)
class Entered:
    """The user's own code, after it was registered.

    Attributes
    ----------
    files : components that the study's files register.
    notes : lines in these files that are not run.
    """

    files: tuple[Bundle, ...] = ()
    notes: tuple[str, ...] = ()


def enter(study: StudyFile, trust: Trust = ()) -> Entered:
    """Register the classes in the files that a study names, and those of the calling script or notebook.

    Parameters
    ----------
    trust : hashes of approved code; True approves all code that the study names.

    Raises
    ------
    ConfigError: a file cannot be read, or something in it cannot be resolved or raises an error.
    UsageError: code is not approved.
    """
    found = files_of(study)
    own = sessions.bundles(list(found), (*FAMILIES, *search_families.FAMILIES))
    with _located(study):
        parts.refuse_twice([*found.values(), *own])
    approval.require(study.where, found, trust)
    function = study.spec.training_function()
    for path, bundle in found.items():
        with _located(study, "train" if function is not None and path == function[0] else "plugins"):
            parts.adopt(bundle)
    with _located(study):
        for bundle in own:
            parts.adopt(bundle)
    named = {root.key for bundle in found.values() for root in bundle.roots}
    _refusals.clear()
    for bundle in own:
        _refusals.update({key: problem for key, problem in bundle.refusals.items() if key not in named})
    return Entered(tuple(found.values()), tuple(note for bundle in found.values() for note in bundle.unused()))


def enter_files(files: Iterable[str | Path], trust: Trust = ()) -> None:
    """Register the classes in the files that a command names.

    Parameters
    ----------
    files : paths; for the user's own training code, ``FILE:FUNCTION``, as in a study.
    trust : as in `enter`.

    Raises
    ------
    UsageError: a file cannot be read, something in it cannot be resolved or raises an error, or its code is not
        approved.
    """
    try:
        named = [_file_and_function(str(file)) for file in files]
        bundles = {path: parts.read(path, functions) for path, functions in named}
        parts.refuse_twice(bundles.values())
        approval.require(" ".join(f"--plugin {path}" for path in bundles), bundles, trust)
        for bundle in bundles.values():
            parts.adopt(bundle)
    except PluginError as error:
        raise UsageError(f"--plugin: {error}") from error


def _file_and_function(text: str) -> tuple[Path, list[str]]:
    """Return the file and the function that a text such as ``loop.py:train`` names."""
    path, is_named, function = text.rpartition(".py:")
    return (Path(f"{path}.py"), [function]) if is_named else (Path(text), [])


def files_of(study: StudyFile) -> dict[Path, Bundle]:
    """Return the components that a study's files register, without running these files.

    Raises
    ------
    ConfigError: a file cannot be read, or something in it cannot be resolved.
    """
    function = study.spec.training_function()
    files = {Path(path): list[str]() for path in study.spec.plugins}
    if function is not None:
        files.setdefault(function[0], []).append(function[1])
    found = {}
    for path, functions in files.items():
        with _located(study, "train" if functions else "plugins"):
            found[path] = parts.read(path, functions)
    return found


@contextmanager
def _located(study: StudyFile, key: str = "plugins") -> Iterator[None]:
    """Add the study's file and one of its keys to messages about the study's own code."""
    try:
        yield
    except PluginError as error:
        raise ConfigError([f"{study.where}: {key}: {error}"]) from error


def unusable(configs: Mapping[str, RunConfig]) -> list[str]:
    """Return messages about classes of the calling script or notebook that arms use and whose code cannot be resolved.

    Parameters
    ----------
    configs : the configurations of the arms, by name.
    """
    return [
        f"arms.{arm}: {registry.kind} {component.name!r}: {_refusals[key]}"
        for arm, config in configs.items()
        for registry, component in components_of(config)
        if (key := f"{registry.family}/{component.name}") in _refusals
    ]


def uses(document: Any, keys: Iterable[str]) -> bool:
    """Return whether an arm's document names one of these components, such as ``placements/head_only``."""
    names = {key.partition("/")[2] for key in keys}
    if isinstance(document, Mapping):
        for key, value in document.items():
            components = value if isinstance(value, list) else [value]
            named = [each.get("name") if isinstance(each, Mapping) else each for each in components]
            has_some = yaml_documents.has_components(key) or key == "train"
            if has_some and any(isinstance(each, str) and each in names for each in named):
                return True
            if uses(value, keys):
                return True
    return False
