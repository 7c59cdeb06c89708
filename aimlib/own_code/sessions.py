"""Classes that the calling script or notebook itself registered, treated as the user's own code.

Their source is the file of the script, or the cells that were run. A class is used only if its source matches the
objects in this process. Classes are refused if their code was changed since, was injected, or came from elsewhere,
because workers would compute something different.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from aimlib.own_code import imports, live
from aimlib.own_code.bundle import Bundle, bundle_of
from aimlib.own_code.modules import PREFIX
from aimlib.own_code.sources import Find, Piece, Source, in_folder, of_file
from aimlib.registry import Registry

NOTEBOOK = "notebook"
PUT_IN_A_FILE = "put it in a file, and name the file in the study: plugins: [my_idea.py]"
_adopted: dict[str, set[str]] = {}
"""Keys of the classes that earlier calls found, by the name of the session's module."""


def bundles(files: Sequence[Path], registries: Iterable[Registry]) -> list[Bundle]:
    """Return the classes that this process registered in its script or notebook, or in modules next to it.

    Parameters
    ----------
    files : files that the study names; classes that they register are left out.
    """
    named = {path.resolve() for path in files if path.exists()}
    found = []
    for module, keys in _by_module(registries).items():
        place = _place(module)
        if place is None or (module.__name__ != "__main__" and Path(str(module.__file__)).resolve() in named):
            continue
        _adopted.setdefault(module.__name__, set()).update(keys)
        found.append(_bundle(*place, _adopted[module.__name__], module))
    return found


def _by_module(registries: Iterable[Registry]) -> dict[ModuleType, set[str]]:
    found: dict[ModuleType, set[str]] = {}
    for name, keys in _adopted.items():
        if name in sys.modules:
            found.setdefault(sys.modules[name], set()).update(keys)
    for registry in registries:
        for name, cls in registry.unowned().items():
            module = sys.modules.get(cls.__module__)
            if module is not None and not cls.__module__.startswith(PREFIX):
                found.setdefault(module, set()).add(f"{registry.family}/{name}")
    return found


def _place(module: ModuleType) -> tuple[Source, Find] | None:
    """Return the source of a session's module, and a function that finds its own modules; None for other modules."""
    shell = _shell()
    if module.__name__ == "__main__":
        if shell is not None and shell.user_module is module:
            return _notebook(shell), in_folder(Path.cwd())
        return _script(module)
    file = getattr(module, "__file__", None)
    root = _folder()
    if file is None or root is None or not Path(file).resolve().is_relative_to(root):
        return None
    if imports.is_installed(module.__name__):
        return None
    return of_file(Path(file), module.__name__), in_folder(root)


def _script(main: ModuleType) -> tuple[Source, Find] | None:
    file = getattr(main, "__file__", None)
    if file is None or not Path(file).is_file():
        return Source("session", (), is_session=True), in_folder(Path.cwd())
    name = main.__spec__.name if main.__spec__ is not None else Path(file).stem
    return of_file(Path(file), name.removesuffix(".__main__")), in_folder(_above(Path(file), name))


def _folder() -> Path | None:
    """Return the folder of the script, or the folder in which the notebook runs."""
    main = sys.modules["__main__"]
    shell, file = _shell(), getattr(main, "__file__", None)
    if shell is not None and shell.user_module is main:
        return Path.cwd()
    if file is None or not Path(file).is_file():
        return None
    return _above(Path(file), main.__spec__.name if main.__spec__ is not None else "")


def _above(file: Path, name: str) -> Path:
    return file.resolve().parents[name.count(".")]


def _shell() -> Any:
    """Return IPython's shell, without importing IPython; None outside IPython."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None


def _notebook(shell: Any) -> Source:
    cells = getattr(getattr(shell, "history_manager", None), "input_hist_parsed", None) or shell.user_ns.get("In", [])
    pieces = tuple(Piece(f"In [{number}]", str(cell)) for number, cell in enumerate(cells) if str(cell).strip())
    return Source(NOTEBOOK, pieces, is_session=True)


def _bundle(source: Source, find: Find, keys: set[str], module: ModuleType) -> Bundle:
    """Return the classes whose code matches the process; the others are in `Bundle.refusals`."""
    refusals: dict[str, str] = {}
    wanted = set(keys)
    namespaces = _Namespaces(source.name, module)
    while True:
        result = bundle_of(source, find, wanted)
        refusals |= result.refusals
        changed = live.differences(result, namespaces)
        if not changed:
            break
        refusals |= changed
        wanted -= changed.keys() | result.refusals.keys()
    for key in keys - result.codes.keys() - refusals.keys():
        refusals[key] = f"its definition is not in any {'cell' if source.is_session else 'line'} that can be read"
    result.refusals = {key: f"{problem}; {PUT_IN_A_FILE}" for key, problem in refusals.items()}
    return result


class _Namespaces(Mapping[str, Mapping[str, Any]]):
    """The names in each of the user's own modules in this process; empty for modules that are not imported."""

    def __init__(self, main: str, module: ModuleType) -> None:
        self._main, self._module = main, module

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        module = self._module if name == self._main else sys.modules.get(name)
        if module is None:
            raise KeyError(name)
        return vars(module)

    def __iter__(self) -> Any:
        return iter([self._main])

    def __len__(self) -> int:
        return 1
