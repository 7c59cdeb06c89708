"""A study sets when its verdict is determined: planned looks, spending, or any number of pairs. Mistakes are
refused."""

from __future__ import annotations

import json

import pytest
import yaml

import ablations
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.spec.study import MAX_PAIRS, read_study
from aimlib.errors import ConfigError
from analysis.looks import Looks


def test_default_looks_are_unchanged(study):
    spec = read_study(study()).spec
    assert spec.looks == (5, 8, 12)
    assert spec.reading == Looks((5, 8, 12))
    assert spec.reading.planned
    assert spec.most_pairs == 12


def test_any_number_of_pairs_is_a_valid_setting_for_looks(study):
    spec = read_study(study({"looks": "any"})).spec
    assert spec.reading == Looks.at_any_time()
    assert spec.most_pairs == MAX_PAIRS
    spec = read_study(study({"looks": "any", "mixture_width": 0.9, "max_pairs": 30, "block": 5})).spec
    assert spec.reading.mixture_width == 0.9
    assert (spec.most_pairs, spec.block) == (30, 5)


@pytest.mark.parametrize(("said", "meant"), [("pocock", "constant"), ("lan_demets_pocock", "lan_demets_pocock")])
def test_spending_is_accepted_under_all_its_names(study, said, meant):
    spec = read_study(study({"spending": said})).spec
    assert spec.spending == meant
    assert spec.reading == Looks((5, 8, 12), spending=meant)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"looks": "every"}, "looks: .*must be numbers of pairs.*or any if.*got 'every'"),
        ({"looks": []}, "looks: .*must be numbers of pairs"),
        ({"looks": [5, 8.5]}, "looks: .*must be numbers of pairs"),
        ({"looks": True}, "looks: .*must be numbers of pairs"),
        ({"looks": [2, 5]}, r"looks must be increasing numbers of pairs, at least 5 each; got \(2, 5\)"),
        ({"looks": [8, 5]}, "looks must be increasing numbers of pairs"),
        ({"spending": "obrien_flemming"}, "spending: .*give one of constant, .*perhaps obrien_fleming"),
        ({"spending": 3}, "spending: .*give one of constant"),
        ({"spending": "obrien_fleming", "looks": "any"}, "spending: only for planned looks.*remove it, or set looks"),
        ({"further_block": 4, "looks": "any"}, "further_block: only for planned looks"),
        ({"mixture_width": 1.0}, "mixture_width: only for looks: any; remove it, or set looks: any"),
        ({"max_pairs": 20}, "max_pairs: only for looks: any"),
        ({"block": 2}, "block: only for looks: any"),
        ({"looks": "any", "max_pairs": 4}, "max_pairs: must be from 5 to 1000; got 4"),
        ({"looks": "any", "max_pairs": 5000}, "max_pairs: must be from 5 to 1000"),
        ({"looks": "any", "mixture_width": 0}, "mixture_width: .*greater than 0"),
        ({"looks": "any", "block": 0}, "block: .*greater than or equal to 1"),
    ],
)
def test_invalid_looks_are_refused_with_a_remedy(study, changes, said):
    with pytest.raises(ConfigError, match=said):
        read_study(study(changes))


def test_a_study_in_python_has_the_same_looks(study):
    document = yaml.safe_load(study({"looks": "any", "block": 3}).read_text(encoding="utf-8"))
    made = ablations.Study(**document)
    assert made.reading == Looks.at_any_time()
    assert ablations.Study(**(document | {"block": None})).block is None
    assert "looks: any" in made.to_yaml()
    assert made == read_study(study({"looks": "any", "block": 3})).spec


SMALL = {"base.data.size": 8, "base.training.epochs": 1, "seeds": 5}


@pytest.mark.parametrize(
    ("changes", "stored", "levels"),
    [
        ({}, [5, 8, 12], 3),
        ({"looks": [5, 8], "spending": "pocock"}, [5, 8], 2),
        (
            {"looks": [5, 8], "spending": "obrien_fleming"},
            {"pairs": [5, 8], "spending": "obrien_fleming"},
            2,
        ),
        ({"looks": "any", "max_pairs": 20}, {"any": {"mixture_width": 1.25}}, 0),
    ],
)
def test_looks_spending_and_width_are_frozen(study, tmp_path, changes, stored, levels):
    run(study(SMALL | changes), tmp_path / "out", executor="inline")
    frozen = json.loads((tmp_path / "out" / "analysis_plan.json").read_text(encoding="utf-8"))["content"]
    plan = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    assert frozen["looks"] == plan["looks"] == stored
    assert len(frozen["levels"]) == levels
    assert not {"spending", "mixture_width", "max_pairs", "block"} & {*frozen, *plan}


def test_the_maximum_number_of_pairs_is_not_part_of_the_plan(study):
    first, second = (planning.plan(read_study(study(SMALL | {"looks": "any", "max_pairs": most}))) for most in (20, 40))
    assert {**planning.document(first), "created_at": ""} == {**planning.document(second), "created_at": ""}


def test_a_width_without_a_bounded_interval_gets_a_note(study):
    notes = ablations.check(study({"looks": "any", "mixture_width": 0.5}), timing=False).notes
    assert (
        "looks: with mixture_width 0.5, `looks: any` does not provide a bounded interval up to 6 pairs, and "
        "therefore no verdict" in notes
    )
    notes = ablations.check(study({"looks": "any"}), timing=False).notes
    assert not any("bounded" in note for note in notes)
