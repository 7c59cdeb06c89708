"""Find out where in code outside this package an exception was raised, for messages."""

from __future__ import annotations

import sys
import traceback
from types import FrameType

from aimlib.errors import text_of
from aimlib.own_code.modules import PREFIX

_OURS = sys.stdlib_module_names | {"aimlib", "ablations", "analysis", "numpy", "pydantic", "torch", "torchvision"}


def place_of(error: BaseException) -> str:
    """Return file, line and function of the last call in a plugin's code; empty if no plugin's code was running.

    Code that the study names takes precedence over installed packages that this code calls.
    """
    others = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _root(frame) not in _OURS]
    return place_in_own_code(error) or _last(others)


def place_in_own_code(error: BaseException) -> str:
    """Return file, line and function of the last call in code that the study names; empty if there is none."""
    frames = traceback.walk_tb(error.__traceback__)
    return _last([(frame, line) for frame, line in frames if _root(frame).startswith(PREFIX)])


def _last(frames: list[tuple[FrameType, int]]) -> str:
    if not frames:
        return ""
    frame, line = frames[-1]
    return f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name}"


def told(error: BaseException, remedy: str) -> str:
    """Return a text with an error that torch raised while a network was checked, its place in a plugin, and a remedy.

    Parameters
    ----------
    remedy : what to do if no plugin's code was running.
    """
    text, place = text_of(error), place_of(error)
    if "meta tensor" in text:
        text = f"it reads the value of a tensor, but networks are checked with tensors that have no values ({text})"
    return f"{text} ({place}); correct that line, or {remedy}" if place else f"{text}; {remedy}"


def _root(frame: object) -> str:
    return str(getattr(frame, "f_globals", {}).get("__name__", "")).partition(".")[0]
