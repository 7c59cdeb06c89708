from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("aimlib.testing")

import torch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Run on one thread: the networks are tiny, and results do not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
