"""Modules generated from the user's own code; drivers and workers import them by a name with the code's hash.

A module contains only what the registered classes reach, on the same lines as in the original file. It behaves as if it
began with ``from __future__ import annotations``. Tracebacks, `inspect` and torch.compile find its source in
`linecache`.
"""

from __future__ import annotations
import __future__

import importlib
import importlib.abc
import importlib.machinery
import linecache
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

from aimlib.errors import text_of
from aimlib.own_code import rewriting
from aimlib.own_code.bundle import Bundle
from aimlib.own_code.ordering import in_order_of_need
from aimlib.own_code.sources import Module, Statement
from aimlib.records.escaping import LONGEST_LINE, shortened

PREFIX = "aim_own_"
"""The beginning of the names of generated packages."""
_DIGITS = 16
_MARK = " [own code "
"""Text between the name of a file and the beginning of a hash, in tracebacks."""
_lock = threading.RLock()


def package_of(bundle: Bundle) -> str:
    """Return the name of the package that contains the modules of a bundle."""
    return PREFIX + bundle.text_hash[:_DIGITS]


def imported(bundle: Bundle) -> ModuleType:
    """Return the module that contains the bundle's classes; the first call generates it."""
    with _lock:
        package = package_of(bundle)
        if package not in _importer.bundles:
            _importer.bundles[package] = bundle
        if _importer not in sys.meta_path:
            sys.meta_path.insert(0, _importer)
        return importlib.import_module(f"{package}.{bundle.main}")


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the generated modules of this process."""

    def __init__(self) -> None:
        self.bundles: dict[str, Bundle] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        bundle = self.bundles.get(package)
        if bundle is None:
            return None
        below = [other for other in bundle.reach.modules if other.startswith(f"{name}.")]
        if name and name not in bundle.reach.modules and not below:
            return None
        module = bundle.reach.modules.get(name)
        is_package = not name or bool(below) or (module is not None and module.source.is_package)
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)
        if module is not None and module.source.pieces:
            spec.origin = _filename(bundle, _main_label(bundle, module))
            spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str | None:
        package, _, name = fullname.partition(".")
        bundle = self.bundles[package]
        module = bundle.reach.modules.get(name)
        if module is None or not module.source.pieces:
            return ""
        label = _main_label(bundle, module)
        return next(piece.text for piece in bundle.pruned(module) if piece.label == label)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        package, _, name = module.__name__.partition(".")
        bundle = self.bundles[package]
        own = bundle.reach.modules.get(name)
        if own is None:
            return
        for piece in bundle.pruned(own):
            # `linecache.checkcache` keeps the lines of a file that does not exist only if no modification time is
            # stored.
            filename = _filename(bundle, piece.label)
            linecache.cache[filename] = (len(piece.text), None, piece.text.splitlines(keepends=True), filename)
        for code in _codes(bundle, own, package):
            exec(code, module.__dict__)  # noqa: S102 -- approved code of the user; see `ablations.sessions.approval`


_importer = _Importer()


def _main_label(bundle: Bundle, module: Module) -> str:
    """Return the piece that serves as the file of a module: the piece with the module's first class."""
    labels = [each.definition.label for each in bundle.registered if each.definition.module == module.source.name]
    return labels[0] if labels else module.source.pieces[0].label


def _filename(bundle: Bundle, label: str) -> str:
    return f"{label}{_MARK}{bundle.text_hash[:8]}]"


def _codes(bundle: Bundle, module: Module, package: str) -> Iterator[CodeType]:
    source, reach = module.source, bundle.reach
    wanted = [each for each in module.statements if each in reach.statements or each in reach.aliases]
    for statement in in_order_of_need(wanted, reach) if source.is_session else wanted:
        if statement.is_import:
            text = rewriting.import_line(reach.aliases[statement], package)
        else:
            text = rewriting.runnable(statement, source, reach.find, package)
        yield _compiled(statement, text, _filename(bundle, statement.label))


def _compiled(statement: Statement, text: str, filename: str) -> CodeType:
    """Return the code of a statement with its original line numbers."""
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile("\n" * (statement.line - 1) + text, filename, "exec", flags=flags, dont_inherit=True)
    return code


def classes(bundle: Bundle) -> dict[str, Any]:
    """Return the registered classes of the generated module, by key."""
    module = imported(bundle)
    return {root.key: getattr(module, root.qualname) for root in bundle.roots}


def where(error: Exception, bundle: Bundle) -> str:
    """Return a text that says which line of the user's own code failed, and with which error."""
    told = f"{type(error).__name__}: {shortened(text_of(error), LONGEST_LINE // 2)}"
    own = [
        (frame.f_code.co_filename.partition(_MARK)[0], line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _MARK in frame.f_code.co_filename
    ]
    label, line = own[-1] if own else (bundle.label, 0)
    return f"{label}{f', line {line}' if line else ''}: {told}"


def value(bundle: Bundle, module: str, name: str) -> Any:
    """Return a value defined in a generated module; None if the module does not define the name."""
    found = sys.modules.get(f"{package_of(bundle)}.{module}")
    return getattr(found, name, None)
