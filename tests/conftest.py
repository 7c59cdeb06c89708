"""What tests of several packages need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PHOTOS = "AIM_STANFORD_DOGS"


@pytest.fixture(scope="session")
def stanford_dogs_root() -> Path:
    """Return a tree with real photos of Stanford Dogs, or skip."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "stanford-dogs-20"
    root = Path(os.environ.get(PHOTOS) or beside)
    if not (root / "Images").is_dir():
        pytest.skip(f"no photos of Stanford Dogs: {PHOTOS} names no tree with Images, and there is none at {beside}")
    return root
