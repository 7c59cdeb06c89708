"""Check whether the objects in a session still match the session's source."""

from __future__ import annotations
import __future__

import ast
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from aimlib.own_code import modules
from aimlib.own_code.bundle import Bundle, reached_from, unresolved
from aimlib.own_code.reach import is_immutable
from aimlib.own_code.sources import Statement

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_ANNOTATIONS = __future__.annotations.compiler_flag

Namespaces = Mapping[str, Mapping[str, Any]]


def differences(bundle: Bundle, namespaces: Namespaces) -> dict[str, str]:
    """Return the classes that reach an object that the session changed after defining it, and what was changed.

    Parameters
    ----------
    namespaces : the names that exist in the session, by module.
    """
    found = {}
    for each in bundle.registered:
        problems = (
            problem
            for statement in reached_from(bundle.reach, [each.definition])
            for problem in _differing(statement, bundle, namespaces)
        )
        problem = next(problems, "")
        if problem:
            found[each.root.key] = problem
    if not found and bundle.roots:
        found = _changed_objects(bundle, namespaces)
    return found


def _differing(statement: Statement, bundle: Bundle, namespaces: Namespaces) -> Iterator[str]:
    """Yield the differences between a statement and the session, as far as the statement's text alone shows them."""
    if statement.module not in namespaces:
        return
    namespace, node = namespaces[statement.module], statement.node
    for name in statement.binds:
        if name not in namespace:
            yield f"{name} is defined in {statement.place}, but does not exist in this session"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.decorator_list:
            if not _is_same_function(namespace[name], statement, name, _text(statement, bundle)):
                yield f"{name} in this session is not the function in {statement.place}"
        elif isinstance(node, ast.ClassDef):
            yield from (
                f"{name}.{method} in this session is not the function in {statement.place}"
                for method in _changed_methods(namespace[name], statement, node, _text(statement, bundle))
            )
        elif _is_only(statement, name, bundle) and not _is_same_literal(namespace[name], node):
            yield f"{name} is {namespace[name]!r:.60} in this session, but not in {statement.place}"


def _is_only(statement: Statement, name: str, bundle: Bundle) -> bool:
    return bundle.reach.modules[statement.module].defining(name) == [statement]


def _is_same_literal(value: Any, node: ast.stmt) -> bool:
    """Return whether a value equals the literal that a statement assigns; True for all other statements."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None or not is_immutable(node.value):
        return True
    if isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) for target in node.targets):
        return True
    try:
        stated = ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError):
        return True
    return _is_equal(value, stated) is not False


def _text(statement: Statement, bundle: Bundle) -> str:
    """Return the file or the cell that contains a statement."""
    return bundle.reach.modules[statement.module].source.pieces[statement.piece].text


def _is_same_function(value: Any, statement: Statement, name: str, text: str) -> bool:
    return isinstance(value, FunctionType) and any(
        _is_same_code(value.__code__, code) for code in _codes(statement, value.__code__, text) if code.co_name == name
    )


def _changed_methods(cls: Any, statement: Statement, node: ast.ClassDef, text: str) -> Iterator[str]:
    """Yield the methods of a class that differ from those in its statement."""
    for inner in node.body:
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) or inner.decorator_list:
            continue
        value = getattr(cls, "__dict__", {}).get(inner.name)
        value = getattr(value, "__func__", value)  # of the class methods __init_subclass__ and __class_getitem__
        if not isinstance(value, FunctionType) or not any(
            _is_same_code(value.__code__, code) for code in _codes(statement, value.__code__, text)
        ):
            last = [each for each in node.body if getattr(each, "name", "") == inner.name][-1]
            if last is inner:
                yield inner.name


def _codes(statement: Statement, like: CodeType, text: str) -> Iterator[CodeType]:
    """Yield every code object in a statement, compiled in the same way as a given code object.

    A call such as ``nn.Conv2d(...)`` has different instructions if `nn` is imported in the same compilation. Python
    compiles a file as a whole; IPython compiles the statements of a cell one by one.
    """
    flags = like.co_flags & _ANNOTATIONS
    lines = range(statement.line, (statement.node.end_lineno or statement.line) + 1)
    alone = "\n" * (statement.line - 1) + statement.text
    waiting: list[Any] = [compile(each, "own code", "exec", flags=flags, dont_inherit=True) for each in (alone, text)]
    while waiting:
        code = waiting.pop()
        if code.co_firstlineno in lines:
            yield code
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]


def _is_same_code(one: CodeType, other: CodeType) -> bool:
    """Return whether two functions were compiled from the same text, regardless of the text's location."""
    names = ("co_name", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars")
    if any(getattr(one, name) != getattr(other, name) for name in names) or len(one.co_consts) != len(other.co_consts):
        return False
    return all(_is_same_constant(*pair) for pair in zip(one.co_consts, other.co_consts, strict=True))


def _is_same_constant(one: Any, other: Any) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return _is_same_code(one, other)
    return type(one) is type(other) and repr(one) == repr(other)


def _changed_objects(bundle: Bundle, namespaces: Namespaces) -> dict[str, str]:
    """Return the classes that reach an object whose value differs from what its defining statements compute."""
    try:
        modules.imported(bundle)
    except Exception as error:  # noqa: BLE001 -- the user's code may raise anything
        return {root.key: modules.where(error, bundle) for root in bundle.roots}
    doubtful = {(each.statement.module, each.name): each for each in bundle.reach.suspects()}
    for statement in bundle.reach.statements:
        if not isinstance(statement.node, (ast.Assign, ast.AnnAssign)) or statement.module not in namespaces:
            continue
        for name in statement.binds:
            same = _is_equal(namespaces[statement.module].get(name), modules.value(bundle, statement.module, name))
            suspect = doubtful.get((statement.module, name))
            if same is False:
                problem = f"{name} was changed after {statement.place}, so its source no longer determines its value"
            elif same is None and suspect is not None:
                problem = unresolved(suspect)
            else:
                continue
            return {
                each.root.key: problem
                for each in bundle.registered
                if statement in reached_from(bundle.reach, [each.definition])
            }
    return {}


def _is_equal(one: Any, other: Any) -> bool | None:
    """Return whether two values are equal; None if this cannot be determined."""
    if isinstance(one, _PLAIN) and isinstance(other, _PLAIN):
        return type(one) is type(other) and (one == other or repr(one) == repr(other))
    if type(one) is not type(other) or not isinstance(one, (list, tuple, dict, set, frozenset)):
        return None
    if isinstance(one, (set, frozenset)):
        return one == other if all(isinstance(each, _PLAIN) for each in (*one, *other)) else None
    if len(one) != len(other):
        return False
    pairs = (
        list(zip(one.items(), other.items(), strict=True))
        if isinstance(one, dict)
        else list(zip(one, other, strict=True))
    )
    told = [_is_equal(*pair) for pair in pairs]
    return False if False in told else None if None in told else True
