"""Errors that a user can correct; every message says what is wrong, where it is wrong, and what to do.

The command line prints them without a traceback and exits with code 2. Any other exception is a bug in this package and
keeps its traceback.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class UsageError(ValueError):
    """Input that cannot be used unchanged. `str(error)` is written for the user."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and notebooks show: the message, without the calls inside this package."""
        return [f"{type(self).__name__}: {line}" for line in str(self).splitlines()]


class ConfigError(UsageError):
    """A configuration with one or more problems, each with its key path.

    Parameters
    ----------
    problems : the messages, one per mistake, in the order of the document.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(UsageError):
    """Data that is missing, incomplete or different from the configuration."""


class PluginError(UsageError):
    """A plugin that is unknown, is registered twice, or cannot be imported."""


class StoreError(UsageError):
    """A results directory that cannot be read or written."""


class ComputingError(RuntimeError):
    """A repeated computation gave a different result: the device, or something else in the machine, made an error.

    Unlike the other errors, this one is not the user's mistake. A study continues the run from its last checkpoint.

    Parameters
    ----------
    never_repeats : whether every further repetition also gave a different result; the cause is then code with hidden
        state, not the device.
    """

    def __init__(self, text: str = "", *, never_repeats: bool = False) -> None:
        super().__init__(text)
        self.never_repeats = never_repeats


def text_of(error: BaseException) -> str:
    """Return the message of any error; if the error cannot be converted to text, return a description of it."""
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 -- a plugin's exception class may do anything
        return f"(no message: {type(problem).__name__} while converting it to text)"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? "`` for the choice nearest to a word; an empty string if no choice is near."""
    choices = list(choices)
    same = [choice for choice in choices if choice.lower() == word.lower()]
    near = same or difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}? " if near else ""


def unknown_name(kind: str, word: str, choices: Iterable[str]) -> str:
    """Return the message for a name that is not among `choices`: the nearest choice first, then all choices."""
    choices = sorted(choices)
    listed = ", ".join(choices) if choices else "none"
    return f"unknown {kind} {word!r}; {did_you_mean(word, choices)}known: {listed}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 run``, ``4,000 runs``, ``2 batches`` if the plural is passed."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


_TYPES = {"Module": "torch.nn.Module", "Optimizer": "torch.optim.Optimizer", "SupportsFloat": "a number"}
"""The words with which messages refer to types whose class name is not clear enough."""


def checked(value: object, wanted: type[_T], what: str) -> _T:
    """Return `value`, which a plugin's method returned, if it has the required type.

    Parameters
    ----------
    what : the plugin and its method, such as ``backbone 'net' (net.py, line 8, class Net): build()``.

    Raises
    ------
    PluginError: the value has a different type, such as None because ``return`` was forgotten.
    """
    if isinstance(value, wanted):
        return value
    given = "None" if value is None else f"a {type(value).__name__}"
    forgotten = "; does it lack `return`?" if value is None else ""
    raise PluginError(
        f"{what} returned {given}; make it return {_TYPES.get(wanted.__name__, wanted.__name__)}{forgotten}"
    )


def warn_renamed(old: str, new: str, level: int = 3) -> None:
    """Warn the caller's caller that a name has been replaced."""
    warnings.warn(
        f"{old} is now {new}; the old name will be removed in a later release", FutureWarning, stacklevel=level
    )


def renamed(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a function accept arguments under their earlier names, with a warning: ``@renamed(trials="runs")``."""

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for old in names.keys() & kwargs.keys():
                if names[old] in kwargs:
                    raise TypeError(f"{function.__name__}() got both {names[old]!r} and its earlier name {old!r}")
                warn_renamed(f"the parameter {old!r} of {function.__name__}()", repr(names[old]))
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return wrap
