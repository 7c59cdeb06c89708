"""The audit of a claim reports a verdict with evidence for every statement, or the reason why there is none."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest
from synthetic_study import ARMS, SCOPE, FakeArm

import analysis
from aimlib import records
from aimlib.errors import ConfigError
from analysis.claims import read_claim
from analysis.report import latex
from analysis.report.content import compose
from analysis.report.tables import Table

AS_RUN = {**SCOPE, "protocol": "as_run"}
PAIR = [FakeArm("baseline", "baseline", 0.1526), FakeArm("aim", "aim", 0.2)]


def audit(directory):
    return analysis.examine(analysis.load(directory)).audit.set_index("statement")


def test_every_statement_has_a_line_in_the_order_of_the_claim(make_study):
    claim = read_claim("stanford_dogs_aim")
    found = audit(make_study(PAIR, scope=AS_RUN))
    assert found.index.tolist() == [statement.says for statement in claim.statements]
    assert set(found["verdict"]) == {"agrees", "compatible", "contradicted", "not checked"}
    assert (found["evidence"].str.len() > 0)[found["verdict"] != "agrees"].all()


def test_the_accuracy_in_the_post_differs_from_its_log(make_study):
    row = audit(make_study(PAIR, scope=AS_RUN)).loc["ResNet50 reaches 15.14 %"]
    assert (row["said"], row["found"], row["verdict"]) == ("15.14 %", "15.26 %", "contradicted")
    assert row["evidence"] == "best epoch in the log, number 33 of 40"


def test_parameters_are_counted_as_in_keras(make_study):
    found = audit(make_study(PAIR, scope=AS_RUN))
    assert found.loc["ResNet50 has about 23.8 M parameters", "verdict"] == "contradicted", "plus 53,120 statistics"
    row = found.loc["these are 50,000 independent numbers"]
    assert (row["found"], row["verdict"]) == ("1\u202f024", "contradicted")
    assert found.loc["the memory holds about 50,000 floats", "verdict"] == "agrees"


def test_differing_options_are_listed_as_evidence(make_study):
    directory = make_study(PAIR, scope=AS_RUN)
    path = directory / records.MODELS_FILE
    rows = pq.read_table(path).to_pylist()
    other = [{"option": "model.backbone.stem_stride", "baseline": 2, "value": 1}]
    other += [{"option": "training.augmentation.passes", "baseline": 2, "value": 1}]
    for row in rows:
        row["differences"] = json.dumps(other if row["role"] == "aim" else [])
    import pyarrow as pa

    records.write_table(pa.Table.from_pylist(rows, schema=records.table_schema(records.MODELS)), path)
    found = audit(directory)
    row = found.loc["the exact same architecture, but for the memory"]
    assert row["verdict"] == "contradicted"
    assert row["evidence"] == "model.backbone.stem_stride: 2 in the baseline, 1 in the treatment"
    assert "passes: 2 in the baseline, 1 in the treatment" in found.loc["trained in exactly the same way", "evidence"]


@pytest.mark.parametrize("protocol", ["as_run", "as_run_exact"])
def test_a_reported_accuracy_is_compared_with_one_further_run(make_study, protocol):
    found = audit(make_study(PAIR, images=4000, scope={**AS_RUN, "protocol": protocol}))
    assert found.loc["one run of ResNet50 with memory reaches 20.06 %", "verdict"] == "compatible"
    low = audit(make_study([PAIR[0], FakeArm("aim", "aim", 0.16)], images=4000, scope=AS_RUN))
    assert low.loc["one run of ResNet50 with memory reaches 20.06 %", "verdict"] == "contradicted"


def test_a_study_without_problems_does_not_judge_how_the_author_trained(make_study):
    """Arms with equal training by design and a baseline that trains well neither confirm nor contradict the post."""
    found = audit(make_study([FakeArm("baseline", "baseline", 0.42), FakeArm("aim", "aim", 0.43)], images=4000))
    assert found.loc["trained in exactly the same way", "verdict"] == "not checked"
    row = found.loc["one run of ResNet50 reaches 15.14 %"]
    assert (row["verdict"], row["said"]) == ("not checked", "15.14 %")
    assert (
        row["evidence"] == "the statement is about the protocol as_run or as_run_exact; this study follows controlled"
    )


def test_outside_the_scope_of_the_claim_only_its_logs_are_checked(make_study):
    found = audit(make_study(PAIR, scope={**SCOPE, "classes": 20}))
    checked = found[found["verdict"] != "not checked"]
    assert checked["evidence"].str.contains("log").all()
    assert len(checked) == 4
    assert "outside the scope" in found.loc["ResNet50 has about 23.8 M parameters", "evidence"]


def test_a_custom_claim_file_can_be_used(make_study, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(
        """
name: other
statement: More is more.
source: {post: "Somebody, 2024"}
reported: [{source: paper, baseline: 0.1, treatment: 0.2}]
delta_pp: 1.0
scope: {dataset: ["*"], classes: [120], image_size: [224], backbone: ["*"], protocol: ["*"], data_fingerprint: ["*"]}
statements:
  - {says: it is large, source: paper, check: {kind: model, role: aim, column: memory_values, equals: 1, within: 0}}
""",
        encoding="utf-8",
    )
    found = audit(make_study(PAIR, claim=str(path)))
    assert found.loc["it is large", "verdict"] == "contradicted"
    path.write_text(path.read_text(encoding="utf-8").replace("memory_values", "memory_value"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"statements\.0\.check.*column"):
        read_claim(path)


@pytest.mark.usefixtures("undrawn")
def test_the_report_shows_the_audit_and_the_methods_section_describes_what_was_done(make_study):
    document = compose(analysis.examine(analysis.load(make_study())))
    assert document.tables["audit"].rows[0][0] == "ResNet50 has about 23.8 M parameters"
    text = " ".join(document.methods)
    assert "4 arms (baseline, matched, frozen and aim)" in text
    assert "frozen before the first run" in text
    assert all(re.search(entry.split(".")[0].split(" ")[-1], text) or "," in entry for entry in document.references)
    assert any("Satterthwaite" in entry for entry in document.references)


def test_latex_typesets_the_tables_without_changes():
    hostile = r"a_b & 50 % {x} \input{y} ^ ~ # $ < > − × Δ" + "\u0007"
    text = latex.table(Table("T_1", ("Name", "n"), ((hostile, "1"),), frozenset({"n"}), note="100 %"), "x")
    assert r"\begin{tabular}{lr}" in text
    assert r"\toprule" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert r"\input" not in body
    assert r"\textbackslash{}input\{y\}" in body
    assert r"a\_b \& 50 \% \{x\}" in body
    assert r"$-$ $\times$ $\Delta$  & 1 \\" in body, "a control character becomes a space"
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.usefixtures("undrawn")
def test_latex_tables_are_written_next_to_the_page(make_study):
    directory = make_study([*ARMS])
    page = analysis.report(directory)
    names = {path.name for path in (page.parent / "latex").iterdir()}
    assert {"comparisons.tex", "gates.tex", "arms.tex", "audit.tex", "checks.tex"} <= names


def test_nothing_is_checked_if_there_are_too_few_runs_or_they_vary_too_much(make_study):
    row = "one run of ResNet50 reaches 15.14 %"
    assert "fewer than 5 runs" in audit(make_study(PAIR, seeds=3, scope=AS_RUN)).loc[row, "evidence"]
    wide = [FakeArm("baseline", "baseline", accuracies=[0.05, 0.15, 0.25, 0.1, 0.2, 0.15]), PAIR[1]]
    assert "too imprecise" in audit(make_study(wide, scope=AS_RUN)).loc[row, "evidence"]
