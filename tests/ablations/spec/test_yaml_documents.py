"""Study files are strict YAML 1.2, and are merged and overridden predictably."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.spec import yaml_documents
from ablations.spec.study import read_study
from aimlib.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e5", 1e5),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("12", 12),
        ("+5", 5),
        ("-7", -7),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("=", "="),
        ('"1e-3"', "1e-3"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = yaml_documents.parse(f"a: {text}" if text != "-" else "a:\n-", "f")["a"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number_that_no_option_accepts() -> None:
    assert math.isnan(yaml_documents.parse("a: .nan", "f")["a"])


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3:1", "key 'a' is given twice"),
        ("x:\n  b: {c: 1, c: 2}\n", ":2:13", "key 'c' is given twice"),
        ("a: [1, 2\n", ":2:1", "expected ',' or ']'"),
        ("a:\n\t- b\n", ":2:1", "cannot start any token"),
        ("a: b: c\n", ":1:5", "mapping values are not allowed here"),
        ("a: *nobody\n", ":1:4", "undefined alias 'nobody'"),
        ("a: 1\n---\nb: 2\n", ":2:1", "another document"),
        ("a: {? [1]: 2}\n", ":1:7", "unhashable key"),
        ("a: !!python/object/apply:os.system ['touch pwned']\n", ":1:4", "tag"),
        ("a: !!python/name:os.system\n", ":1:4", "tag"),
        ("a: !mine 1\n", ":1:4", "tag '!mine'"),
        ("a: \x00\n", "", "special characters are not allowed"),
        ("a: !!timestamp 2020-01-01\n", "", "tags are not used in studies"),
        ("a: !!binary aGk=\n", "", "tags are not used in studies"),
        ("a: !!set {b, c}\n", "", "tags are not used in studies"),
        (f"a: {'7' * 5000}\n", "", "not valid YAML"),
        ("- a\n- b\n", "", "a study is a mapping from keys to values, but this file contains a list"),
        ("", "", "this file contains nothing"),
        ("just text", "", "this file contains a single value"),
    ],
)
def test_a_file_that_is_not_a_study_is_refused_with_the_place_of_the_problem(
    tmp_path: Path, text: str, where: str, what: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        yaml_documents.read(path)
    (problem,) = refusal.value.problems
    assert problem.startswith(f"{path}{where}: ")
    assert what in problem
    assert "\n" not in problem
    assert not (tmp_path / "pwned").exists()


def test_a_file_that_cannot_be_read_is_reported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    with pytest.raises(ConfigError, match=r"study.yaml: cannot be read: .*No such file"):
        yaml_documents.read(path)
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"study.yaml: is not UTF-8: .*save it as UTF-8"):
        yaml_documents.read(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    with path.open("wb") as file:
        file.truncate(10**11)  # a sparse file, which takes no space on disk but does not fit in RAM
    with pytest.raises(ConfigError, match="it has more than 1,000,000 bytes, the limit"):
        yaml_documents.read(path)


@pytest.mark.parametrize("text", ["[" * 50_000, "[" * 3_000 + "]" * 3_000, "{a: " * 3_000 + "1" + "}" * 3_000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"f: not a study: its values are nested too deeply"):
        yaml_documents.parse(text, "f")


def test_aliases_that_expand_without_limit_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="with its aliases expanded, it has more than 100000 values"):
        yaml_documents.parse("\n".join(lines), "f")
    for endless in ("a: &a [*a]", "base: &b {model: *b}"):
        with pytest.raises(ConfigError, match="with its aliases expanded"):
            yaml_documents.parse(endless, "f")


def test_anchors_and_merge_keys_are_supported() -> None:
    read = yaml_documents.parse("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x]\n", "f")
    assert read == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": [{"a": 1, "b": 2}]}


# Merging

MERGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "options of the same component",
        {"memory": {"name": "a", "x": 1}},
        {"memory": {"x": 2}},
        {"memory": {"name": "a", "x": 2}},
    ),
    (
        "same name",
        {"memory": {"name": "a", "x": 1}},
        {"memory": {"name": "a", "y": 2}},
        {"memory": {"name": "a", "x": 1, "y": 2}},
    ),
    (
        "a different name replaces",
        {"memory": {"name": "a", "x": 1}},
        {"memory": {"name": "b"}},
        {"memory": {"name": "b"}},
    ),
    (
        "short form of a different component",
        {"memory": {"name": "a", "x": 1}},
        {"memory": "b"},
        {"memory": {"name": "b"}},
    ),
    (
        "short form of the same component",
        {"memory": {"name": "a", "x": 1}},
        {"memory": "a"},
        {"memory": {"name": "a", "x": 1}},
    ),
    (
        "options of a short form",
        {"optimizer": "adam"},
        {"optimizer": {"x": 1}},
        {"optimizer": {"name": "adam", "x": 1}},
    ),
    ("none removes", {"memory": {"name": "a", "x": 1}}, {"memory": "none"}, {"memory": "none"}),
    ("null removes", {"memory": {"name": "a", "x": 1}}, {"memory": None}, {"memory": None}),
    ("a component over none", {"memory": "none"}, {"memory": {"name": "a"}}, {"memory": {"name": "a"}}),
    (
        "plain mappings are merged",
        {"training": {"a": 1, "b": {"c": 1}}},
        {"training": {"b": {"d": 2}}},
        {"training": {"a": 1, "b": {"c": 1, "d": 2}}},
    ),
    (
        "names elsewhere have no meaning",
        {"x": {"name": "a", "y": 1}},
        {"x": {"name": "b"}},
        {"x": {"name": "b", "y": 1}},
    ),
    ("lists are replaced", {"widths": [1, 2, 3]}, {"widths": [4]}, {"widths": [4]}),
    ("a value over a mapping", {"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ("a mapping over a value", {"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
]


@pytest.mark.parametrize(("below", "above", "merged"), [case[1:] for case in MERGES], ids=[case[0] for case in MERGES])
def test_merge_keys_are_merged_in_order(below: dict[str, Any], above: dict[str, Any], merged: dict[str, Any]) -> None:
    assert yaml_documents.merge(below, above) == merged


KEYS = st.sampled_from(["memory", "optimizer", "name", "a", "b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["none", "p", "q"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def without_sharing(value: Any) -> bool:
    """Return whether all mappings and lists are distinct objects."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (dict, list)):
            if id(item) in seen:
                return False
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item
    return True


@given(DOCUMENTS, st.lists(DOCUMENTS, max_size=3))
def test_merging_does_not_change_its_arguments_or_share_objects_with_them(
    base: dict[str, Any], layers: list[dict[str, Any]]
) -> None:
    before = copy.deepcopy((base, layers))
    merged = yaml_documents.merge(base, *layers)
    assert (base, layers) == before
    assert without_sharing([merged, base, layers])
    assert set(merged) == set(base).union(*layers)
    assert yaml_documents.merge(merged) == merged
    again = base
    for layer in layers:
        again = yaml_documents.merge(again, layer)
    assert again == merged, "merged at once or one after another"


@given(DOCUMENTS, st.lists(KEYS, min_size=1, max_size=3), VALUES)
def test_an_inserted_value_is_a_copy(document: dict[str, Any], path: list[str], value: Any) -> None:
    given_value = copy.deepcopy(value)
    yaml_documents.put(document, path, value)
    assert yaml_documents.has(document, path)
    inner: Any = document
    for key in path:
        inner = inner[key]
    assert inner == given_value
    assert inner is not value or not isinstance(value, (dict, list))


# Overrides


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training.epochs=10", ["training", "epochs"], 10),
        (" seeds = [1, 2] ", ["seeds"], [1, 2]),
        ("training.optimizer.learning_rate=1e-3", ["training", "optimizer", "learning_rate"], 1e-3),
        ("data.root=/a=b", ["data", "root"], "/a=b"),
        ("model.memory={name: parameter, rows: 2}", ["model", "memory"], {"name": "parameter", "rows": 2}),
        ("training.schedule=", ["training", "schedule"], None),
    ],
)
def test_assignments_are_read(text: str, path: list[str], value: object) -> None:
    assert yaml_documents.assignment(text) == (path, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "--set epochs: no key with a value; write key.path=value, e.g. --set training.epochs=10"),
        ("=5", "--set =5: no key with a value; write key.path=value"),
        ("training..epochs=5", "--set training..epochs=5: no key with a value; write key.path=value"),
        ("a=[1", "--set a:1:3: not valid YAML"),
        ("a=!!python/name:os.system", "--set a:1:1: not valid YAML: it has the tag"),
    ],
)
def test_invalid_assignments_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        yaml_documents.assignment(text)
    assert str(refusal.value).startswith(message)


def test_a_value_set_in_two_arms_is_not_shared(study: Callable[..., Path]) -> None:
    path = study({"arms.other": {"model": {"memory": "conv_ones", "placement": "stage_only"}}})
    both = "model.memory={name: conv_ones, channels: 4, rows: 2, columns: 2}"
    arms = read_study(path, [both, "arms.aim.model.memory.channels=8"]).spec.arms
    assert arms["aim"].model["memory"]["channels"] == 8
    assert arms["other"].model["memory"]["channels"] == 4
