"""The normal form of Python source code: its tokens, without comments, spacing and blank lines.

The tokens are found by the rules below, not by `tokenize` or `ast`, whose results differ between Python versions. Run
ids contain a hash of the tokens, so these rules never change. Strings, f-strings including everything in their braces,
numbers and names are kept exactly as written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NEWLINE, INDENT, DEDENT = "\n", "\n+", "\n-"
"""Tokens for the end of a logical line, and for the beginning and the end of a block."""

_TAB = 8
_NAME = re.compile(r"\w+")
_DIGITS = r"[0-9](?:_?[0-9])*"
_EXPONENT = rf"[eE][-+]?{_DIGITS}"
_NUMBER = re.compile(
    r"0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+"
    rf"|(?:{_DIGITS}\.(?:{_DIGITS})?|\.{_DIGITS})(?:{_EXPONENT})?[jJ]?"
    rf"|{_DIGITS}{_EXPONENT}[jJ]?|{_DIGITS}[jJ]?"
)
_OPERATOR = re.compile(r"\*\*=|//=|>>=|<<=|\.\.\.|[-+*/%&|^@=<>!:]=|->|\*\*|//|>>|<<|<>|.", re.DOTALL)
_STRING = re.compile(r"(?P<prefix>[bB]?[rR]?|[rR][bB]|[uU]|[fFtT][rR]?|[rR][fFtT])(?P<quote>\"\"\"|'''|\"|')")
_BLANK = re.compile(r"(?:[ \t\f]|\\\n)+")
_NAMED_CHARACTER = re.compile(r"N\{[^}\n]*\}")


class UnreadableError(ValueError):
    """Text that is not Python source code, such as an unterminated string."""


def plain_newlines(text: str) -> str:
    r"""Return text with line feeds as line ends, as Python reads it, and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def tokens(text: str) -> list[str]:
    """Return the normal form of complete statements.

    Parameters
    ----------
    text : statements that begin in the first column, with line feeds as line ends.

    Raises
    ------
    UnreadableError: a string or a bracket is not closed.
    """
    return _Lexer(text).run()


@dataclass
class _Lexer:
    text: str
    at: int = 0
    depth: int = 0
    indents: list[int] = field(default_factory=lambda: [0])
    found: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        while self.at < len(self.text):
            if self.depth == 0 and self._begins_a_line():
                self._indentation()
            else:
                self._token()
        if self.depth:
            raise UnreadableError("a bracket is not closed")
        self._end_line()
        self.found += [DEDENT] * (len(self.indents) - 1)
        return self.found

    def _begins_a_line(self) -> bool:
        return not self.found or self.found[-1] in (NEWLINE, INDENT, DEDENT)

    def _indentation(self) -> None:
        """Compare a line's indentation with that of the preceding lines; lines without tokens are ignored."""
        column = 0
        while self.at < len(self.text) and (sign := self.text[self.at]) in " \t\f":
            column = {" ": column + 1, "\t": (column // _TAB + 1) * _TAB, "\f": 0}[sign]
            self.at += 1
        if self.text.startswith("\\\n", self.at):  # the first token is on a later line
            self._skip_blank()
        if self._skip_comment() or self.at >= len(self.text) or self.text[self.at] == "\n":
            self.at += 1
            return
        if column > self.indents[-1]:
            self.indents.append(column)
            self.found.append(INDENT)
        while column < self.indents[-1]:
            self.indents.pop()
            self.found.append(DEDENT)
        self._token()

    def _token(self) -> None:
        if self._skip_blank() or self._skip_comment():
            return
        sign = self.text[self.at]
        if sign == "\n":
            self.at += 1
            self._end_line()
            return
        begin = self.at
        if string := _STRING.match(self.text, self.at):
            self._string(string)
        elif number := (sign.isascii() and (sign.isdigit() or sign == ".")) and _NUMBER.match(self.text, self.at):
            self.at = number.end()
        elif name := _NAME.match(self.text, self.at):
            self.at = name.end()
        else:
            self._operator()
        self.found.append(self.text[begin : self.at])

    def _operator(self) -> None:
        found = _OPERATOR.match(self.text, self.at)
        assert found is not None
        self.depth += (found[0] in "([{") - (found[0] in ")]}")
        self.at = found.end()

    def _end_line(self) -> None:
        if self.depth == 0 and not self._begins_a_line():
            self.found.append(NEWLINE)

    def _skip_blank(self) -> bool:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found is not None

    def _skip_comment(self) -> bool:
        if not self.text.startswith("#", self.at):
            return False
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end
        return True

    def _string(self, opening: re.Match[str]) -> None:
        """Move to the end of a string; the braces in an f-string contain code, which may itself contain strings."""
        self.at = opening.end()
        prefix, quote = opening["prefix"].lower(), opening["quote"]
        formatted, raw = bool(set(prefix) & set("ft")), "r" in prefix
        while not self.text.startswith(quote, self.at):
            sign = self._next(quote)
            if sign == "\\":
                self._after_backslash(formatted=formatted, raw=raw)
            elif formatted and sign == "{" and not self._doubled("{"):
                self._braces(quote)
        self.at += len(quote)

    def _next(self, quote: str) -> str:
        """Consume one character of a string."""
        sign = self.text[self.at : self.at + 1]
        if not sign or (sign == "\n" and len(quote) == 1):
            raise UnreadableError("a string is not closed")
        self.at += 1
        return sign

    def _doubled(self, sign: str) -> bool:
        found = self.text.startswith(sign, self.at)
        self.at += found
        return found

    def _after_backslash(self, *, formatted: bool, raw: bool) -> None:
        if formatted and not raw and (named := _NAMED_CHARACTER.match(self.text, self.at)):
            self.at = named.end()
        elif not (formatted and self.text[self.at : self.at + 1] in ("{", "}")):
            self.at += 1

    def _braces(self, quote: str) -> None:
        """Move past the closing brace of a replacement field, which has an expression, a conversion and a format."""
        outer = self.depth
        self.depth = 0
        while True:
            self._between_tokens()
            sign = self.text[self.at : self.at + 1]
            if not sign:
                raise UnreadableError("a replacement field is not closed")
            if self.depth == 0 and sign == "}":
                self.at += 1
                break
            if self.depth == 0 and sign == ":":
                self.at += 1
                self._format(quote)
                break
            self._part_of_field()
        self.depth = outer

    def _between_tokens(self) -> None:
        while self._skip_blank() or self._skip_comment() or self._doubled("\n"):
            pass

    def _part_of_field(self) -> None:
        """Consume one token of an expression in braces; in braces, ``:=`` is a format that begins with ``=``."""
        if string := _STRING.match(self.text, self.at):
            self._string(string)
        elif name := _NAME.match(self.text, self.at):
            self.at = name.end()
        elif self.text[self.at] in "()[]{}":
            self._operator()
        elif self.text.startswith("!=", self.at):
            self.at += 2
        else:
            self.at += 1

    def _format(self, quote: str) -> None:
        """Move from the colon of a replacement field past its closing brace; a format may itself contain fields."""
        while True:
            if self.text.startswith(quote, self.at):
                raise UnreadableError("a replacement field is not closed")
            sign = self._next(quote)
            if sign == "}":
                return
            if sign == "{":
                self._braces(quote)
