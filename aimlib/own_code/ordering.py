"""The order in which a session's definitions run: each definition runs after the definitions that it needs.

A user can run cells in any order and several times, so the order of the cells says nothing about what they need.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from aimlib.own_code.reach import Reach
from aimlib.own_code.sources import Statement


def in_order_of_need(statements: Iterable[Statement], reach: Reach) -> list[Statement]:
    """Return statements, ordered so that what a statement needs when it runs comes before it; imports come first."""
    statements = list(statements)
    order = _Order(reach, [each for each in statements if not each.is_import])
    for statement in order.wanted:
        order.add(statement)
    return [*(each for each in statements if each.is_import), *order.found]


class _Order:
    def __init__(self, reach: Reach, wanted: list[Statement]) -> None:
        self.reach, self.wanted = reach, wanted
        self.known, self.found, self.begun = set(wanted), list[Statement](), set[Statement]()

    def add(self, statement: Statement) -> None:
        """Add a statement after the definitions that it needs when it runs, and after what those need when called."""
        if statement in self.begun:
            return
        self.begun.add(statement)
        earlier = [
            each for each in self._same_name(statement) if self.wanted.index(each) < self.wanted.index(statement)
        ]
        for needed in (*earlier, *self._at_once(statement)):
            self.add(needed)
            if not isinstance(statement.node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_decorated(statement):
                for later in self._all(needed):
                    self.add(later)
        self.found.append(statement)

    def _same_name(self, statement: Statement) -> list[Statement]:
        names = statement.binds.keys() | statement.changes
        return [
            each
            for name, refs in self.reach.refs[statement].items()
            if name.removesuffix("=") in names and name.endswith("=")
            for each in refs
            if isinstance(each, Statement) and each in self.known and each is not statement
        ]

    def _at_once(self, statement: Statement) -> list[Statement]:
        names = {use.name for use in statement.uses if not use.deferred}
        return self._refs(statement, names)

    def _refs(self, statement: Statement, names: set[str]) -> list[Statement]:
        return [
            each
            for name, refs in self.reach.refs[statement].items()
            if name.partition(".")[0] in names
            for each in refs
            if isinstance(each, Statement) and each in self.known
        ]

    def _all(self, statement: Statement) -> list[Statement]:
        """Return everything in the session that a statement reaches."""
        found: dict[Statement, None] = {}
        waiting = [statement]
        while waiting:
            current = waiting.pop()
            for each in self._refs(current, {use.name for use in current.uses}):
                if each not in found:
                    found[each] = None
                    waiting.append(each)
        return list(found)


def _is_decorated(statement: Statement) -> bool:
    return bool(getattr(statement.node, "decorator_list", []))
