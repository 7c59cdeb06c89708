from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("aimlib.testing")

import torch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, because the networks are tiny and results must not depend on the machine's number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
