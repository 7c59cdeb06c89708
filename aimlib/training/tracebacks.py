"""Release the variables that exceptions keep alive: those in the frames through which an exception has passed."""

from __future__ import annotations

import traceback

from aimlib.training.device_errors import links


def forget_locals(error: BaseException) -> None:
    """Drop the variables that an error and its causes reference; the traceback stays readable.

    Frames that are still running keep their variables. When an error about a misspelled name is shown, Python looks for
    a suggestion among these variables; the suggestion is therefore kept as a note.
    """
    for each in links(error):
        before = _last_line(each)
        traceback.clear_frames(each.__traceback__)
        if isinstance(each, AttributeError):
            each.obj = None  # the object that lacks the attribute, often a network
        suggestion = before.removeprefix(_last_line(each)).strip(" .")
        if suggestion and suggestion != before:
            each.add_note(suggestion)


def _last_line(error: BaseException) -> str:
    lines = list(traceback.TracebackException.from_exception(error).format_exception_only())
    return "".join(lines).rstrip("\n")
