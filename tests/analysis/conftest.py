"""Fixtures that write synthetic studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_study import ARMS, FakeArm, FakeStudy, write_study

StudyMaker = Callable[..., Path]


@pytest.fixture
def make_study(tmp_path: Path) -> StudyMaker:
    """Return a function that writes a study and returns its directory; keywords are `FakeStudy` fields."""

    def make(
        arms: list[FakeArm] | None = None, seeds: int = 6, draw: int = 0, first_seed: int = 0, **options: Any
    ) -> Path:
        study = FakeStudy([*ARMS] if arms is None else arms, list(range(first_seed, first_seed + seeds)), **options)
        directory = tmp_path / f"study{len(list(tmp_path.iterdir()))}"
        return write_study(directory, study, np.random.default_rng(draw))

    return make
