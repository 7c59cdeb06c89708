"""Keep the reference tests away from the user's cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blank_figures import blank_figures


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module", autouse=True)
def without_drawing() -> Iterator[None]:
    """Write reports with blank figures, because only the tables are recorded. Other tests in this process are not
    affected."""
    with blank_figures():
        yield
