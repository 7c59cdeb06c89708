"""`ablate check` shows the facts of a study's claim next to the study's values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import ablate

import ablations
from aimlib.errors import ConfigError
from analysis.claims import read_claim

StudyMaker = Callable[..., Path]
OWN: dict[str, Any] = {
    "name": "mine",
    "statement": "It helps.",
    "source": {"post": "somewhere"},
    "reported": [{"source": "post", "baseline": 0.9, "treatment": 0.94}],
    "delta_pp": 1.0,
    "scope": {
        "dataset": ["digits"],
        "classes": [10],
        "image_size": [8],
        "backbone": ["*"],
        "protocol": ["*"],
        "data_fingerprint": ["*"],
    },
    "facts": {
        "training": [
            {"fact": "batch size", "as_run": 16, "source": "their code", "study": {"option": "training.batch_size"}},
            {"fact": "machine", "as_run": "a laptop", "as_described": "not said", "source": "their mail"},
        ],
        "memory": [
            {
                "fact": "values",
                "as_run": {"aim": 99},
                "as_described": {"treatment": 100},
                "source": "their paper",
                "study": {"network": "memory_values"},
            }
        ],
    },
}


@pytest.fixture
def own_claim(tmp_path: Path) -> Callable[..., str]:
    def write(**changes: Any) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**OWN, **changes}, sort_keys=False), encoding="utf-8")
        return str(path)

    return write


def test_a_claim_file_can_contain_its_own_facts(study: StudyMaker, own_claim: Callable[..., str]) -> None:
    path = study({"claim": own_claim()})
    found = ablations.check(path, timing=False).facts
    assert [(line.topic, line.fact, line.this_study, line.differs) for line in found] == [
        ("training", "batch size", "16", False),
        ("training", "machine", "–", None),
        ("memory", "values", "16", True),
    ]
    assert [line.as_described for line in found] == ["as run", "not said", "100"]
    changed = ablations.check(path, "training.batch_size=8", timing=False).facts[0]
    assert (changed.this_study, changed.differs, changed.source) == ("8", True, "their code")


def test_the_command_prints_the_facts(
    study: StudyMaker,
    own_claim: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = study({"claim": own_claim()})
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = ablate(capsys, "check", path, "--no-timing", "--set", "training.batch_size=8")
    assert code == 0
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "batch size 16 as run ≠ 8 their code" in rows
    assert "machine a laptop not said – their mail" in rows
    assert "this study differs from the original experiment in 2 of the 2 facts that it determines" in " ".join(
        out.split()
    )
    assert "their paper" in ablations.check(path, timing=False)._repr_html_()


def test_a_study_without_a_claim_and_a_study_whose_claim_has_no_facts_print_nothing(
    study: StudyMaker, own_claim: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for changes in ({}, {"claim": own_claim(facts={})}):
        path = study(changes)
        assert ablations.check(path, timing=False).facts == ()
        assert "as run" not in ablate(capsys, "check", path, "--no-timing")[1]


def test_with_other_data_a_terminal_shows_the_number_of_differences_and_a_pipe_shows_all_of_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, study: StudyMaker
) -> None:
    path = study({"claim": "stanford_dogs_aim"})
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "first nine training images" in ablate(capsys, "check", path, "--no-timing")[1]
    monkeypatch.setenv("COLUMNS", "100")
    out = ablate(capsys, "check", path, "--no-timing")[1]
    assert "first nine training images" not in out
    assert "claim stanford_dogs_aim: this study differs from the original experiment in" in out
    assert "first nine training images" in ablate(capsys, "check", path, "--no-timing", "--wide")[1]


def test_the_replication_shows_its_facts_even_without_its_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = ablate(capsys, "check", "replication", "--set", f"data.root={tmp_path}")
    assert code == 2
    assert "Images is missing" in err
    assert max(map(len, out.splitlines())) <= 100
    for text in ("baseline 23,833,592;", "baseline 23,780,472;", "treatment 26,714,360", "unknown without the data"):
        assert text in out
    assert "differs from the original experiment in 1 of" in out


@pytest.mark.parametrize(
    ("study_value", "message"),
    [
        ({"network": "weight"}, "facts.training.0.study.network"),
        ({"option": "training.epochs", "plan": "seeds"}, "give one of option, network, data and plan"),
        ({}, "give one of option, network, data and plan"),
    ],
)
def test_mistakes_in_facts_are_reported(
    own_claim: Callable[..., str], study_value: dict[str, Any], message: str
) -> None:
    wrong = {"training": [{"fact": "epochs", "as_run": 1, "source": "here", "study": study_value}]}
    with pytest.raises(ConfigError, match=message):
        read_claim(own_claim(facts=wrong))
