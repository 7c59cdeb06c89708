"""A confirmation beside its screening: what the search found, and what its winners kept on fresh seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_study import ARMS, FakeArm, FakeStudy, write_study
from test_report_figures import texts

import analysis
from analysis.document import compose
from analysis.table_columns import explained
from analysis.tables import tables

TRIALS = [FakeArm(f"trial_{i:04d}", "other", 0.14 + 0.004 * i) for i in range(12)]
SWITCHES = [
    FakeArm("none", "baseline", levels={"a": "0", "b": "0"}),
    FakeArm("a", "other", levels={"a": "1", "b": "0"}),
    FakeArm("b", "other", levels={"a": "0", "b": "1"}),
    FakeArm("ab", "aim", 0.2, levels={"a": "1", "b": "1"}),
]


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """Findings of a confirmation that has its screening beside it."""
    root = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(2)
    write_study(root / "screening", FakeStudy(TRIALS, [1000, 1001], spread=0.01), rng)
    write_study(root / "confirmation", FakeStudy([ARMS[0], ARMS[3], *TRIALS[-3:]], list(range(5))), rng)
    return analysis.examine(analysis.load(root / "confirmation"))


def test_the_report_shows_what_the_search_found(confirmed):
    document = compose(confirmed)
    section = next(section for section in document.sections if section.name == "search")
    assert section.plates == ("budget", "winners")
    assert len(document.sheets["winners"].rows) == 3
    budget = document.plates["budget"].summary
    assert budget["trials"].tolist() == list(range(1, 13))
    best = confirmed.screening.trials.groupby("arm")["validation_accuracy"].mean().max()
    assert budget["expected"].iloc[-1] == pytest.approx(100 * best)
    assert "Tang et al., 2020" in " ".join(document.methods)
    for name in section.plates:
        figure = document.plates[name].figure
        boxes = [box for _, box in texts(figure) if box.width]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes), name


def test_a_study_without_a_screening_has_no_such_section(make_study):
    findings = analysis.examine(analysis.load(make_study()))
    assert findings.screening is None
    assert "search" not in [section.name for section in compose(findings).sections]


def test_every_column_of_every_table_is_explained(confirmed, make_study):
    switches = analysis.examine(analysis.load(make_study(SWITCHES)))
    for findings in (confirmed, switches):
        found = explained(tables(findings))
        assert (found["meaning"].str.len() > 0).all()
    assert {"attribution", "interactions", "classes", "audit"} <= set(found["table"])
    with pytest.raises(KeyError):
        explained({"new": pd.DataFrame({"a column without a meaning": [1]})})
