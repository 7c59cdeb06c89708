from __future__ import annotations

from pathlib import Path

import pytest
from programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Return a folder of fake programs."""
    return Programs(tmp_path)
