"""A parallel map with ordered results; only a limited number of results are in the RAM at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered(function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in the order of the items.

    The work runs in threads, because reading, decoding and most of numpy release the interpreter lock.

    Parameters
    ----------
    function : called from several threads simultaneously; its exceptions are raised in the calling thread.
    items : the arguments; only slightly more items are consumed than results have been yielded.
    workers : number of threads; None: one per available core.
    """
    workers = workers or cores()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="aim-photos") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
