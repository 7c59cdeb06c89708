"""Facts of a claim next to a study: differences are marked, values are computed, and the shipped facts are true."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from ablations.planning import plan as planning
from ablations.planning.claim_facts import FactLine, lines
from ablations.planning.network_facts import _ANSWERS
from ablations.spec.study import read_study
from aimlib.training.image_order import fixed_order
from aimlib.training.protocols import PROTOCOLS
from analysis.claims import read_claim
from analysis.claims.facts import FactDocument, NetworkNumber, facts_of

CLAIM = read_claim("stanford_dogs_aim")

LOOSE = ("parameters as Keras counts", "values", "distinct values before an update", "passed on to the next batch")
"""Facts that the post states in its own words, or incorrectly."""


def beside(study: Any, *overrides: str) -> dict[tuple[str, str], FactLine]:
    """Return the claim's facts next to a study, without the study's data."""
    file = read_study(study, overrides)
    arms = planning.arms_of(file)
    found = lines(CLAIM.facts, arms, len(file.spec.seeds), planning.summaries_of(arms))
    return {(line.topic, line.fact): line for line in found}


def marked(found: dict[tuple[str, str], FactLine]) -> set[str]:
    return {fact for (_, fact), line in found.items() if line.differs}


def test_the_replication_matches_the_original_experiment_except_for_the_number_of_runs() -> None:
    found = beside("replication")
    assert marked(found) == {"runs of each arm"}
    unknown = {line.fact for line in found.values() if line.this_study == "unknown without the data"}
    assert {"training images", "first nine training images", "test images that do not count"} <= unknown
    assert all(line.differs is None for line in found.values() if line.fact in unknown and line.topic == "data")


def test_the_parameters_are_counted_from_the_networks() -> None:
    found = beside("replication")
    counted = found["network", "parameters as Keras counts"]
    assert counted.this_study == counted.as_run == "baseline 23,833,592; treatment 26,714,360"
    assert counted.as_described == "baseline about 23.8 M; treatment about 24.1 M"
    assert found["network", "of these, trainable"].this_study.startswith("baseline 23,780,472")


@pytest.mark.parametrize(
    ("change", "fact", "value"),
    [
        ("training.batch_size=32", ("data", "batch size"), "32"),
        ("data.decoder=accurate", ("data", "decoder"), "Pillow's, INTEGER_ACCURATE"),
        ("training.schedule=none", ("training", "plateau: patience"), "none"),
        ("model.backbone.widths=[8,8,8,8]", ("memory of the treatment", "parameters of each update"), ""),
        ("arms.aim.model.update_after=stage", ("memory of the treatment", "updates run after"), "each stage"),
        ("arms.aim.model.backbone.stem_stride=2", ("network", "stride of the 7 × 7 stem"), "2"),
    ],
)
def test_a_changed_study_is_marked(change: str, fact: tuple[str, str], value: str) -> None:
    before, after = beside("replication")[fact], beside("replication", change)[fact]
    assert (before.differs, after.differs) == (False, True)
    assert after.this_study != before.this_study
    assert after.this_study == (value or after.this_study)
    assert after.as_run == before.as_run


def test_the_stated_values_match_the_protocols() -> None:
    """A study with each protocol has the values in the protocol's column, so every column matches this program."""
    found = beside(as_described())
    for line in found.values():
        if line.differs is None or line.as_described == "not said" or line.fact in ("runs of each arm", *LOOSE):
            continue
        expected = line.as_run if line.as_described == "as run" else line.as_described
        assert line.this_study == expected, line


def as_described() -> dict[str, Any]:
    sides = PROTOCOLS["as_described"]
    return {
        "name": "described",
        "claim": "stanford_dogs_aim",
        "protocol": "as_described",
        "base": {"data": {"name": "stanford_dogs"}, "model": {"backbone": {"name": "resnet50_keras"}}},
        "arms": {"baseline": dict(sides.baseline), "aim": dict(sides.aim)},
    }


def test_a_study_without_a_treatment_or_network_reports_that() -> None:
    found = beside("replication", "arms.aim.role=other")
    assert found["memory of the treatment", "values"].this_study == "no treatment arm"
    assert found["memory of the treatment", "values"].differs is None
    assert found["network", "stride of the 7 × 7 stem"].this_study == "2"


def test_every_number_that_a_claim_can_request_is_available() -> None:
    assert set(_ANSWERS) == set(get_args(NetworkNumber))


def test_data_facts_follow_from_the_names_of_the_images() -> None:
    """This test uses available data: digits in the order of TensorFlow Datasets, without the last batch."""
    documents = {
        "data": [
            {"fact": key, "as_run": 0, "source": "a test", "study": {"data": key}}
            for key in ("train_images", "evaluated_images", "batches_per_epoch", "first_classes", "left_out", "shards")
        ]
    }
    facts = facts_of({topic: [FactDocument.parse(each) for each in given] for topic, given in documents.items()})
    training = {
        "epochs": 1, "batch_size": 16, "optimizer": {"name": "sgd", "learning_rate": 0.1}, "selection": "last_epoch",
        "validation_fraction": 0.0, "shuffle": False, "drop_last": True, "evaluation_drop_last": True, "order": "tfds",
    }  # fmt: skip
    data = {"name": "digits", "size": 8, "train_images": 40}
    document = {
        "name": "ordered",
        "base": {"data": data, "model": {"backbone": "mlp"}, "training": training},
        "arms": {"baseline": {}},
    }
    plan = planning.plan(read_study(document))
    found = {line.fact: line.this_study for line in lines(facts, plan.arms, 1, plan.summaries, plan.data)}
    test = plan.data["baseline"].test
    whole = len(test.names) // 16 * 16
    order = fixed_order(np.arange(len(test.names)), test.names, "tfds", split="test", data="digits")
    assert found["train_images"] == "40"
    assert found["batches_per_epoch"] == "2"
    assert found["evaluated_images"] == str(whole)
    assert found["shards"] == "4"
    assert all(test.names[number] in found["left_out"] for number in order[whole:])
    changed = planning.plan(read_study(document, ["base.training.order=sha256"]))
    other = {line.fact: line.this_study for line in lines(facts, changed.arms, 1, changed.summaries, changed.data)}
    assert other["left_out"] != found["left_out"]
    assert other["shards"] == "none"
