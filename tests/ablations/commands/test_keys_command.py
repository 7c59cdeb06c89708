"""`ablate keys` prints the keys of a study in 80 columns, as tables, or as a JSON Schema."""

from __future__ import annotations

import json

import pytest
from in_process import ablate

import ablations


def test_the_command_prints_in_80_columns_what_the_function_returns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ablate(capsys, "keys", "training.schedule")
    assert code == 0
    assert out == f"{ablations.keys('training.schedule')!r}\n"
    assert max(map(len, out.splitlines())) <= 80
    assert "training.schedule.cosine.warmup_epochs\n    number of at least 0; default 0\n" in out
    assert "Source: Loshchilov and Hutter, 2017" in out


def test_options_of_components_are_shown_only_if_the_prefix_leads_to_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = ablate(capsys, "keys", "training")
    assert "\ntraining.validation_fraction\n    share from 0 to below 1; default 0.1\n" in out
    assert "training.data_on\n    one of: auto, device, host; default auto; not in the run id\n" in out
    assert "training.optimizer.adam" not in out
    assert (
        "To list components and their options, use one of these prefixes: training.optimizer, training.schedule,"
        in " ".join(out.split())
    )
    assert "training.optimizer.adam.beta1" in [key.address for key in ablations.keys("training")]


def test_an_unknown_prefix_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ablate(capsys, "keys", "training.epoch")
    assert (code, out) == (2, "")
    assert err.startswith("error: keys: there is no key 'training.epoch'; nearest: training.epochs")


def test_the_schema_describes_an_entire_study(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ablate(capsys, "keys", "--format", "json-schema")
    assert code == 0
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    code, _, err = ablate(capsys, "keys", "training", "--format", "json-schema")
    assert (code, "omit 'training'" in err) == (2, True)


def test_tables_for_a_prefix_have_no_introduction(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ablate(capsys, "keys", "model.carry", "--format", "markdown")
    assert out.startswith("## The network\n\n| key |")
    assert "| `decay` | share from 0 to below 1 | `0.9` | yes | Weight of earlier batches" in out


def test_a_notebook_shows_a_table() -> None:
    shown = ablations.keys("training.early_stopping")._repr_html_()
    assert "<table>" in shown
    assert "training.early_stopping.patience" in shown
