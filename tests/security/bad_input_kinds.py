"""Kinds of bad input, and a check of the messages about them.

Each kind is a different mistake. Variants of a kind, such as the same unknown column in two options, have the same name
and count once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from victims import Victim

DONE, STUDY = "DONE", "STUDY"
WROTE = "give the directory that `ablate run` wrote"
HELP = "-h' for help"
Arrange = Callable[[Victim, pytest.MonkeyPatch], object]


@dataclass(frozen=True)
class Kind:
    """A kind of bad input: a command, or a call that raises an error, and what the message must contain.

    Alternatives in a required part of the message are separated by ``|``.

    In an argument, ``DONE`` stands for a finished study and ``STUDY`` for its file; ``EMPTY``, ``TEXT`` and ``NOWHERE``
    stand for an empty folder, a text file and a path that does not exist.
    """

    name: str
    command: str | Arrange
    place: str
    cause: str
    remedy: str
    arrange: Arrange | None = None

    def __str__(self) -> str:
        return self.name

    def missing_from(self, text: str) -> list[str]:
        """Return the required parts that are missing from a message."""
        return [part for part in (self.place, self.cause, self.remedy) if not _contains(text, part)]


def _contains(text: str, part: str) -> bool:
    return bool(re.search(part, text)) if "|" in part else part in text
