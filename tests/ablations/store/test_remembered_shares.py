"""The next session knows the GPU share with which an arm continues."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablations.execution.scheduler import Scheduler
from ablations.execution.task import Task
from ablations.sessions.remembered_shares import remember, remembered
from ablations.store import ResultStore


def small(arm: str = "aim", share: float = 0.25, **config: Any) -> Task:
    return Task("", "", "", arm, "a" * 20, "", {"seed": 0, **config}, {}, "cuda", 1, share)


def test_the_next_session_knows_the_gpu_share_of_an_arm(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert remembered(store, [small()]) == {}
    remember(store, small(), 0.25, 0.5)
    remember(store, small("other", 0.125), 0.125, 0.25)
    again = ResultStore(anywhere)
    assert remembered(again, [small(), small("other"), small("third")]) == {"aim": 0.5}, (
        "'other' already has a larger share"
    )
    assert remembered(again, [small(share=0.2)]) == {"aim": 0.5}
    assert remembered(again, [small(share=0.3)]) == {}, "this share was never tried"
    assert remembered(again, [small(batch_size=8)]) == {}, "this is a different arm"
    assert remembered(again, [small(share=1.0), Task("", "", "", "c", "b", "", {}, {}, "cpu", 1)]) == {}
    queue = Scheduler([small()], 0, shares=remembered(again, [small()]))
    given = queue.next()
    assert given is not None
    assert given.gpus == 0.5


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"x": 1}', b"\xff", None])
def test_remembered_shares_are_only_hints(store: ResultStore, content: bytes | None) -> None:
    remember(store, small(), 0.25, 0.5)
    if content is None:
        key = next(iter(store.read_shares()))
        content = json.dumps({key: {"arm": "aim", "too_little": 0.25, "enough": 7}}).encode()
    (store.directory / "shares.json").write_bytes(content)
    assert remembered(store, [small()]) == {}
    remember(store, small(), 0.25, 1.0)
    assert remembered(store, [small()]) == {"aim": 1.0}
