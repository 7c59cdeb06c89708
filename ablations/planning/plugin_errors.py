"""Errors of plugins, told from errors of this package by the code that was running."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from aimlib.errors import PluginError, UsageError, text_of
from aimlib.records.escaping import LONGEST_LINE, shortened

_OURS = sys.stdlib_module_names | {"aimlib", "ablations", "analysis", "numpy", "pydantic", "torch", "torchvision"}


@contextmanager
def explained() -> Iterator[None]:
    """Turn an exception that passed through code of a plugin into a PluginError that names the place.

    Any other exception is a bug of this package and is left unchanged, and so is what torch raises for sizes that do
    not fit.
    """
    try:
        yield
    except (UsageError, RuntimeError, OverflowError):
        raise
    except Exception as error:
        frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _root(frame) not in _OURS]
        if not frames:
            raise
        frame, line = frames[-1]
        told = shortened(text_of(error), LONGEST_LINE // 2)
        raise PluginError(
            f"a plugin failed: {type(error).__name__}: {told} ({frame.f_code.co_filename}, line {line}, in "
            f"{frame.f_code.co_name}); correct it, or test it with aimlib.testing"
        ) from error


def _root(frame: object) -> str:
    return str(getattr(frame, "f_globals", {}).get("__name__", "")).partition(".")[0]
