"""Conditions in SQL, pandas, Python or mathematical notation, and how to write them in this package's notation."""

from __future__ import annotations

import re

_NUMBER = r"[-+]?\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?"
_NAME = r"[^\W\d][\w.]*|`[^`]+`"
_START = r"(?P<start>^|\(|\b(?:and|or|not)\b)\s*"
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SIGNS = {"≥": ">=", "≤": "<=", "≠": "!=", "<>": "!=", "=>": ">=", "=<": "<=", "=!": "!=", "===": "==", "!==": "!="}
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"\s*(?:&&?)\s*", " and "),
    (r"\s*(?:\|\|?)\s*", " or "),
    (r"[!~]\s*(?=\()", "not "),
    (r"(?<=\d)\s*%", "e-2"),
    (rf"({_NAME})\s+is\s+not\s+(?:null|none|nan|na)\b", r"\1 != null"),
    (rf"({_NAME})\s+is\s+(?:null|none|nan|na)\b", r"\1 == null"),
    (rf"({_NAME})\s+is\s+(true|false)\b", r"\1 == \2"),
    (rf"({_NAME})\s+between\s+(\S+)\s+and\s+(\S+)", r"\1 >= \2 and \1 <= \3"),
    (rf"{_START}[\"']([^\"']+)[\"'](?=\s*[<>=!])", r"\g<start> `\2`"),
    (r"\bin\s*\{([^{}]*)\}", r"in (\1)"),
    (r"\bin\s+([^\s(\[{][^()\[\]]*)$", r"in (\1)"),
    (r"(?<![=!<>])==?\s*[(\[]([^()\[\]]*)[)\]]", r"in (\1)"),
    (r"([<>]=?)\s*\(([^(),]*)\)", r"\1 \2"),
    (rf"(=|!=|<|>)\s*([-+])\s+(?={_NUMBER})", r"\1 \2"),
)


def condition_meant(condition: str) -> str | None:
    """Return a condition in this package's notation if parts of it use a different notation; otherwise None.

    The columns in the result may not exist.
    """
    if re.search(r"['\"][^'\"]*[&|%~!{}≥≤≠][^'\"]*['\"]", condition) or len(condition) > _LONGEST:
        return None
    text = re.sub("|".join(map(re.escape, sorted(_SIGNS, key=len, reverse=True))), lambda s: _SIGNS[s[0]], condition)
    for pattern, written in _PATTERNS:
        text = re.sub(pattern, written, text, flags=re.IGNORECASE)
    chained = rf"({_NUMBER})\s*([<>]=?)\s*({_NAME})\s*([<>]=?)\s*({_NUMBER})"
    text = re.sub(chained, lambda m: f"{m[3]} {_FLIPPED[m[2]]} {m[1]} and {m[3]} {m[4]} {m[5]}", text)
    turned = rf"{_START}({_NUMBER})\s*([<>]=?|[=!]?=)\s*({_NAME})"
    text = re.sub(turned, lambda m: f"{m[1]} {m[4]} {_FLIPPED.get(m[3], m[3])} {m[2]}", text)
    text = " ".join(re.sub(r"\(\s+", "(", text).split())
    return text if text != " ".join(condition.split()) else None


_LONGEST = 500
"""Maximum length of a condition, in characters, for which the meaning is guessed."""
