"""Tables on a terminal, in a pipe, and with --wide."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from ablations.commands import run_tables
from ablations.commands.console_tables import Table, frame, show
from ablations.commands.options import console
from ablations.search.trials import Outcome, State, Trial

ARMS = [f"aim[placement={p},channels={c}]" for p in ("block_entry", "every_layer") for c in (4, 8, 16)]


def printed(table: Table | pd.DataFrame, width: int = 80, *, terminal: bool = True, **options: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, emoji=False)
    (frame if isinstance(table, pd.DataFrame) else show)(table, console, **options)  # type: ignore[arg-type]
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def arms(names: Sequence[str] = ARMS, columns: int = 5) -> Table:
    headings = ["arm", *(f"number {at}" for at in range(columns))]
    rows = [[name, *(f"{1000 * at + row:,}" for at in range(columns))] for row, name in enumerate(names)]
    return Table(headings, rows, right=headings[1:], droppable=headings[:0:-1])


def test_a_table_that_fits_is_printed_in_full_without_a_remark() -> None:
    lines = printed(arms(columns=2))
    assert len(lines) == 1 + len(ARMS)
    assert [line.split()[0] for line in lines[1:]] == ARMS


def test_names_are_shortened_before_columns_are_left_out_in_a_fixed_order() -> None:
    lines = printed(arms(), 80)
    assert lines[-1] == "… shortened: arm (whole: --wide)"
    narrow = printed(arms(), 50)
    assert "number 0" in narrow[0]
    assert "number 4" not in narrow[0]
    assert "left out: number" in " ".join(narrow)


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), min_size=1, max_size=12, unique=True),
    st.integers(20, 200),
    st.integers(1, 8),
)
def test_lines_fit_and_numbers_are_never_cut_off(names: list[str], width: int, columns: int) -> None:
    table = arms(names, columns)
    lines = printed(table, width)
    assert all(cell_len(line) <= width for line in lines)
    kept = sum(f"number {at}" in lines[0] for at in range(columns))
    for row, line in zip(table.rows, lines[1:], strict=False):
        assert line.split()[len(line.split()) - kept :] == list(row[1 : 1 + kept])


def test_a_pipe_gets_every_row_and_every_full_name_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [f"aim[{'placement=every_layer,' * 5}channels={number}]" for number in range(100)]
    lines = printed(arms(names), 80, terminal=False, most=10)
    assert [line.split()[0] for line in lines[1:]] == names


def test_a_pipe_respects_the_columns_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert all(len(line) <= 50 for line in printed(arms(), 50, terminal=False))


def test_sentences_are_wrapped_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "a verdict of many words " * 20
    for columns, lines in ((None, 1), ("80", 7)):
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", columns)
        console().print(sentence.strip())
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_wide_prints_everything_on_a_terminal() -> None:
    lines = printed(arms([*ARMS] * 20), 40, wide=True, most=10)
    assert len(lines) == 1 + 20 * len(ARMS)
    assert lines[0].split()[-1] == "4"


def test_a_table_with_many_rows_is_cut_off_and_the_remaining_rows_are_counted() -> None:
    data = pd.DataFrame({"arm": [f"arm {number}" for number in range(400)], "mean": [0.123456] * 400})
    lines = printed(data)
    assert len(lines) == 1 + 40 + 1
    assert lines[-1] == "… 360 more rows (whole: --wide)"
    assert len(printed(data, wide=True)) == 401


def test_sentences_are_wrapped_between_words() -> None:
    reason = "RuntimeError: the disk of this machine is full, so that the checkpoint could not be written to it"
    lines = printed(pd.DataFrame({"arm": ["aim"], "seed": [1], "reason": [reason]}), 60)
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(" ".join(line[9:] for line in lines[1:]).split()) == reason


def test_a_frame_keeps_arm_and_seed_and_accuracy_to_the_end() -> None:
    data = pd.DataFrame(
        {
            "arm": ARMS[:2],
            "seed": [0, 1],
            "status": ["finished"] * 2,
            "test_accuracy": [0.51234, None],
            "validation_accuracy": [0.5, 0.5],
            "seconds": [1.0, 2.0],
            "run_id": ["0" * 20] * 2,
        }
    )
    lines = printed(data, 60)
    assert lines[0].split()[:4] == ["arm", "seed", "status", "test_accuracy"]
    assert "left out: " in " ".join(lines)
    assert "run_id" in " ".join(lines).split("left out: ")[1]
    assert lines[1].split()[3] == "0.5123"
    assert lines[2].split()[3] == "–"


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (
            ["complete", "unbuildable", "infeasible", "infeasible"],
            "Of 4 sampled configurations, 1 cannot be built and 2",
        ),
        (["complete", "infeasible"], "Of 2 sampled configurations, 1 violates a constraint; it was not trained."),
        (["complete", "unbuildable"], "Of 2 sampled configurations, 1 cannot be built; it was not trained."),
        (["complete", "complete"], ""),
    ],
)
def test_unbuildable_configurations_and_violated_constraints_are_distinguished(
    states: Sequence[State], said: str
) -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    found = [
        Trial("aim", number, {}, {}, "", (), "", Outcome(state, value=0.5 if state == "complete" else None))
        for number, state in enumerate(states)
    ]
    run_tables.trials(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert said in text
    assert bool(said) == ("sampled" in text)
