"""Factors in a different notation, or with a different path: the message shows what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_study import changed, write

from ablations.planning.arms import expand
from ablations.spec.advice import key_path_meant
from ablations.spec.study import StudySpec, read_study
from ablations.spec.yaml_documents import parse
from aimlib.errors import ConfigError

SIZE = "training.batch_size"


def problem_of(factors: Any) -> str:
    document = changed({"vary": "aim"}) | {"factors": factors}
    with pytest.raises(ConfigError) as caught:
        StudySpec.parse(document)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("levels", "written"),
    [
        ({"values": [10, 20]}, "[10, 20]"),
        ({"grid_search": [10, 20]}, "[10, 20]"),
        ("10,20", "[10, 20]"),
        ("choice(10, 20)", "[10, 20]"),
        (10, "[10, ...]"),
        ("ten", "[ten, ...]"),
        ({"min": 10, "max": 20}, "[10, 20]"),
        ("interval(10, 20)", "[10, 20]"),
    ],
)
def test_levels_in_a_different_notation_are_shown_as_a_list(levels: Any, written: str) -> None:
    problem = problem_of({SIZE: levels})
    assert f"factors: {SIZE}: write the levels as a list" in problem
    assert f"{{{SIZE}: {written}}}; " in problem
    is_range = "min" in str(levels) or "interval" in str(levels)
    assert ("for all values in between, use a search" in problem) is is_range


@pytest.mark.parametrize(
    ("factors", "written"),
    [
        ({"training": {"batch_size": [10, 20]}}, "{training.batch_size: [10, 20]}"),
        ({"training": {"optimizer": {"learning_rate": [0.1]}}}, "{training.optimizer.learning_rate: [0.1]}"),
        ({"model": {"memory": {"channels": {"values": [2, 4]}}}}, "{model.memory.channels: [2, 4]}"),
    ],
)
def test_nested_keys_are_shown_as_a_single_key(factors: Any, written: str) -> None:
    assert f"write a key path as one key: {written}" in problem_of(factors)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("batch_size", "training.batch_size"),
        ("lr", "training.optimizer.learning_rate"),
        ("optimizer.learning_rate", "training.optimizer.learning_rate"),
        ("optimizer__lr", "training.optimizer.learning_rate"),
        ("training/batch_size", "training.batch_size"),
        ("base.training.batch_size", "training.batch_size"),
        ("arms.aim.model.update", "model.update"),
        ("Training.epochs", "training.epochs"),
        ("trainig.epochs", "training.epochs"),
        (".training..epochs.", "training.epochs"),
        ("memory.channels", "model.memory.channels"),
    ],
)
def test_a_path_in_a_different_notation_is_shown_as_a_key_path(path: str, meant: str) -> None:
    assert key_path_meant(path) == meant
    assert (
        f"factors.{path}: not a key path below model, data, training, options; did you mean {meant!r}?"
        in problem_of({path: [1, 2]})
    )


@pytest.mark.parametrize("path", ["seed", "name", "", "1", "*"])
def test_text_that_is_not_an_option_of_a_run_is_not_a_key_path(path: str) -> None:
    assert key_path_meant(path) is None
    assert "use one, e.g. model.placement" in problem_of({path: [1, 2]})


def test_an_option_of_a_different_component_is_not_suggested_for_the_same_place(tmp_path: Path) -> None:
    factors = {"training.optimizer": ["sgd", "adam"], "training.optimizer.momentum": [0.0, 0.9]}
    with pytest.raises(ConfigError, match=r"factors.training.optimizer.momentum: unknown key; known keys: beta1"):
        expand(read_study(write(tmp_path, changed({"vary": "aim"}) | {"factors": factors})))


def test_the_message_about_a_misplaced_factor_path_suggests_the_full_path(tmp_path: Path) -> None:
    factors = {"model.*.channels": [2, 4]}
    with pytest.raises(ConfigError, match=r"it belongs elsewhere: set factors.model.memory.channels;"):
        expand(read_study(write(tmp_path, changed({"vary": "aim"}) | {"factors": factors})))


def test_a_call_that_yaml_splits_is_shown_complete() -> None:
    with pytest.raises(ConfigError, match=r"a.b: range\(10, 20, 2\) is not one value in YAML.*put it in quotes"):
        parse("a: {b: range(10, 20, 2), c: 3}", "x")
    assert parse("a: {b: 'range(10, 20)', c: f(x), d: '(e'}", "x")["a"]["c"] == "f(x)"


def test_equal_keys_are_reported_with_a_single_remedy() -> None:
    with pytest.raises(
        ConfigError, match=r"'1.0' is given a second time: it equals '1' on line 1; rename one of them$"
    ):
        parse("{1: a, 1.0: b}", "x")


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        ("design", "Full-Factorial", "did you mean 'full_factorial'?"),
        ("design", "leave-one-out", "did you mean 'leave_one_out'?"),
        ("design", "grid", "did you mean 'full_factorial'?"),
        ("design", "OFAT", "did you mean 'one_at_a_time'?"),
        ("design", "plackett_burman", "did you mean 'fractional_factorial'?"),
        ("design", ["ladder"], "write ladder"),
        ("vary", ["aim"], "write aim"),
        ("name", 1, "put it in quotes: '1'"),
        ("name", True, "put it in quotes: 'true'"),
        ("base.training.shuffle", "NO", "write false"),
        ("base.training.shuffle", "on", "write true"),
        ("base.training.shuffle", "True", "write true"),
        ("base.training.batch_size", "1_000", "write 1000"),
        ("base.training.batch_size", "1,000", "write 1000"),
        ("base.training.batch_size", 1e1, "write 10"),
        ("base.training.batch_size", "10", "write 10 without quotes"),
    ],
)
def test_values_in_the_notation_of_other_tools_or_yaml_1_1_are_shown_in_the_notation_of_studies(
    tmp_path: Path, key: str, given: Any, said: str
) -> None:
    document = changed({"factors": {}, "vary": "aim"}) | {"factors": {SIZE: [10, 20]}}
    if key.startswith("base."):
        document = changed({key: given})
    else:
        document |= {key: given}
    with pytest.raises(ConfigError) as caught:
        expand(read_study(write(tmp_path, document)))
    assert [
        problem for problem in caught.value.problems if f"{key}: must be" in problem and problem.endswith(f"; {said}")
    ]


@pytest.mark.parametrize(("key", "given"), [("base.training.shuffle", "maybe"), ("base.training.batch_size", "ten")])
def test_no_suggestion_is_made_for_other_values(tmp_path: Path, key: str, given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(read_study(write(tmp_path, changed({key: given}))))
    assert caught.value.problems[0].endswith(f"got {given!r} (text)")
