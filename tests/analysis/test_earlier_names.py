"""Names in stored files, and in code written for earlier versions, are still understood."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
from synthetic_study import ARMS

import analysis
from analysis.claims import read_claim
from analysis.statistics import compare_all, outcomes, paired_differences


@pytest.fixture
def results(make_study):
    return analysis.load(make_study(seeds=5))


def test_runs_can_be_read_under_their_earlier_name_with_a_warning(results):
    with pytest.warns(FutureWarning, match=r"results\.trials is now results\.runs") as caught:
        assert results.trials is results.runs
    assert caught[0].filename == __file__


def test_runs_of_several_studies_can_be_read_under_their_earlier_name_with_a_warning(results):
    studies = analysis.load([results.directory])
    with pytest.warns(FutureWarning, match=r"studies\.trials is now studies\.runs"):
        assert studies.trials is studies.runs


@pytest.mark.parametrize(
    ("function", "more"),
    [
        (analysis.select, {"where": ["seed>=2"]}),
        (analysis.summarise, {"by": ["arm"]}),
        (analysis.compare, {"treatment": "aim", "control": "baseline"}),
        (paired_differences, {"treatment": "aim", "control": "baseline"}),
        (outcomes, {}),
    ],
)
def test_the_parameter_trials_is_read_as_runs_with_a_warning(results, function, more):
    with pytest.warns(FutureWarning, match=f"the parameter 'trials' of {function.__name__}") as caught:
        found = function(trials=results.runs, **more)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(found, function(runs=results.runs, **more))


def test_passing_both_names_of_a_parameter_at_once_is_refused(results):
    with pytest.raises(TypeError, match="got both 'runs' and its earlier name 'trials'"):
        outcomes(runs=results.runs, trials=results.runs)


def test_the_treatment_of_a_family_is_available_under_its_earlier_name(results):
    family = analysis.examine(results).family
    with pytest.warns(FutureWarning, match=r"family\.aim is now family\.treatment"):
        assert family.aim == family.treatment == "aim"
    assert compare_all.__name__ == "compare_all"


def test_the_stored_role_aim_is_the_treatment_in_every_frame(results):
    assert results.plan.arm("aim").role == "treatment"
    for frame in (results.runs, results.models):
        assert set(frame.loc[frame["arm"] == "aim", "role"]) == {"treatment"}
        assert set(frame["role"]) == {arm.role.replace("aim", "treatment") for arm in ARMS}


@pytest.mark.parametrize("word", ["aim", "treatment"])
def test_a_condition_can_use_either_word_for_the_role(results, word):
    assert set(analysis.select(results.runs, [f"role={word}"])["arm"]) == {"aim"}
    assert set(analysis.select(results.runs, [f"arm={word}"])["arm"]) == ({"aim"} if word == "aim" else set())


def test_an_arm_created_with_the_earlier_role_has_the_current_role():
    assert analysis.Arm("x", "aim", None, {}) == analysis.Arm("x", "treatment", None, {})


def test_the_role_aim_in_a_claim_file_is_the_treatment():
    shipped = read_claim("stanford_dogs_aim")
    roles = {statement.check.get("role") for statement in shipped.statements}
    assert roles == {"baseline", "treatment", None}
