"""The public interface as text: every command with its options, and every documented Python name.

After an intended change, update the two recorded files with `python tests/surface.py`, then review the diff.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "data" / "surface"
COMMAND_LINE = FOLDER / "command_line.txt"
PYTHON = FOLDER / "python.txt"
MODULES = (
    "aimlib",
    "aimlib.backbones",
    "aimlib.backbones.base",
    "aimlib.component",
    "aimlib.config",
    "aimlib.controls",
    "aimlib.controls.base",
    "aimlib.datasets",
    "aimlib.datasets.base",
    "aimlib.errors",
    "aimlib.memory",
    "aimlib.memory.attach",
    "aimlib.memory.sources",
    "aimlib.memory.sources.base",
    "aimlib.models",
    "aimlib.placements",
    "aimlib.placements.base",
    "aimlib.records",
    "aimlib.registry",
    "aimlib.seeding",
    "aimlib.testing",
    "aimlib.training.augmentations",
    "aimlib.training.augmentations.base",
    "aimlib.training.callbacks",
    "aimlib.training.callbacks.base",
    "aimlib.training.loop",
    "aimlib.training.losses",
    "aimlib.training.losses.base",
    "aimlib.training.optimizers",
    "aimlib.training.optimizers.base",
    "aimlib.training.own.base",
    "aimlib.training.own.config",
    "aimlib.training.own.run",
    "aimlib.training.schedules",
    "aimlib.training.schedules.base",
    "aimlib.training.selections",
    "aimlib.training.selections.base",
    "aimlib.updates",
    "aimlib.updates.base",
    "analysis",
    "analysis.calibration",
    "analysis.claims",
    "analysis.figures",
    "analysis.statistics",
    "ablations",
    "ablations.commands.data",
    "ablations.search",
    "ablations.sessions.screening",
    "ablations.spec.study",
    "ablations.store",
    "ablations.trackers",
)
"""Modules that users and plugin authors import, according to the documentation."""
_PASSING = re.compile(
    r" at 0x[0-9a-f]+|, ascii_only=None"
)  # addresses, and parts that only new versions of pydantic write


def command_line() -> str:
    """Return every command with its help text, arguments and options."""
    from ablations.commands.app import app

    return "\n".join(_group(app, "ablate"))


def _group(app: Any, path: str) -> Iterator[str]:
    """Yield lines from typer's own description, which is the same in all typer versions; click's description varies."""
    yield from (path, *_indented(app.info.help), "")
    for command in sorted(app.registered_commands, key=lambda command: command.name):
        yield from (f"{path} {command.name}", *_indented(command.help or command.callback.__doc__))
        hints = get_type_hints(command.callback, include_extras=True)
        for name, parameter in inspect.signature(command.callback).parameters.items():
            yield from _parameter(name, hints[name], parameter.default)
        yield ""
    for inner in sorted(app.registered_groups, key=lambda group: group.name):
        yield from _group(inner.typer_instance, f"{path} {inner.name}")


def _indented(text: str | None) -> Iterator[str]:
    yield from (f"    {line}".rstrip() for line in inspect.cleandoc(text or "").splitlines())


def _parameter(name: str, annotated: Any, default: Any) -> Iterator[str]:
    kind, info = get_args(annotated)
    word = name.replace("_", "-")
    if type(info).__name__ == "ArgumentInfo":
        names = name.upper()
    else:
        stated = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
        names = " ".join(stated or ([f"--{word}/--no-{word}"] if kind is bool else [f"--{word}"]))
    marks = [kind.__name__ if inspect.isclass(kind) else str(kind).replace("typing.", "")]
    marks += [f"{bound} {value:g}" for bound in ("min", "max") if (value := getattr(info, bound, None)) is not None]
    marks += [f"shown as {info.metavar}"] if info.metavar else []
    marks.append("required" if default is inspect.Parameter.empty else f"default {default}")
    yield f"  {names}: {'; '.join(marks)}"
    yield f"      {info.help}"


def python() -> str:
    """Return every name that the documented modules export, with its signature."""
    return "\n".join(line for name in MODULES for line in [*_module(name), ""])


def _module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    yield name
    names = getattr(module, "__all__", None)
    if names is None:
        names = [key for key, value in vars(module).items() if _is_own(key, value, name)]
    for key in sorted(names):
        yield from _name(key, getattr(module, key))


def _is_own(key: str, value: Any, module: str) -> bool:
    if key.startswith("_") or key == "TYPE_CHECKING" or inspect.ismodule(value):
        return False
    return getattr(value, "__module__", None) == module or (key.isupper() and not callable(value))


def _name(key: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"  {key}{_signature(value) if callable(value) else f': {type(value).__name__}'}"
        return
    yield f"  class {key}{_signature(value)}"
    if issubclass(value, enum.Enum):
        yield from (f"    {member}" for member in value.__members__)
    private = [
        base for base in value.__mro__[1:] if base.__name__.startswith("_") and base.__module__ == value.__module__
    ]
    members = {name: found for each in (*private[::-1], value) for name, found in vars(each).items()}
    for attribute, found in sorted(members.items()):
        if not attribute.startswith("_") and (line := _attribute(attribute, found)):
            yield f"    {line}"


def _attribute(name: str, value: Any) -> str:
    if isinstance(value, property) or type(value).__name__ == "cached_property":
        return f"{name}: property"
    function = getattr(value, "__func__", value)
    return f"{name}{_signature(function)}" if isinstance(function, FunctionType) else ""


def _signature(value: Any) -> str:
    try:
        signature = str(inspect.signature(value)).replace("_PydanticGeneralMetadata(allow_inf", "AllowInfNan(allow_inf")
        return _PASSING.sub("", signature)  # as named by pydantic 2.12
    except (TypeError, ValueError):
        return "(...)"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the test folders have the same names as the packages
    FOLDER.mkdir(exist_ok=True)
    COMMAND_LINE.write_text(command_line(), encoding="utf-8")
    PYTHON.write_text(python(), encoding="utf-8")
