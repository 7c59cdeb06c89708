"""Mistakes whose original messages were too short: each message now says what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from tiny_study import changed, write

import ablations
from ablations.spec import yaml_documents
from ablations.spec.study import read_study
from aimlib.errors import ConfigError, UsageError

SEARCH: dict[str, Any] = {"vary": "aim", "over": ["training.optimizer.learning_rate"], "trials": 2, "seeds": [90]}


def refusal(folder: Path, changes: dict[str, Any]) -> list[str]:
    path = write(folder, changed(changes))
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    return [each.removeprefix(f"{path}: ") for each in caught.value.problems]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "größe"},
            "a letter or digit first (letters are a-z and A-Z); it becomes a folder's name",
        ),
        ({"measure": "f1"}, "measure: unknown measure 'f1'; did you mean 'macro_f1'? must be one of accuracy, "),
        ({"measure": "macrof1"}, "measure: unknown measure 'macrof1'; did you mean 'macro_f1'? must be one of"),
        (
            {"measure": {"scalar": "perplexity", "better": "less"}, "delta": 1},
            "measure.better: set whether higher or lower is better, e.g. "
            "{scalar: perplexity, better: lower}; got 'less'",
        ),
        (
            {"measure": {"scalar": "perplexity"}, "delta": 1},
            "measure.better: set whether higher or lower is better, e.g. "
            "{scalar: perplexity, better: lower}; it is missing",
        ),
        (
            {"search": {**SEARCH, "sampler": "bayes"}},
            "search.sampler.name: unknown sampler 'bayes'; tpe and gp are Bayesian, so use one of them; known: ",
        ),
        ({"seeds": [0, 1], "search": {**SEARCH, "seeds": [1]}}, "search.seeds: 1 is also a seed of the study, and a"),
        (
            {"seeds": [0, 1], "search": {**SEARCH, "seeds": [0, 1]}},
            "search.seeds: 0, 1 are also seeds of the study, and a",
        ),
    ],
)
def test_one_message_shows_the_intended_notation(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    problems = refusal(tmp_path, changes)
    assert any(message in each for each in problems), problems
    assert not any("measure: measure" in each for each in problems)


def test_a_tuple_is_reported_as_a_single_mistake(tmp_path: Path) -> None:
    for text in ("base: {model: {widths: (4, 8, 16), stem: 1}}", "base: {model: {widths: (4, 8, 16)}}"):
        with pytest.raises(ConfigError) as caught:
            yaml_documents.parse(text, "study.yaml")
        assert caught.value.problems == (
            "study.yaml: base.model.widths: (4, 8, 16) is not a list in YAML; write a list as [4, 8, 16]",
        )
    changes = {"base.model.backbone": {"name": "small_resnet", "widths": "(4, 8, 16)"}}
    path = write(tmp_path, changed(changes))
    with pytest.raises(UsageError, match=r"widths: must be a list; got '\(4, 8, 16\)' \(text\); write \[4, 8, 16\]"):
        ablations.check(path, timing=False)


def test_texts_in_parentheses_are_unchanged() -> None:
    for text, value in (("a: (b), c", "(b), c"), ("a: {b: (c), d: 1}", {"b": "(c)", "d": 1})):
        assert yaml_documents.parse(text, "x") == {"a": value}


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "a: {question: Is it more than regularisation?, options: {}}",
            "put text that contains a question mark in quotes",
        ),
        ("a: {question: this: that, options: {}}", "or put text that contains a colon in quotes"),
    ],
)
def test_text_with_a_special_character_in_braces_must_be_quoted(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        yaml_documents.parse(text, "study.yaml")


def test_the_message_about_an_option_for_the_users_own_class_without_options_suggests_a_nested_class(
    tmp_path: Path,
) -> None:
    code = (
        "from aimlib.registry import losses\nfrom aimlib.training.losses import Loss\n\n"
        '@losses.register("bad")\nclass Bad(Loss):\n'
        "    def forward(self, logits, targets):\n        return self.config.gamma * logits.sum()\n"
    )
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    loss = {"name": "bad", "gamma": 2.0}
    path = write(tmp_path, changed({"plugins": ["own.py"], "base.training.loss": loss}))
    with restored_registries(), pytest.raises(UsageError) as caught:
        ablations.check(path, timing=False, trust=True)
    assert (
        "training.loss.gamma: unknown key; known keys: none: it takes no options; add a nested `class "
        "Config(ComponentConfig):` with this option to its class"
    ) in str(caught.value)
