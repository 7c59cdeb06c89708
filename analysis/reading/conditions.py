"""Conditions on the columns of a frame: ``batch_size >= 50 and placement in (stage_only, input_only)``.

    condition  = all {"or" all}
    all        = negation {"and" negation}
    negation   = "not" negation | "(" condition ")" | comparison
    comparison = column operator value | column ["not"] "in" list
    operator   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="
    list       = ("(" | "[") value {"," value} (")" | "]")

A value is a number, a time, ``true``, ``false``, ``null``, the name of a different numeric column, or text, which needs
quotes only if it contains spaces, brackets or operators. Column names with such characters are written between
backticks. A comparison with a missing value is false, except for ``!=`` and ``not in``. Conditions are never evaluated
as code.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from aimlib.errors import UsageError, unknown_name
from aimlib.records import role
from analysis.reading.frames import ROLE
from analysis.reading.other_conditions import condition_meant

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
      | (?P<name> `[^`]+` )
      | (?P<sign> >=|<=|!=|==|=|>|<|\(|\)|\[|\]|, )
      | (?P<word> [^\s'"`()\[\],=!<>]+ )
    )""",
    re.VERBOSE,
)
_SHORT = re.compile(
    r"\s*(?P<column>[^\s!<>=`'\"()]+)\s*(?P<sign>>=|<=|!=|==|=|>|<)\s*(?P<value>[^\s=!<>].*?)\s*", re.DOTALL
)
_KEYWORD = re.compile(r"(?:^|\s)(?:and|or|not|in)(?:\s|$)|['\"`]", re.IGNORECASE)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NULLS = frozenset({"null", "none", "nan", "na"})
_OPENING = {"(": ")", "[": "]"}
_DEEPEST = 50
_EXAMPLE = "write conditions such as batch_size >= 50 and placement == stage_only"


def rows_that_meet(frame: pd.DataFrame, condition: str) -> pd.Series:
    """Return, for every row of a frame, whether it meets a condition: a boolean series with the frame's index.

    The short form ``column=value,other`` takes everything after the operator literally; commas separate
    alternatives.

    Raises
    ------
    UsageError: the text is not a condition, names an unknown column, or contains a value whose type differs from the
        column's.
    """
    if not isinstance(condition, str):
        raise UsageError(f"a condition must be text, not {type(condition).__name__} ({condition!r}): {_EXAMPLE}")
    try:
        return _met(frame, condition)
    except UsageError:
        meant = condition_meant(condition)
        if meant is None or not _is_condition(frame, meant):
            raise
        raise UsageError(f"condition {condition!r}: this notation is not supported; write {meant}") from None


def _is_condition(frame: pd.DataFrame, condition: str) -> bool:
    try:
        _met(frame, condition)
    except UsageError:
        return False
    return True


def _met(frame: pd.DataFrame, condition: str) -> pd.Series:
    short = _SHORT.fullmatch(condition)
    if short is not None and not _KEYWORD.search(condition):
        return _short(frame, condition, short["column"], short["sign"], short["value"])
    return _Parser(frame, condition).parsed()


def _short(frame: pd.DataFrame, condition: str, column: str, sign: str, text: str) -> pd.Series:
    series = _column(frame, column)
    if _is_number(series) and text in frame and _is_number(frame[text]):
        return _compared(series, sign, frame[text])
    if sign not in ("=", "==", "!="):
        if _means_null(series, text):
            raise UsageError(f"condition {condition!r}: null can be compared with == and != only")
        return _compared(series, sign, _read(series, text, condition))
    whole = series.dtype == "str" and bool((series == text).any())  # arm names may contain commas
    parts = [text] if whole else text.split(",")
    values = [None if _means_null(series, part) else _read(series, part, condition) for part in parts]
    return _among(series, values, sign == "!=")


@dataclass(frozen=True)
class _Token:
    kind: Literal["quoted", "name", "sign", "word", "end"]
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words


class _Parser:
    """Recursive descent over one condition; every method parses its grammar rule and returns the rows."""

    def __init__(self, frame: pd.DataFrame, condition: str) -> None:
        self._frame, self._condition = frame, condition
        self._tokens = self._split()
        self._next = 0
        self._depth = 0

    def parsed(self) -> pd.Series:
        met = self._any()
        if self._peek().kind != "end":
            raise self._error("expected 'and', 'or' or the end")
        return met

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        text = self._condition.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                rest = text[at:].lstrip()
                raise UsageError(f"condition {self._condition!r}: cannot read {rest[:20]!r}: {_EXAMPLE}")
            kind: Any = match.lastgroup
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "", len(text))]

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def _error(self, expected: str) -> UsageError:
        token = self._peek()
        found = f"{token.text!r} at position {token.at + 1}" if token.kind != "end" else "the end"
        return UsageError(f"condition {self._condition!r}: {expected}, found {found}: {_EXAMPLE}")

    def _any(self) -> pd.Series:
        met = self._all()
        while self._peek().is_word("or"):
            self._take()
            met = met | self._all()
        return met

    def _all(self) -> pd.Series:
        met = self._negation()
        while self._peek().is_word("and"):
            self._take()
            met = met & self._negation()
        return met

    def _negation(self) -> pd.Series:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UsageError(f"condition: nested deeper than {_DEEPEST} levels; split it into several conditions")
        try:
            if self._peek().is_word("not"):
                self._take()
                return ~self._negation()
            if self._peek().text == "(" and self._peek().kind == "sign":
                return self._bracketed()
            return self._comparison()
        finally:
            self._depth -= 1

    def _bracketed(self) -> pd.Series:
        self._take()
        met = self._any()
        if self._peek().text != ")":
            raise self._error("expected ')'")
        self._take()
        return met

    def _comparison(self) -> pd.Series:
        if self._peek().kind not in ("word", "name") or self._is_keyword():
            raise self._error("expected the name of a column")
        series = _column(self._frame, self._take().text.strip("`"))
        excluded = self._peek().is_word("not")
        if excluded:
            self._take()
        if self._peek().is_word("in"):
            self._take()
            return _among(series, self._list(series), excluded)
        if excluded or self._peek().text not in _OPERATORS:
            raise self._error("expected 'in'" if excluded else "expected an operator (= == != < <= > >= in)")
        sign = self._take().text
        return self._against(series, sign)

    def _is_keyword(self) -> bool:
        """Return whether a word joins conditions and is not the name of a column."""
        token = self._peek()
        return token.is_word("and", "or", "in") and token.text not in self._frame.columns

    def _against(self, series: pd.Series, sign: str) -> pd.Series:
        other = self._other_column(series)
        value = self._value(series) if other is None else other
        if other is None and sign in ("=", "==", "!="):
            return _among(series, [value], sign == "!=")
        if value is None:
            raise UsageError(f"condition {self._condition!r}: null can be compared with == and != only")
        return _compared(series, sign, value)

    def _other_column(self, series: pd.Series) -> pd.Series | None:
        token = self._peek()
        if token.kind == "name" or (token.kind == "word" and token.text in self._frame and _is_number(series)):
            other = _column(self._frame, self._take().text.strip("`"))
            if _is_number(series) != _is_number(other):
                raise UsageError(
                    f"condition {self._condition!r}: {series.name!r} ({series.dtype}) cannot be compared with "
                    f"{other.name!r} ({other.dtype})"
                )
            return other
        return None

    def _list(self, series: pd.Series) -> list[Any]:
        closing = _OPENING.get(self._peek().text)
        if closing is None:
            raise self._error("expected a list such as (a, b)")
        self._take()
        values = [self._value(series)]
        while self._peek().text == ",":
            self._take()
            if self._peek().text == closing:
                break
            values.append(self._value(series))
        if self._peek().text != closing:
            raise self._error(f"expected ',' or {closing!r}")
        self._take()
        return values

    def _value(self, series: pd.Series) -> Any:
        token = self._peek()
        if token.kind not in ("word", "quoted"):
            raise self._error("expected a value")
        self._take()
        if token.kind == "quoted":
            return self._quoted(series, re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        return None if _means_null(series, token.text) else _read(series, token.text, self._condition)

    def _quoted(self, series: pd.Series, text: str) -> Any:
        if _is_number(series) or pd.api.types.is_bool_dtype(series):
            raise UsageError(
                f"condition {self._condition!r}: {text!r} is text, but column {series.name!r} contains {series.dtype}; "
                "write the value without quotes"
            )
        return _read(series, text, self._condition)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise UsageError(unknown_name("column", name, map(str, frame.columns)))
    column: pd.Series = frame[name]
    return column


def _is_number(series: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def _means_null(series: pd.Series, text: str) -> bool:
    """Return whether a word means null; a text column may also contain the value ``none``."""
    return text.strip().lower() in _NULLS and not (series.dtype == "str" and bool((series == text).any()))


def _among(series: pd.Series, values: list[Any], excluded: bool) -> pd.Series:
    known = [value for value in values if value is not None]
    met: pd.Series = series.isin(known).fillna(False).astype(bool)
    if len(known) < len(values):
        met = met | series.isna()
    return ~met if excluded else met


def _compared(series: pd.Series, sign: str, value: Any) -> pd.Series:
    met: pd.Series = _OPERATORS[sign](series, value)
    return met.fillna(sign == "!=").astype(bool)


def _read(series: pd.Series, text: str, condition: str) -> Any:
    """Return a value converted to the type of its column."""
    try:
        if pd.api.types.is_bool_dtype(series):
            return _BOOLEANS[text.strip().lower()]
        if pd.api.types.is_numeric_dtype(series):
            return _number(text)
        if pd.api.types.is_datetime64_any_dtype(series):
            stamp = pd.Timestamp(text)
            return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    except (KeyError, ValueError):
        raise UsageError(
            f"condition {condition!r}: {text!r} cannot be read as {series.dtype}, the type of column {series.name!r}; "
            f"use a value of that type, e.g. one that `ablate results DIRECTORY --columns {series.name}` shows"
        ) from None
    return role(text) or text if series.name == ROLE.name else text


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
