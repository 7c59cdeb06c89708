"""The example of a third-party package can be installed, listed, tested for conformance, searched and used in a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the package into its own folder; return an environment in which Python finds it."""
    folder = tmp_path_factory.mktemp("package")
    copied = folder / "source"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    target = folder / "site"
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(copied)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], *arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plugins_are_listed_with_their_distribution(installed: dict[str, str]) -> None:
    listed = run(installed, "-c", "from ablations.commands.app import app; app(['plugins'])")
    for name in ("every_nth", "smoothing"):
        assert any(name in line and "aim-extras 0.1.0" in line for line in listed.splitlines()), listed


@pytest.mark.slow  # a separate pytest session of `aimlib.testing`, which is also tested on every built-in component
def test_plugins_pass_the_conformance_tests(installed: dict[str, str]) -> None:
    report = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE / "tests"), "-c", os.devnull)
    assert "passed" in report
    assert "failed" not in report


CODE = """
import json
from aimlib.config import RunConfig
from aimlib.registry import datasets, placements, updates
from aimlib.training.loop import train

assert placements.get("every_nth").search_space["n"].high == 8
assert updates.get("smoothing").search_space["rate"].log
config = RunConfig.parse({
    "model": {
        "backbone": {"name": "small_resnet", "widths": [4, 8], "blocks": [1, 1]},
        "memory": {"name": "conv_ones", "channels": 8, "rows": 2, "columns": 2},
        "placement": {"name": "every_nth", "n": 3},
        "update": "smoothing",
    },
    "data": {"name": "digits", "size": 8, "train_images": 60},
    "training": {"epochs": 1, "batch_size": 20, "optimizer": "adam", "selection": "last_epoch"},
    "seed": 0,
})
outcome = train(config, datasets.create(config.data).load())
document = config.model_dump(mode="json")
document["model"]["placement"]["n"] = 2
ids = [each.run_id("0" * 20) for each in (config, RunConfig.parse(document))]
print(json.dumps({"status": outcome.status, "ids": ids, "epochs": len(outcome.epochs)}))
"""


def test_a_run_uses_the_plugins_and_their_options_are_part_of_its_identity(installed: dict[str, str]) -> None:
    found = json.loads(run(installed, "-c", CODE).splitlines()[-1])
    assert (found["status"], found["epochs"]) == ("finished", 1)
    assert len(set(found["ids"])) == 2


def test_the_names_of_the_plugins_are_unknown_without_the_package() -> None:
    from aimlib.registry import placements

    assert "every_nth" not in placements.names()
