"""A study defined in Python has the same keys, defaults, messages and run ids as a study in a file."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_study import TINY, changed, write

import ablations
from ablations import Study
from ablations.planning import plan as planning
from ablations.spec import yaml_documents
from ablations.spec.study import StudySpec, read_study, shipped_studies
from aimlib.errors import ConfigError

PARAMETERS = {name: each for name, each in inspect.signature(Study.__init__).parameters.items() if name != "self"}


def test_the_arguments_equal_the_keys_of_a_study_file_with_their_defaults() -> None:
    stated = {name: each for name, each in PARAMETERS.items() if each.kind is not inspect.Parameter.VAR_KEYWORD}
    assert set(stated) == set(StudySpec.model_fields)
    optional = {name: each.default for name, each in stated.items() if each.default is not ...}
    of_file = StudySpec.parse({"name": "x", "base": {}, "arms": {"a": {}}})
    for name, value in optional.items():
        given = Study("x", {}, {"a": {}}, **{name: value})
        assert getattr(given, name) == getattr(of_file, name), name


def test_every_argument_is_documented() -> None:
    listed = set(re.findall(r"^ {4}([\w, ]+) : ", str(Study.__doc__), re.M))
    assert {name for names in listed for name in names.split(", ")} == set(StudySpec.model_fields)


def test_every_argument_has_a_type_annotation() -> None:
    untyped = [name for name, each in PARAMETERS.items() if each.annotation is inspect.Parameter.empty]
    assert not untyped
    assert next(iter(PARAMETERS)) == "name"
    assert PARAMETERS["name"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_is_unchanged_after_conversion_to_python_and_back_to_yaml(name: str) -> None:
    spec = read_study(name).spec
    study = Study.from_file(name)
    assert study == spec
    assert StudySpec.parse(yaml_documents.parse(study.to_yaml(), "yaml")) == spec
    assert read_study(study).spec == spec
    assert Study(**study.to_document()) == study


def test_a_study_in_python_has_the_same_run_ids_as_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    ways: dict[str, Any] = {
        "file": path,
        "dict": TINY,
        "Study": Study(**TINY),
        "from_file": Study.from_file(path),
        "written": tmp_path / "written.yaml",
    }
    ways["written"].write_text(Study(**TINY).to_yaml(), encoding="utf-8")
    ids = {way: [run.run_id for run in planning.plan(read_study(study)).runs] for way, study in ways.items()}
    assert len(ids["file"]) == 4
    assert set(map(tuple, ids.values())) == {tuple(ids["file"])}


def test_overrides_apply_to_a_study_in_python_as_to_a_file(tmp_path: Path) -> None:
    overrides = ["training.epochs=7", "seeds=3", "model.memory.channels=8"]
    assert read_study(Study(**TINY), overrides).spec == read_study(write(tmp_path, TINY), overrides).spec
    assert read_study(TINY, "seeds=3").spec.seeds == (0, 1, 2)


def test_python_values_are_converted_to_values_that_a_file_can_contain(tmp_path: Path) -> None:
    study = Study(
        "x",
        {"training": {"epochs": np.int64(3), "optimizer": {"name": "adam", "learning_rate": np.float64(0.5)}}},
        {"a": {}, "b": {"model": {"backbone": {"name": "small_resnet", "widths": (4, 8)}}}},
        reuse=tmp_path / "other",
        seeds=range(3).__len__(),
    )
    document = study.to_document()
    assert document["base"]["training"] == {"epochs": 3, "optimizer": {"name": "adam", "learning_rate": 0.5}}
    assert type(document["base"]["training"]["epochs"]) is int
    assert document["arms"]["b"]["model"]["backbone"]["widths"] == [4, 8]
    assert document["reuse"] == str(tmp_path / "other")


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "~", "0o17", "on", "1_000", "2001-01-01", "null", "=", "<<", " x", "a: b", "#", "0x1F", ".5"]
)
def test_texts_that_resemble_other_yaml_values_survive_a_round_trip(text: str) -> None:
    document = {"name": "x", "base": {"data": {"name": text, text: 1}}, "arms": {"a": {}}}
    assert yaml_documents.parse(yaml_documents.dump(document), "yaml") == document


def test_a_study_is_frozen_and_contains_copies_of_its_arguments() -> None:
    base = {"data": {"name": "digits"}}
    study = Study("x", base, {"a": {}})
    base["data"]["name"] = "other"
    study.to_document()["base"]["data"]["name"] = "other"
    assert study.base == {"data": {"name": "digits"}}
    with pytest.raises(ValueError, match="frozen"):
        study.seeds = (1,)  # type: ignore[misc]


def test_a_copy_with_changed_values_is_validated_and_complete() -> None:
    study = Study(**TINY).model_copy(update={"seeds": 7})
    assert len(study.seeds) == 7
    assert study.to_document()["seeds"] == 7
    with pytest.raises(ConfigError, match="seeds: must be a number"):
        Study(**TINY).model_copy(update={"seeds": "7"})


@pytest.mark.parametrize(
    "changes",
    [
        {"arms.aim": 5},
        {"seed": 3},
        {"base.modle": {}},
        {"arms": {}},
        {"arms.m": {"of": "nobody", "control": "matched_parameters"}},
        {"delta_pp": -1},
        {"looks": "5"},
        {"vary": "aim"},
        {"name": "a b"},
        {"resources": {"gpus": "some"}},
        {"search": {"trials": 3}},
    ],
    ids=str,
)
def test_the_messages_are_the_same_as_for_a_file_except_for_the_file_name(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    document = changed(changes)
    path = write(tmp_path, document)
    with pytest.raises(ConfigError) as of_file:
        read_study(path)
    with pytest.raises(ConfigError) as of_python:
        Study(**document)
    assert [f"{path}: {problem}" for problem in of_python.value.problems] == list(of_file.value.problems)
    with pytest.raises(ConfigError) as of_mapping:
        ablations.check(document)
    where = f"study {document['name']!r}: "
    assert [where + problem for problem in of_python.value.problems] == list(of_mapping.value.problems)


def test_a_value_that_no_file_can_contain_is_refused_with_its_key() -> None:
    class Mine:
        component = "mine"

    with pytest.raises(ConfigError) as refusal:
        Study("x", {"model": {"placement": Mine, "widths": {4, 8}}}, {"a": {"data": {"x": [1, object()]}}})
    first, second, third = refusal.value.problems
    assert first.startswith("base.model.placement: a class, ")
    assert first.endswith("use the name under which it is registered, e.g. 'mine'")
    assert second == "base.model.widths: a set, which has no order: {8, 4}; use a list"
    assert third.startswith("arms.a.data.x[1]: <object")
    assert "a study contains text, numbers" in third


def test_an_object_that_is_not_a_study_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"5: not a study; pass a file, .* or an ablations.Study"):
        ablations.check(5)  # type: ignore[call-overload]


def test_paths_in_a_study_file_become_absolute(tmp_path: Path) -> None:
    document = {**TINY, "reuse": ["other"], "claim": "claim.yaml"}
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "claim.yaml").write_text("name: x")
    path = tmp_path / "inner" / "study.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    study = Study.from_file(path)
    assert study.reuse == (str(tmp_path / "inner" / "other"),)
    assert study.claim == str(tmp_path / "inner" / "claim.yaml")


def test_a_study_prints_its_arguments_and_a_notebook_shows_its_arms() -> None:
    study = Study("x", {"data": "digits"}, {"<i>a</i>": {"model": {"placement": "<script>"}}})
    assert repr(study) == (
        "Study(name='x', base={'data': 'digits'}, arms={'<i>a</i>': {'model': {'placement': '<script>'}}})"
    )
    shown = study._repr_html_()
    assert "&lt;i&gt;a&lt;/i&gt;" in shown
    assert "model.placement = &lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<i>" not in shown


def test_factors_controls_and_a_search_are_shown() -> None:
    shown = Study.from_file("memory_size_small")._repr_html_()
    assert "model.memory.floats" in shown
    assert "64, 256, 1024" in shown
    assert "Search of baseline, aim: 12 trials per arm" in Study.from_file("screening_small")._repr_html_()
    assert "control matched_parameters" in Study.from_file("demo")._repr_html_()
