"""In one small round, each input benchmark produces a row for every case and subject."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = {"datasets": "Hugging Face datasets", "webdataset": "webdataset"}


def asked(module: str) -> str:
    command = [sys.executable, "-m", f"bench.{module}", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # takes 10 s; `test_harness` and `test_analysis_benches` test the code that all benchmarks share
def test_the_benchmark_of_the_input_pipeline_works() -> None:
    lines = asked("input_pipeline").splitlines()
    installed = {distribution.name for distribution in importlib.metadata.distributions()}
    there = [name for package, name in OTHERS.items() if package in installed]
    for subject in ("aim", "ImageFolder", *there, "aim / ImageFolder"):
        assert any(line.split("  ")[0] == "64 px" and f"  {subject}  " in line for line in lines), subject
    for subject in ("aim", "one batch prepared before", "aim / one batch"):
        assert any(line.startswith("training, small_resnet") and f"  {subject}  " in line for line in lines), subject
    assert sum("met" in line.split("images/s")[0].lower() for line in lines if "images/s" in line) >= 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_benchmark_of_shared_data_works() -> None:
    lines = asked("shared_data").splitlines()
    for trials in ("1 trial,", "4 trials,"):
        assert any(line.startswith(f"packed pixels, {trials}") for line in lines)
        for subject in ("aim", "ImageFolder, 1 worker each", "ImageFolder, 2 workers each"):
            assert any(line.startswith(f"all that input added, {trials}") and subject in line for line in lines)
    assert any(line.startswith("met ") and "packed pixels" in line for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_benchmark_of_large_data_works() -> None:
    lines = asked("large_data").splitlines()
    for what in ("prepare", "train"):
        for held in ("anonymous", "mapped"):
            assert any(line.startswith(f"{what}, 400 photos") and f"  {held} " in line for line in lines), (what, held)
        assert any(line.startswith("met ") and f"anonymous MiB to {what} 400 photos" in line for line in lines)
