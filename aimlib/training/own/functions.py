"""Functions as training code: the class that the registry expects is made of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from aimlib.component import ComponentConfig
from aimlib.errors import UsageError


class _Function:
    """Training code that is a function ``train(config, run)``; see `aimlib.training.own.base.TrainingCode`."""

    Config = ComponentConfig
    function: ClassVar[Callable[[Any, Any], None]]

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def train(self, config: Any, run: Any) -> None:
        """Call the function."""
        type(self).function(config, run)


def of_function(function: Callable[..., Any]) -> type:
    """Return the class of a function."""
    content = {
        "function": staticmethod(function),
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
    }
    return type(function.__name__, (_Function,), content)


def register_function(function: Callable[..., Any]) -> str:
    """Register a function of the calling script or notebook as training code; return its name.

    Raises
    ------
    UsageError: it is a method, a lambda or a function within another one, whose code no worker could find.
    """
    from aimlib.registry import trainers  # noqa: PLC0415 -- imports this module

    name, qualname = getattr(function, "__name__", ""), getattr(function, "__qualname__", "")
    if not name.isidentifier() or qualname != name:
        raise UsageError(
            f"train: {qualname or repr(function)} is no function at the top level of a script, notebook or file; "
            f"define it there with `def`, or give 'my_code.py:train'"
        )
    trainers.register(name)(of_function(function))
    return name
