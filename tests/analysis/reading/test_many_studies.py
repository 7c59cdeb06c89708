"""Several studies loaded together, and the examples in the documentation, which are executed."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from synthetic_study import ARMS, FakeArm, FakeStudy, write_study

import analysis
from aimlib.errors import StoreError

PAGE = Path(__file__).parents[3] / "docs" / "query.md"


def test_frames_of_several_studies_have_a_first_column_with_the_directory(make_study, tmp_path):
    first, second = make_study(seeds=2), make_study([FakeArm("x")], first_seed=7, seeds=3)
    studies = analysis.load([first, second])
    assert studies.runs.columns[0] == "directory"
    assert studies.runs.groupby("directory", sort=False).size().tolist() == [8, 3]
    assert set(studies.results) == {str(first), str(second)}
    assert len(studies.epochs) == 6 * 11
    (tmp_path / "no_study").mkdir()
    again = analysis.load(sorted(tmp_path.glob("*")))
    assert len(again.runs) == 11
    assert (again.runs.dtypes == studies.runs.dtypes).all()


def test_several_directories_without_any_study_are_an_error(tmp_path):
    with pytest.raises(StoreError, match="none of 1 paths is a study directory"):
        analysis.load([tmp_path])


def test_the_examples_on_the_page_run(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    configs = [
        {"model": {"placement": placement}, "training": {"batch_size": batch_size}}
        for placement, batch_size in product((None, {"name": "stage_only"}), (20, 50))
    ]
    arms = [replace(arm, config=config) for arm, config in zip(ARMS, configs, strict=True)]
    arms[2:] = [
        replace(arm, of="aim", levels={"training.batch_size": size})
        for arm, size in zip(arms[2:], ("20", "50"), strict=True)
    ]
    for name in ("sweep", "other"):
        write_study(Path("results") / name, FakeStudy(arms, list(range(6))), np.random.default_rng(0))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 10
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), scope)
    assert len(scope["studies"].runs) == 24  # both directories contain the same study
