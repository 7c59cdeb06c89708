"""A browser, and studies with factors as shown on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from browse_study import arms


@pytest.fixture
def make_sweep(make_study: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a study with 2 x 2 factors and a baseline; it takes the options of `make_study`."""

    def make(**options: Any) -> Path:
        return make_study(**{"arms": arms(), "claim": None, "images": 40, **options})

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[chromium.Page]:
    """Return a page in a headless Chromium browser."""
    if chromium.program() is None:
        pytest.skip(f"no Chromium: none of {', '.join(chromium.NAMES)} is installed")
    with chromium.page() as page:
        page.size(1300, 1000)
        yield page
