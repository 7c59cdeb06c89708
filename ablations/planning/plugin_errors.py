"""Errors in plugins, distinguished from errors in this package by the code that was running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aimlib.errors import PluginError, UsageError, text_of
from aimlib.own_code.places import place_of
from aimlib.records.escaping import LONGEST_LINE, shortened


@contextmanager
def explained() -> Iterator[None]:
    """Turn an exception that passed through plugin code into a PluginError that names the place in the plugin.

    Any other exception is a bug in this package and is left unchanged, as are torch's errors about mismatched sizes.
    """
    try:
        yield
    except (UsageError, RuntimeError, OverflowError):
        raise
    except Exception as error:
        place = place_of(error)
        if not place:
            raise
        told = shortened(text_of(error), LONGEST_LINE // 2)
        raise PluginError(
            f"a plugin failed: {type(error).__name__}: {told} ({place}); correct it, or test it with aimlib.testing"
        ) from error
