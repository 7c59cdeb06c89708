"""`ablate results` filters, groups, sorts, prints and writes results."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import ablate
from scipy import stats
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis

ARMS = [
    FakeArm("baseline", "baseline", accuracies=[0.10, 0.11, 0.12]),
    FakeArm("aim", "aim", accuracies=[0.15, 0.17, 0.16]),
    FakeArm("wide", "other", accuracies=[0.12, 0.13, 0.14]),
]


Ablate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Ablate:
    return partial(ablate, capsys, "results")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    directory: Path = write_study(folder / "study", FakeStudy(ARMS, [0, 1, 2]), np.random.default_rng(0))
    return directory


def test_groups_are_summarized_and_sorted_and_explained(study: Path, command: Ablate) -> None:
    code, out, _err = command(study, "--by", "arm", "--stat", "mean,ci,n", "--sort", "-mean", "--wide")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["arm", "mean", "lower", "upper", "n"]
    assert [line.split()[0] for line in lines[1:4]] == ["aim", "wide", "baseline"]
    shown = [float(number) for number in lines[1].split()[1:4]]
    measured = analysis.load(study).where("arm = aim")["test_accuracy"].astype(float)
    low, high = stats.t.interval(0.95, 2, loc=measured.mean(), scale=stats.sem(measured))
    assert shown == pytest.approx([measured.mean(), low, high], abs=6e-5)
    assert " ".join(out.split()).endswith(
        "test_accuracy over the runs in each group; lower and upper: 95 % t interval of the mean, treating runs as "
        "independent"
    )


def test_without_intervals_the_explanation_does_not_mention_any(study: Path, command: Ablate) -> None:
    _code, out, _err = command(study, "--by", "arm", "--stat", "n,max", "--value", "seconds", "--wide")
    assert out.endswith("\nseconds over the runs in each group\n")


def test_conditions_and_columns_select_rows_and_columns(study: Path, command: Ablate) -> None:
    _code, out, _err = command(study, "--where", "seed >= 1 and arm in ('aim', 'wide')", "--columns", "arm,seed")
    rows = [line.split() for line in out.splitlines()]
    assert sorted(rows[1:]) == [["aim", "1"], ["aim", "2"], ["wide", "1"], ["wide", "2"]]


def test_an_empty_table_says_what_the_columns_in_the_conditions_contain(study: Path, command: Ablate) -> None:
    _code, out, _err = command(study, "--where", "arm = basline or seed > 5", "--wide")
    assert out.splitlines()[1:] == [
        "No row satisfies the conditions.",
        "arm contains baseline, aim and wide.",
        "seed ranges from 0 to 2.",
    ]
    assert "No row satisfies" not in command(study, "--where", "arm = baseline")[1]
    assert "No row satisfies" not in command(study, "--where", "arm = x", "--csv", "-")[1], "a file has rows only"


def test_csv_and_parquet_contain_only_the_selected_rows(study: Path, tmp_path: Path, command: Ablate) -> None:
    _, out, _ = command(study, "--by", "arm", "--csv", "-", "--parquet", str(tmp_path / "x.parquet"))
    frame = pd.read_csv(io.StringIO(out))
    assert list(frame["arm"]) == ["baseline", "aim", "wide"]
    pd.testing.assert_frame_equal(frame, pd.read_parquet(tmp_path / "x.parquet"), check_dtype=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "arn"], "column 'arn'"),
        (["--by", "arm", "--stat", "avg"], "--stat avg: this is not a list of statistics; give one or more of"),
        (["--by", "arm", "--value", "arm"], "arm"),
        (["--where", "seed >"], "seed >"),
        (["--sort", "accuracy"], "accuracy"),
        (["--csv", "/nowhere/x.csv"], "--csv /nowhere/x.csv: cannot be written"),
        (["--table", "models", "--where", "seed = 1"], "seed"),
    ],
)
def test_impossible_requests_are_refused_with_a_reason(
    words: list[str], message: str, study: Path, command: Ablate
) -> None:
    code, _out, err = command(study, *words)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
