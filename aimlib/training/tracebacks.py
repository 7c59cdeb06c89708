"""Exceptions hold the variables of the frames that they came through; here they let go of them."""

from __future__ import annotations

import traceback

from aimlib.training.device_errors import links


def forget_locals(error: BaseException) -> None:
    """Drop the variables that an error and those it stems from hold; its traceback reads as before.

    Frames that still run keep theirs. A name that Python suggests for one that was not found, which it looks up among
    those variables when the error is shown, is kept as a note.
    """
    for each in links(error):
        before = _last_line(each)
        traceback.clear_frames(each.__traceback__)
        if isinstance(each, AttributeError):
            each.obj = None  # the object without the attribute, often a network
        suggestion = before.removeprefix(_last_line(each)).strip(" .")
        if suggestion and suggestion != before:
            each.add_note(suggestion)


def _last_line(error: BaseException) -> str:
    lines = list(traceback.TracebackException.from_exception(error).format_exception_only())
    return "".join(lines).rstrip("\n")
