"""The names that a statement in a module binds, changes and uses.

`ast` is used only to find names; no hash depends on what it returns. Annotations of functions are not evaluated,
because the user's own code runs with ``from __future__ import annotations``. However, pydantic evaluates annotations of
class fields.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_MUTATORS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "move_to_end", "pop"),
        *("popitem", "remove", "reverse", "setdefault", "sort", "update"),
        *("load_state_dict", "register_buffer", "register_module", "register_parameter"),
    }
)
"""Methods that change an object; in addition, any method whose name ends in an underscore counts, as in torch."""


@dataclass(frozen=True)
class Use:
    """A module-level name that a statement uses.

    Attributes
    ----------
    name : the name.
    chain : the attributes that follow the name: ``("nn", "Linear")`` in ``torch.nn.Linear``.
    deferred : whether the name is used only when a function is called, not when the statement runs.
    line : the line where the name is used.
    stored : whether the name or one of its attributes is assigned or deleted.
    certain : whether the name certainly refers to the module's name; False if the body of a class also binds the name.
    """

    name: str
    chain: tuple[str, ...]
    deferred: bool
    line: int
    stored: bool = False
    certain: bool = True


def bound_by(nodes: Iterable[ast.AST]) -> dict[str, int]:
    """Return the names that statements bind in their own scope, each with the line where it is first bound."""
    found: dict[str, int] = {}
    for node in nodes:
        for name, line in _bound(node):
            found.setdefault(name, line)
    return found


def _bound(node: ast.AST) -> Iterator[tuple[str, int]]:
    if isinstance(node, _SCOPES):
        if not isinstance(node, ast.Lambda):
            yield node.name, node.lineno
            yield from (found for inner in (*node.decorator_list, *_at_definition(node)) for found in _bound(inner))
        return
    yield from ((name, getattr(node, "lineno", 0)) for name in _bound_by_itself(node))
    for child in ast.iter_child_nodes(node):
        yield from _bound_in_comprehension(child) if isinstance(child, ast.comprehension) else _bound(child)


def _bound_by_itself(node: ast.AST) -> list[str]:
    """Return the names that a node itself binds, not counting nested nodes."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [bound_name(alias) for alias in node.names]
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return [node.name] if node.name else []
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest else []


def _bound_in_comprehension(part: ast.comprehension) -> Iterator[tuple[str, int]]:
    """Yield the names that part of a comprehension binds outside it, by ``:=``; the targets are local."""
    for inner in (part.iter, *part.ifs):
        yield from _bound(inner)


def bound_name(alias: ast.alias) -> str:
    """Return the name that a part of an import statement binds."""
    return alias.asname or alias.name.partition(".")[0]


def _at_definition(node: ast.AST) -> list[ast.expr]:
    """Return the expressions evaluated when a function or class is defined, except decorators and a class's body."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords)]
    arguments: ast.arguments = node.args  # type: ignore[attr-defined]
    return [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)]


def changed_by(node: ast.stmt) -> set[str]:
    """Return names whose objects a statement changes in place, through items, attributes or known methods."""
    found: set[str] = set()
    for inner in _outside_functions(node):
        targets: list[ast.expr] = []
        if isinstance(inner, ast.AugAssign):
            targets = [inner.target]
        elif isinstance(inner, (ast.Assign, ast.Delete)):
            targets = [target for target in inner.targets if not isinstance(target, ast.Name)]
        elif isinstance(inner, ast.AnnAssign) and not isinstance(inner.target, ast.Name):
            targets = [inner.target]
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and _changes(inner.func.attr):
            targets = [inner.func.value]
        found.update(name for target in targets for name in _roots(target))
    return found


def _changes(method: str) -> bool:
    return method in _MUTATORS or (method.endswith("_") and not method.endswith("__"))


def _roots(target: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            if not isinstance(each, ast.Name):
                yield from _roots(each)
        return
    while isinstance(target, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        target = target.func if isinstance(target, ast.Call) else target.value
    if isinstance(target, ast.Name):
        yield target.id


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, _SCOPES):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_functions(child)


def passed_by(node: ast.stmt) -> dict[str, str]:
    """Return the names passed directly to calls in a statement, each with the name of the called function."""
    found = {}
    for inner in _outside_functions(node):
        if isinstance(inner, ast.Call):
            called = ast.unparse(inner.func) if isinstance(inner.func, (ast.Name, ast.Attribute)) else "a function"
            for value in (*inner.args, *(keyword.value for keyword in inner.keywords)):
                if isinstance(value, ast.Name):
                    found[value.id] = called
    return found


def uses_of(node: ast.stmt) -> list[Use]:
    """Return the module-level names that a statement uses, in order."""
    finder = _Finder()
    finder.visit(node)
    return finder.found


@dataclass
class _Scope:
    kind: str
    bound: set[str]
    of_module: set[str] = field(default_factory=set)


class _Finder(ast.NodeVisitor):
    """Visits nested scopes, and resolves names as Python does."""

    def __init__(self) -> None:
        self.scopes: list[_Scope] = []
        self.found: list[Use] = []

    def _is_own(self, name: str) -> bool:
        """Return whether a name is, or may be, a module-level name."""
        for scope in reversed(self.scopes):
            if name in scope.of_module:
                return True
            if scope.kind != "class" and name in scope.bound:
                return False
        return name != "__class__" or not self.scopes

    def _is_of_class(self, name: str) -> bool:
        """Return whether the class body binds a name; until then, the name refers to the module-level name."""
        return bool(self.scopes) and self.scopes[-1].kind == "class" and name in self.scopes[-1].bound

    def _note(self, node: ast.AST, name: str, chain: tuple[str, ...], *, stored: bool = False) -> None:
        if self._is_own(name):
            deferred = any(scope.kind == "function" for scope in self.scopes)
            line, certain = getattr(node, "lineno", 0), not self._is_of_class(name)
            self.found.append(Use(name, chain, deferred, line, stored, certain))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._note(node, node.id, ())
        elif self.scopes and self._declared_global(node.id):
            self._note(node, node.id, (), stored=True)

    def _declared_global(self, name: str) -> bool:
        return name in self.scopes[-1].of_module

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            stored = not isinstance(node.ctx, ast.Load)
            self._note(node, inner.id, tuple(reversed(chain)), stored=stored)
        else:
            self.visit(inner)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node, node.decorator_list, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node, node.decorator_list, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [], [node.body])

    def _function(self, node: Function, decorators: list[ast.expr], body: list[ast.stmt] | list[ast.expr]) -> None:
        for outer in (*decorators, *_at_definition(node)):
            self.visit(outer)
        arguments = node.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        names = {parameter.arg for parameter in parameters if parameter is not None} | _type_parameters(node)
        scope = _Scope("function", names | set(bound_by(body)))
        for inner in _within(body):
            if isinstance(inner, ast.Global):
                scope.of_module.update(inner.names)
            elif isinstance(inner, ast.Nonlocal):
                scope.bound.difference_update(inner.names)
        self._within(scope, body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for outer in (*node.decorator_list, *_at_definition(node)):
            self.visit(outer)
        scope = _Scope("class", set(bound_by(node.body)))
        for inner in _within(node.body):
            if isinstance(inner, ast.Global):
                scope.of_module.update(inner.names)
        self._within(scope, node.body)

    def _within(self, scope: _Scope, body: Iterable[ast.AST]) -> None:
        self.scopes.append(scope)
        for inner in body:
            self.visit(inner)
        self.scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)
        if self.scopes and self.scopes[-1].kind == "class":
            self.visit(_quoted(node.annotation))

    def _comprehension(self, node: ast.AST, generators: list[ast.comprehension], *results: ast.expr) -> None:
        self.visit(generators[0].iter)
        targets = {name for part in generators for name in bound_by([part.target])}
        inner = [each for part in generators for each in (part.target, *part.ifs)]
        inner += [part.iter for part in generators[1:]]
        self._within(_Scope("comprehension", targets), (*inner, *results))

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node, node.generators, node.elt)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node, node.generators, node.elt)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node, node.generators, node.elt)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node, node.generators, node.key, node.value)


def _within(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of nested scopes."""
    for node in body:
        yield node
        if not isinstance(node, _SCOPES):
            yield from _within(ast.iter_child_nodes(node))


def _type_parameters(node: ast.AST) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", ())}


def _quoted(annotation: ast.expr) -> ast.expr:
    """Return an annotation, with its strings parsed as expressions, because pydantic evaluates them."""
    return _Unquoted().visit(copy.deepcopy(annotation))  # type: ignore[no-any-return]


class _Unquoted(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str):
            return node
        try:
            inner = ast.parse(node.value, mode="eval").body
        except SyntaxError:  # a plain string, as in Literal["a b"]
            return node
        for each in ast.walk(inner):
            if hasattr(each, "lineno"):
                each.lineno = node.lineno
        return inner

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, (ast.Name, ast.Attribute)) and ast.unparse(node.value).endswith("Literal"):
            return node
        self.generic_visit(node)
        return node
