"""The reported claim: its figures and its scope, and errors in other claim files."""

from __future__ import annotations

import pytest
import yaml

from aimlib.errors import ConfigError, UsageError
from analysis import claims
from analysis.plan import Scope

SCOPE = Scope("stanford_dogs", 120, 224, "resnet50_keras", "as_run", "whatever")


def test_the_reported_figures_match_the_post():
    claim = claims.read_claim("stanford_dogs_aim")
    assert claim.gains_pp == {"post": 4.92, "logs": 4.80}
    assert next(iter(claim.gains_pp)) == "post"
    assert claim.accuracies["logs"] == (0.1526, 0.2006)
    assert claim.delta_pp == 1.0
    assert "3d79d31" in claim.source


def test_the_reported_curves_contain_the_reported_accuracies():
    claim = claims.read_claim("stanford_dogs_aim")
    best = claim.curves.groupby("arm")["val_accuracy"].max()
    baseline, treatment = claim.accuracies["logs"]
    assert best["resnet50"] == pytest.approx(baseline, abs=5e-5)
    assert best["aim_resnet50"] == pytest.approx(treatment, abs=5e-5)
    assert claim.curves.groupby("arm")["epoch"].max().to_dict() == {"aim_resnet50": 50, "resnet50": 40}


def test_every_shipped_claim_is_valid():
    assert claims.names() == ["stanford_dogs_aim"]
    for name in claims.names():
        assert claims.read_claim(name).name == name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"backbone": "resnet50"}, None),
        ({"backbone": "vgg16"}, "backbone vgg16, not resnet50*"),
        ({"dataset": "digits"}, "data set digits, not stanford_dogs"),
        ({"classes": 20}, "number of classes 20, not 120"),
        ({"image_size": 64}, "image size 64, not 224"),
        ({"protocol": "custom"}, "protocol custom, not as_run or as_run_exact or as_described or controlled"),
    ],
)
def test_the_scope_of_a_claim_is_checked(change, reason):
    scope = Scope(**{**vars(SCOPE), **change})
    assert claims.in_scope(claims.read_claim("stanford_dogs_aim"), scope) == ([reason] if reason else [])


def test_the_message_about_an_unknown_claim_lists_the_known_claims():
    with pytest.raises(UsageError, match="did you mean 'stanford_dogs_aim'"):
        claims.read_claim("stanford_dogs")
    with pytest.raises(UsageError, match="unknown claim"):
        claims.read_claim("../claims/stanford_dogs_aim")


def document() -> dict:
    return {
        "name": "mine",
        "statement": "It helps.",
        "source": {"post": "somewhere"},
        "reported": [{"source": "table 1", "baseline": 0.5, "treatment": 0.6}],
        "delta_pp": 1.0,
        "scope": {
            "dataset": ["digits"],
            "classes": [10],
            "image_size": [8],
            "backbone": ["*"],
            "protocol": ["*"],
            "data_fingerprint": ["*"],
        },
    }


def test_a_custom_claim_can_be_used(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document()))
    claim = claims.read_claim(path)
    assert claim.gains_pp == {"table 1": 10.0}
    assert claim.curves.empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta_pp": 5.0}, "must exceed 2 delta_pp"),
        ({"delta_pp": 0.0}, r"mine\.yaml\.delta_pp"),
        ({"reported": []}, r"mine\.yaml\.reported"),
        ({"scpoe": {}}, "did you mean 'scope'"),
    ],
)
def test_mistakes_in_a_claim_are_reported(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document() | change))
    with pytest.raises(ConfigError, match=message):
        claims.read_claim(path)


def test_unreadable_claims_are_refused(tmp_path):
    with pytest.raises(UsageError, match="not a readable claim"):
        claims.read_claim(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UsageError, match="not a readable claim"):
        claims.read_claim(tmp_path / "bad.yaml")
    (tmp_path / "curves.yaml").write_text(yaml.safe_dump(document() | {"curves": "none.csv"}))
    with pytest.raises(UsageError, match=r"none\.csv: not a table"):
        claims.read_claim(tmp_path / "curves.yaml")
