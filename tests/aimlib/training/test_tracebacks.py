"""Exceptions release the objects that they keep alive, and the text of the exceptions does not change."""

from __future__ import annotations

import traceback
import weakref

import pytest

from aimlib.training.tracebacks import forget_locals


class Thing:
    """A large object."""

    length = 3


def fail(kind: str, held: list[weakref.ref[Thing]]) -> None:
    thing = Thing()
    held.append(weakref.ref(thing))
    if kind == "name":
        thingy = thing  # noqa: F841
        del thing
        _ = thingg  # type: ignore[name-defined]  # noqa: F821
    elif kind == "attribute":
        _ = thing.lenght  # type: ignore[attr-defined]
    elif kind == "cause":
        try:
            fail("attribute", held)
        except AttributeError as error:
            raise RuntimeError("outer") from error
    elif kind == "context":
        try:
            fail("name", held)
        except NameError:
            raise KeyError(kind) from None
    else:
        try:
            fail("attribute", held)
        except AttributeError as error:
            raise ExceptionGroup("several", [error, ValueError("x")]) from None


@pytest.mark.parametrize("kind", ["name", "attribute", "cause", "context", "group"])
def test_an_error_releases_the_variables_in_its_frames(kind: str) -> None:
    held: list[weakref.ref[Thing]] = []
    own = Thing()
    with pytest.raises(Exception) as caught:
        fail(kind, held)
    before = "".join(traceback.format_exception(caught.value))
    assert any(thing() is not None for thing in held)
    forget_locals(caught.value)
    assert [thing() for thing in held] == [None] * len(held)
    after = "".join(traceback.format_exception(caught.value))
    assert after.replace("\nDid you mean", ". Did you mean").split() == before.split(), "suggestions included"
    assert own.length == 3, "frames that are still running keep their variables"
