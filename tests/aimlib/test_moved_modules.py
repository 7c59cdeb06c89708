"""Moved modules can still be imported under their earlier names, with a warning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aimlib
from aimlib import records


def python(code: str, *options: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Execute code in a new interpreter; if `path` is given, this folder comes first on the module search path."""
    folders = [str(path)] if path else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_only_an_old_name_gives_a_warning_and_it_returns_the_same_module() -> None:
    """New names do not cause warnings, not even in modules that an import loads indirectly."""
    code = """
import importlib, json, sys, warnings
import aimlib
found = {}
for old, new in aimlib.MOVED.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(f"import {old}")
        exec(f"import {new}")
    package, _, name = old.rpartition(".")
    found[old] = [
        sys.modules[old] is importlib.import_module(new),
        getattr(sys.modules[package], name) is sys.modules[new],
        sys.modules[new].__name__ == sys.modules[new].__spec__.name == new,
        [[w.category.__name__, str(w.message), w.filename] for w in caught if "is now" in str(w.message)],
    ]
print(json.dumps(found))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(aimlib.MOVED)
    for old, new in aimlib.MOVED.items():
        told = [["DeprecationWarning", f"{old} is now {new}; import that", "<string>"]]
        assert found[old] == [True, True, True, told], old


@pytest.mark.parametrize(
    "statement",
    [
        "import ablations.spec.seeds",
        "from analysis.query import select",
        "from aimlib import dimensions",
        pytest.param("import ablations.launch", marks=pytest.mark.slow),  # this import loads torch
        pytest.param("from analysis.audit import audit", marks=pytest.mark.slow),
    ],
)
def test_an_old_name_is_found_regardless_of_which_package_is_imported_first(statement: str) -> None:
    done = python(statement, "-W", "always")
    assert done.returncode == 0, done.stderr
    assert "DeprecationWarning" in done.stderr


def test_a_name_that_never_existed_is_not_found() -> None:
    done = python("import aimlib.attachments")
    assert "ModuleNotFoundError: No module named 'aimlib.attachments'" in done.stderr


OLD_PLUGIN = '''
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from aimlib.attachment import AimNetwork
from aimlib.component import ComponentConfig
from aimlib.dimensions import Dimension, Real
from aimlib.initialization import declare
from aimlib.memory.places import wanted_points
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.training.stopping import should_stop
from aimlib.updates.base import MemoryUpdate, as_map, channels_of, pool_to


@updates.register("old_smoothing")
class OldSmoothing(MemoryUpdate):
    """An update as it was written for the layout before."""

    search_space: ClassVar[dict[str, Dimension]] = {"rate": Real(0.01, 1.0, log=True)}

    class Config(ComponentConfig):
        rate: Annotated[float, Field(gt=0, le=1)] = 0.1

    def __init__(self, config, features, memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        self.project = nn.Conv2d(channels_of(features, config.name, where), memory.channels, 1)

    def forward(self, features, memory_NCHW):
        seen = self.project(pool_to(as_map(features), self.memory_size.rows, self.memory_size.columns))
        return memory_NCHW.lerp(seen, self.config.rate)
'''


@pytest.mark.slow  # test_plugin_package.py trains with the present layout
def test_a_plugin_package_with_the_earlier_layout_is_found_searched_and_trained(tmp_path: Path) -> None:
    info = tmp_path / "aim_old-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aim-old\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aimlib.updates]\nold_smoothing = aim_old\n")
    (tmp_path / "aim_old.py").write_text(OLD_PLUGIN)
    code = """
from aimlib.config import RunConfig
from aimlib.registry import datasets, updates
from aimlib.training.loop import train
from ablations.search import described, space

assert "old_smoothing" in updates.names()
document = {
    "backbone": {"name": "small_resnet", "widths": [4, 8], "blocks": [1, 1]},
    "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2},
    "placement": "every_layer",
    "update": "old_smoothing",
}
print(*map(described, space(("model.update.rate",), {"model": document})))
config = RunConfig.parse({
    "model": document,
    "data": {"name": "digits", "size": 8, "train_images": 60},
    "training": {"epochs": 1, "batch_size": 20, "optimizer": "adam", "selection": "last_epoch"},
    "seed": 0,
})
print(train(config, datasets.create(config.data).load()).status)
"""
    done = python(code, "-W", "always", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["model.update.rate: 0.01 to 1, logarithmic", "finished"]
    assert f"{tmp_path / 'aim_old.py'}:9: DeprecationWarning: aimlib.dimensions is now aimlib.component" in done.stderr


def test_a_class_with_a_new_name_is_found_under_its_old_name_with_a_warning() -> None:
    from aimlib.training import checkpoint_manager

    with pytest.warns(DeprecationWarning, match="Keeper is now CheckpointManager"):
        assert checkpoint_manager.Keeper is checkpoint_manager.CheckpointManager
    with pytest.raises(AttributeError, match="has no attribute 'Keepers'"):
        _ = checkpoint_manager.Keepers


def test_the_parts_of_a_record_can_be_used_under_their_earlier_names_with_a_warning() -> None:
    record = records.RunRecord({"seed": 1}, [], np.zeros((0, 0), dtype=np.uint8))
    with pytest.warns(FutureWarning, match=r"RunRecord\.trial is now RunRecord\.run"):
        assert record.trial is record.run
    with pytest.warns(FutureWarning, match=r"records\.TRIALS is now aimlib\.records\.RUN_COLUMNS") as caught:
        assert records.TRIALS is records.RUN_COLUMNS
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'NOTHING'"):
        records.NOTHING  # noqa: B018
