"""The audit of the claim against the networks of the replication finds the differences listed in docs/claim.md."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

from ablations.planning import plan as planning
from ablations.planning.arms import expand
from ablations.planning.protocol import protocol
from ablations.spec.study import read_study
from aimlib import records
from analysis.claims import read_claim
from analysis.claims.audit import audit
from analysis.looks import Looks
from analysis.plan import Arm
from analysis.reading import frames


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    """Return the audit of the shipped study `replication` before any run."""
    arms = tuple(expand(read_study("replication")))
    rows = planning.model_rows(arms, planning.summaries_of(list(arms)))
    table = pa.Table.from_pylist(rows, schema=records.table_schema(records.MODELS))
    planned = tuple(Arm(arm.name, arm.role, arm.of, arm.config.model_dump(mode="json")) for arm in arms)
    results = SimpleNamespace(
        models=frames.from_arrow(table, records.MODELS),
        plan=SimpleNamespace(arms=planned, looks=Looks((5,)), scope=SimpleNamespace(protocol=protocol(arms))),
        runs=frames.empty(frames.TABLES["runs"]),
    )
    return audit(read_claim("stanford_dogs_aim"), results).set_index("statement")


@pytest.mark.parametrize(
    ("statement", "found", "verdict"),
    [
        ("ResNet50 has about 23.8 M parameters", "23\u202f833\u202f592", "agrees"),
        ("ResNet50 with memory has about 24.1 M parameters", "26\u202f714\u202f360", "contradicted"),
        ("the number of parameters increases by around 3 million", "2\u202f880\u202f768", "agrees"),
        (
            "the number of parameters increases by about 0.3 million (23.8 M to 24.1 M)",
            "2\u202f880\u202f768",
            "contradicted",
        ),
        ("the memory holds about 50,000 floats", "50\u202f176", "agrees"),
        ("these are 50,000 independent numbers", "1\u202f024", "contradicted"),
        ("every layer can access the memory (53 convolutions and the dense layer)", "16", "contradicted"),
        ("all that read, read the memory that updates have reached", "12", "contradicted"),
        ("the updated memory is passed on to the next batches", "not set", "contradicted"),
        ("ResNet50 reaches 15.14 %", "15.26 %", "contradicted"),
        ("one run of ResNet50 reaches 15.14 %", "–", "not checked"),
    ],
)
def test_the_audit_finds_the_known_differences(lines: pd.DataFrame, statement: str, found: str, verdict: str) -> None:
    row = lines.loc[statement]
    assert (row["found"] or "–", row["verdict"]) == (found, verdict)


def test_the_factors_are_shown_as_evidence(lines: pd.DataFrame) -> None:
    architecture = lines.loc["the exact same architecture, but for the memory"]
    assert architecture["verdict"] == "contradicted"
    for option in ("stem_stride: 2 in the baseline, 1 in the treatment", "bn_epsilon", "conv_init"):
        assert option in architecture["evidence"]
    training = lines.loc["trained in exactly the same way"]
    assert training["verdict"] == "contradicted"
    assert "passes" in training["evidence"]
