"""Functions as training code: they are converted to the class that the registry expects. This does not import torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError, UsageError


class _Function:
    """Training code in the form of a function ``train(config, run)``; see `aimlib.training.own.base.TrainingCode`."""

    Config = ComponentConfig
    function: ClassVar[Callable[[Any, Any], None]]

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def train(self, config: Any, run: Any) -> None:
        """Call the function."""
        type(self).function(config, run)


def of_function(function: Callable[..., Any], place: str = "") -> type:
    """Return the training code class for a function.

    Parameters
    ----------
    place : the function's file and line, for messages.

    Raises
    ------
    PluginError: the function cannot be called with the configuration and the run.
    """
    _refuse_other_arguments(function, place)
    content = {
        "function": staticmethod(function),
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
    }
    return type(function.__name__, (_Function,), content)


def _refuse_other_arguments(function: Callable[..., Any], place: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function that is not written in Python
        return
    try:
        signature.bind(None, None)
    except TypeError:
        named = ", ".join(signature.parameters)
        raise PluginError(
            f"{f'{place}: ' if place else ''}training code is called as {function.__name__}(config, run), but this is "
            f"{function.__name__}({named}); write `def {function.__name__}(config, run):`"
        ) from None


def register_function(function: Callable[..., Any]) -> str:
    """Register a function from the calling script or notebook as training code; return its name.

    Raises
    ------
    UsageError: the function is a method, a lambda or a nested function, so workers could not find its code.
    """
    from aimlib.registry import trainers  # noqa: PLC0415 -- imports this module

    name, qualname = getattr(function, "__name__", ""), getattr(function, "__qualname__", "")
    if not name.isidentifier() or qualname != name:
        raise UsageError(
            f"train: {qualname or repr(function)} is not a function at the top level of a script, notebook or "
            f"file; define it there with `def`, or use 'my_code.py:train'"
        )
    trainers.register(name)(of_function(function))
    return name
