from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ablations.commands import data as data_cli
from aimlib.errors import ConfigError, DataError, PluginError, UsageError

HEAVY = ("numpy", "PIL", "torch", "ray", "pandas", "scipy", "sklearn")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(data_cli.app, arguments)


def options(dogs: Any) -> list[str]:
    return ["--root", str(dogs.root), "--set", "classes=3"]


def test_importing_the_commands_and_showing_help_load_no_heavy_modules() -> None:
    code = f"import sys, ablations.commands.data\nheavy = set({HEAVY}) & set(sys.modules)\nassert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in ("download", "verify", "prepare", "info"))


def test_info_changes_after_the_data_is_packed(dogs: Any) -> None:
    before = run("info", "stanford_dogs", "--size", "8", *options(dogs))
    assert before.exit_code == 0
    assert "none yet; run ablate data prepare stanford_dogs" in before.output
    assert "12 training and 6 test images" in before.output
    assert "n00000002-Breed_2      4      2" in before.output
    prepared = run("prepare", "stanford_dogs", "--size", "8", *options(dogs))
    assert prepared.exit_code == 0
    fingerprint = dogs.plugin().load().fingerprint
    assert fingerprint in prepared.output
    assert fingerprint in run("info", "stanford_dogs", "--set", "size=8", *options(dogs)).output
    assert str(dogs.plugin().pack().folder) in prepared.output


def test_info_shows_the_data_sets_own_validation_images(dogs: Any, tmp_path: Path) -> None:
    table = tmp_path / "dogs.csv"
    written = run("index", "stanford_dogs", "--out", str(table), "--validation-fraction", "0.25", *options(dogs))
    assert written.output.endswith("9 train, 3 val, 6 test\n")
    where = ["--root", str(dogs.root / "Images"), "--set", f"file={table}", "--set", "classes=3"]
    shown = run("info", "image_index", *where)
    assert "image_index: 9 training, 3 validation and 6 test images" in shown.output
    assert "train  validation   test" in shown.output
    assert "n00000002-Breed_2      3           1      2" in shown.output
    assert (
        data_cli.info("image_index", str(dogs.root / "Images"), None, {"file": str(table), "classes": 3}).validation
        == 3
    )
    assert data_cli.info("digits").validation is None


def test_info_describes_data_that_is_not_packed() -> None:
    result = run("info", "digits", "--set", "train_images=20", "--set", "channels=3")
    assert result.exit_code == 0
    assert "20 training and 500 test images" in result.output
    assert "16 x 16 x 3, 10 classes" in result.output
    assert data_cli.prepare("digits").fingerprint == data_cli.info("digits").fingerprint


def test_verify_exits_with_code_1_if_it_finds_a_problem(dogs: Any) -> None:
    good = run("verify", "stanford_dogs", "--set", "size=8", *options(dogs))
    assert good.exit_code == 0
    assert good.output.endswith("stanford_dogs: no problems, 1 remark\n"), "PNG inside files named .jpg"
    path = dogs.splits["train"][0][0]
    dogs.write(path, b"")
    bad = run("verify", "stanford_dogs", "--set", "size=8", *options(dogs))
    assert bad.exit_code == 1
    assert f"empty: {path}" in bad.output
    assert "1 problem, 1 remark\n" in bad.output


def test_download_accepts_an_existing_folder_tree(dogs: Any) -> None:
    result = run("download", "stanford_dogs", "--root", str(dogs.root))
    assert result.exit_code == 0
    assert str(dogs.root) in result.output


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["info", "digit"], ConfigError, "did you mean 'digits'"),
        (["info", "digits", "--root", "x"], ConfigError, "root: unknown key"),
        (["info", "digits", "--set", "size"], UsageError, "KEY=VALUE"),
        (["info", "digits", "--set", "size=[1"], UsageError, "not valid YAML"),
        (["info", "digits", "--set", "size=8", "--set", "size=9"], UsageError, "twice"),
        (["info", "digits", "--set", "size=small"], ConfigError, "size"),
        (["download", "digits"], UsageError, "scikit-learn"),
        (["download", "stanford_dogs", "--base-url", "ftp://x"], DataError, "http"),
        (["prepare", "stanford_dogs"], DataError, "ablate data download stanford_dogs"),
    ],
)
def test_mistakes_raise_errors_for_the_main_command_line(
    arguments: list[str], error: type, message: str, tmp_path: Path
) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert isinstance(result.exception, UsageError)
    assert not isinstance(result.exception, PluginError)
    assert message in str(result.exception)


def test_progress_bars_are_drawn_only_on_a_terminal(dogs: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with data_cli._bars() as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with data_cli._bars() as progress:
        assert progress is not None
        progress("packing", 1, 2)
        progress("packing", 2, 2)
    assert "packing" in capsys.readouterr().err


def test_order_lists_the_first_batch_and_the_images_in_an_incomplete_last_batch(dogs: Any) -> None:
    found = data_cli.order("stanford_dogs", str(dogs.root), batch_size=4, settings={"classes": 3})
    first, left_out = found["test"]
    assert (len(first), len(left_out)) == (4, 2)
    assert not set(first) & set(left_out)
    assert data_cli.order("stanford_dogs", str(dogs.root), "sha256", 4, {"classes": 3})["train"] != found["train"]
    shown = run("order", "stanford_dogs", "--batch-size", "4", *options(dogs))
    assert shown.exit_code == 0
    assert [f"   {place}  {name}" in shown.output for place, name in enumerate(first, 1)] == [True] * 4
    assert f"test: images in an incomplete last batch: {', '.join(left_out)}\n" in shown.output
    with pytest.raises(UsageError, match="batch_size: must be at least 1"):
        data_cli.order("digits", batch_size=0)
