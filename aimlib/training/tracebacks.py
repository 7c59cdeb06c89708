"""Exceptions keep the variables of the frames through which they passed; these functions release them."""

from __future__ import annotations

import traceback

from aimlib.training.device_errors import links


def forget_locals(error: BaseException) -> None:
    """Drop the variables that an error and its causes reference; its traceback stays readable.

    Running frames keep theirs. Python's suggestion for a misspelled name, which it looks up among those variables when
    the error is shown, is kept as a note.
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
