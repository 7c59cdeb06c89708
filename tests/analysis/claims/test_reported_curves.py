"""The figure of the reported runs shows the values from the logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.claims import read_claim
from analysis.figures import reported
from analysis.figures.palette import marks


def test_the_summary_marks_the_best_epochs_and_every_drop_in_the_learning_rate() -> None:
    curves = read_claim("stanford_dogs_aim").curves
    before = curves.copy()
    summary = reported.summarise(curves)
    assert curves.equals(before)
    assert len(summary) == len(curves) == 90
    best = summary[summary["best"]].set_index("arm")
    assert best["epoch"].to_dict() == {"resnet50": 33, "aim_resnet50": 50}
    assert best["accuracy"].round(2).to_dict() == {"resnet50": 15.26, "aim_resnet50": 20.06}
    falls = summary[summary["falls"]].groupby("arm")["epoch"].apply(list).to_dict()
    assert falls == {"resnet50": [28, 37, 40], "aim_resnet50": [12, 44]}


def test_the_caption_states_the_best_epochs() -> None:
    text = reported.caption(reported.summarise(read_claim("stanford_dogs_aim").curves))
    assert "resnet50 reached 15.26 % in epoch 33 of 40; its learning rate fell after epochs 27, 36 and 39" in text
    assert "aim_resnet50 reached 20.06 % in epoch 50 of 50; its learning rate fell after epochs 11 and 43" in text


def test_the_caption_says_if_a_learning_rate_never_drops() -> None:
    curves = read_claim("stanford_dogs_aim").curves.assign(learning_rate=1e-3)
    assert reported.caption(reported.summarise(curves)).count("its learning rate fell never") == 2


def test_the_figure_shows_a_curve_per_arm_and_the_chance_level(tmp_path: Path) -> None:
    summary = reported.summarise(read_claim("stanford_dogs_aim").curves)
    figure = reported.draw(summary, marks(["resnet50", "aim_resnet50"]), chance=100 / 120)
    upper, lower = figure.axes
    assert {text.get_text() for text in upper.texts} == {"20.06 %, epoch 50", "15.26 %, epoch 33", "chance"}
    assert len(lower.lines) == 2
    assert reported.write(tmp_path) == reported.caption(summary)
    assert (tmp_path / "reported-curves.svg").stat().st_size < 100_000
    assert (tmp_path / "reported-curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["reported-curves.svg"])
def test_the_documented_command_produces_the_documented_figure(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "analysis.figures.reported", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    root = Path(__file__).parents[3]
    assert done.stdout.split("(")[0].split() == _said((root / "docs" / "claim.md").read_text()).split("(")[0].split()
    assert (tmp_path / name).read_text()[:200] == (root / "docs" / "images" / name).read_text()[:200]


def _said(page: str) -> str:
    start = page.index("aim_resnet50 reached")
    return page[start : page.index("`python -m", start)]
